"""The record of a served device: every write, exactly, whatever happens to the server."""

import json
from pathlib import Path

import numpy as np
import pytest

from dither import RequestError
from dither.remote import read_record
from dither.remote.record import Record
from dither.remote.writes import ROW, WritesFile

RNG = np.random.default_rng(0)
P = 5
SINGLE = RNG.uniform(-1, 1, (7, P)).astype(np.float32).astype(float)
DOUBLE = 1550 + 1e-9 * RNG.uniform(-1, 1, (3, P))


@pytest.fixture
def record(tmp_path):
    return tmp_path / "record.jsonl"


@pytest.fixture
def begin(record):
    """Begin records, which are closed at the end."""
    begun = []

    def one():
        begun.append(Record(P, record))
        return begun[-1]

    yield one
    for kept in begun:
        kept.close()


def test_every_write_comes_back_exactly(begin, record):
    kept = begin()
    kept.note("lease", name="anna", peer="ipv4:127.0.0.1:1")
    kept.wrote(SINGLE)
    kept.note("lease", name="björn", peer="ipv4:127.0.0.1:2")
    kept.wrote(DOUBLE)
    kept.wrote_at(np.array([3, 0]), np.array([0.1, -0.5]))
    # before the server has ended
    writes = read_record(record)
    assert writes.counts.tolist() == list(range(1, 12))
    assert writes.clients == ["anna"] * 7 + ["björn"] * 4
    assert np.array_equal(writes.values[:7], SINGLE)
    assert np.array_equal(writes.values[7:10], DOUBLE)
    np.testing.assert_array_equal(writes.values[10], [-0.5, np.nan, np.nan, 0.1, np.nan])
    assert np.all(np.diff(writes.times) >= 0)
    kept.close()
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["lease", "lease", "account"]
    assert (lines[-1]["writes"], lines[-1]["unrecorded"]) == (11, 0)


def test_a_row_is_as_long_as_its_values(begin, record):
    kept = begin()
    kept.wrote(SINGLE)
    begun = Path(f"{record}.writes.1").stat().st_size
    kept.wrote(SINGLE[:1])
    assert Path(f"{record}.writes.1").stat().st_size == begun + ROW.size + 4 * P
    kept.wrote(DOUBLE[:1])
    assert Path(f"{record}.writes.1").stat().st_size == begun + 2 * ROW.size + 12 * P


def test_files_are_rotated_and_read_in_their_order(record):
    kept = WritesFile(record, P, most=150)
    for k, values in enumerate(np.repeat(SINGLE, 4, axis=0)):
        kept.append(k + 1, "", values[None])
    kept.close()
    files = sorted(record.parent.glob("*.writes.*"), key=lambda file: int(file.suffix[1:]))
    assert len(files) > 10
    assert all(file.stat().st_size <= 150 for file in files)
    writes = read_record(record)
    assert writes.counts.tolist() == list(range(1, 29))
    assert np.array_equal(writes.values, np.repeat(SINGLE, 4, axis=0))


def test_a_new_server_goes_on_in_a_file_of_its_own(begin, record):
    for _ in range(2):
        kept = begin()
        kept.wrote(SINGLE)
        kept.close()
    assert read_record(record).counts.tolist() == 2 * list(range(1, 8))
    assert len(record.read_text().splitlines()) == 2


@pytest.mark.parametrize("left", range(0, 60, 7))
def test_what_a_kill_has_cut_short_is_left_out(begin, record, left):
    kept = begin()
    kept.wrote(SINGLE)
    file = Path(f"{record}.writes.1")
    length = ROW.size + 4 * P
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) - length + left % length])
    assert np.array_equal(read_record(record).values, SINGLE[:6])
    begin().wrote(DOUBLE)
    assert np.array_equal(read_record(record).values, np.vstack([SINGLE[:6], DOUBLE]))


def test_a_full_disk_loses_rows_whole_and_counts_them(begin, record, monkeypatch):
    kept = begin()
    kept.wrote(SINGLE[:2])
    room = 0

    def write(file, content):
        return type(file).__base__.write(file, content[:room])

    full = type("Full", (type(kept.kept._file),), {"write": write})
    other = full(kept.kept._file.name, "r+b")
    other.seek(0, 2)
    kept.kept.close()
    monkeypatch.setattr(kept.kept, "_file", other)
    for room in (0, 10, 30):  # noqa: B007  # what fits on the disk
        kept.wrote(SINGLE[2:3])
    room = 10**6
    kept.wrote(SINGLE[3:4])
    other.close()
    assert kept.kept.lost == 3
    assert read_record(record).counts.tolist() == [1, 2, 6]
    assert np.array_equal(read_record(record).values, SINGLE[[0, 1, 3]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no file of writes"),
        (b"{}", "does not hold writes of dither"),
        (b"\0" * 99, "does not hold writes of"),
    ],
)
def test_what_is_no_record_is_told(record, content, words):
    if content is not None:
        Path(f"{record}.writes.1").write_bytes(content)
    with pytest.raises(RequestError, match=words):
        read_record(record)


def test_damage_is_told_with_its_place(begin, record):
    begin().wrote(SINGLE)
    file = Path(f"{record}.writes.1")
    content = bytearray(file.read_bytes())
    content[20 + 16] = 9  # the type of the first row's values
    file.write_bytes(content)
    with pytest.raises(RequestError, match="damaged at byte 20"):
        read_record(record)
