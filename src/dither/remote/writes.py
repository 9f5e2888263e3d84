"""Every write to a served device, in compact files next to the server's record."""

import re
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError

BEGIN = b"dither writes 1\n"
"""The beginning of a file; P follows, as four bytes."""

ROW = struct.Struct("<dQBBHI")
"""A row begins with time, count, type of the values, whether places follow, bytes of the client's
name, and number of values; then come the name, the places and the values."""

SINGLE, DOUBLE = 4, 8
PLACE = np.dtype("<u4")

ROTATED_AT = 256 * 2**20
"""Bytes after which the next file is begun."""


class Writes(NamedTuple):
    """Recorded writes: times, s since 1970; counts; clients; P values each.

    Parameters that a write leaves unchanged are NaN.
    """

    times: Float[np.ndarray, " N"]
    counts: Int[np.ndarray, " N"]
    clients: list[str]
    values: Float[np.ndarray, "N P"]


class WritesFile:
    """Appends writes to `FILE.writes.N`, one row per write, each flushed immediately.

    Values are stored exactly: in four bytes if single precision suffices, otherwise in eight. A
    server begins a new file with counts from 1, and another one whenever a file is full. Rows that
    cannot be written are counted as `lost` and leave no partial data.

    Arguments: the record's file; P; `most`, the maximum bytes of one file.
    """

    def __init__(self, record: Path, size: int, most: int = ROTATED_AT) -> None:
        self.record, self.size, self.most = record, size, most
        self.lost = 0
        self._file: FileIO | None = None

    def append(
        self,
        count: int,
        client: str,
        settings: Float[np.ndarray, "K _"],
        places: Int[np.ndarray, " _"] | None = None,
    ) -> None:
        """Append K writes, the first with this count; `places` for writes of some parameters."""
        now = time.time()
        for k, values in enumerate(settings):
            try:
                self._write(_row(now, count + k, client, values, places))
            except OSError:  # a full disk must not stop the device
                self.lost += 1

    def _write(self, row: bytes) -> None:
        if self._file is not None and self._file.tell() + len(row) > self.most:
            self.close()
        if self._file is None:
            number = max((number for number, _ in _files(self.record)), default=0) + 1
            self._file = self._begun(Path(f"{self.record}.writes.{number}"))
        _whole(self._file, row)

    def _begun(self, file: Path) -> FileIO:
        begun = FileIO(file, "xb")
        try:
            _whole(begun, BEGIN + struct.pack("<I", self.size))
        except OSError:
            begun.close()
            file.unlink(missing_ok=True)
            raise
        return begun

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def read_record(record: str | Path) -> Writes:
    """The writes recorded by `dither device serve --record FILE`, in order.

    Arguments: the record's file, as given to `--record`.
    Errors: `RequestError` if there are none, or if a file is not such a record.
    """
    rows: list[tuple[float, int, str, Float[np.ndarray, " P"]]] = []
    files = [file for _, file in _files(Path(record))]
    if not files:
        raise RequestError(
            f"The record {record} has no file of writes {record}.writes.1; give another record."
        )
    for file in files:
        rows += _rows(file)
    size = len(rows[0][3]) if rows else 0
    return Writes(
        np.array([time for time, *_ in rows], float),
        np.array([count for _, count, *_ in rows], np.int64),
        [client for _, _, client, _ in rows],
        np.array([values for *_, values in rows], float).reshape(len(rows), size),
    )


def _row(
    now: float,
    count: int,
    client: str,
    values: Float[np.ndarray, " K"],
    places: Int[np.ndarray, " K"] | None,
) -> bytes:
    single = values.astype("<f4")
    exact = np.array_equal(single.astype(float), values)
    kept, name = single if exact else values.astype("<f8"), client.encode()[:1000]
    head = (now, count, SINGLE if exact else DOUBLE, places is not None, len(name), len(values))
    where = b"" if places is None else places.astype(PLACE).tobytes()
    return ROW.pack(*head) + name + where + kept.tobytes()


def _whole(file: FileIO, content: bytes) -> None:
    """Write all data or nothing. Errors: `OSError`."""
    begin = file.tell()
    try:
        if file.write(content) != len(content):
            raise OSError("the disk is full")
    except OSError:
        file.seek(begin)
        with suppress(OSError):
            file.truncate()
        raise


def _files(record: Path) -> list[tuple[int, Path]]:
    """The files of writes of a record, by number."""
    named = re.compile(re.escape(record.name) + r"\.writes\.(\d+)")
    found = [(named.fullmatch(file.name), file) for file in record.parent.glob("*.writes.*")]
    return sorted((int(match[1]), file) for match, file in found if match)


def _rows(file: Path) -> Iterator[tuple[float, int, str, Float[np.ndarray, " P"]]]:
    """The rows of a file, without an incomplete last one, as left by a killed process."""
    content = file.read_bytes()
    at = len(BEGIN) + 4
    if not content.startswith(BEGIN[: len(content)]):
        raise RequestError(f"The file {file} does not hold writes of dither; move it away.")
    if len(content) < at:
        return
    (size,) = struct.unpack_from("<I", content, len(BEGIN))
    while at + ROW.size <= len(content):
        now, count, width, some, letters, number = ROW.unpack_from(content, at)
        place = at + ROW.size + letters
        start = place + some * number * PLACE.itemsize
        end = start + number * width
        if end > len(content):
            return
        if width not in (SINGLE, DOUBLE) or number > size or some > 1:
            raise RequestError(f"The file {file} is damaged at byte {at}; move it away.")
        kept = np.frombuffer(content, f"<f{width}", number, start).astype(float)
        values = kept
        if some:
            values = np.full(size, np.nan)
            values[np.frombuffer(content, PLACE, number, place)] = kept
        yield now, count, content[at + ROW.size : place].decode(errors="replace"), values
        at = end
