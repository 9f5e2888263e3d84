"""Fashion-MNIST and MNIST from IDX files."""

import gzip
import os
import struct
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

from dither._errors import RequestError
from dither._files import check_permission
from dither.tasks.scores import CostName
from dither.tasks.task import AbstractSampledTask, BatchSize, Task

FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

SOURCES = {
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
}

MD5 = {
    "fashion-mnist": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "mnist": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
}

PACKAGED = Path("/usr/share/datasets")
"""The folder of Debian's dataset packages."""


class AbstractImages(AbstractSampledTask):
    """A data set of grey images, 28×28 in [0, 1], from four IDX files as for MNIST.

    The files are searched for in `$DITHER_DATA`, the user's cache and the folder of Debian's
    packages, and otherwise downloaded into the cache.

    Arguments: `batch`, 100 by default; `cost`, cross-entropy by default; `offline`, whether to
    avoid the network. Errors: `RequestError` that names the ways to get the files.
    """

    names: ClassVar[tuple[str, ...]]
    """The names of the classes."""

    batch: BatchSize = 100
    cost: CostName = "cross_entropy"
    offline: bool = False

    def load(self) -> Task:
        files = find_files(self.kind) or fetch_files(self.kind, self.offline)
        x, t, test_x, test_t = (read_idx(path) for path in files)
        unit, kind = np.float32(255), np.int32
        arrays = x / unit, t.astype(kind), test_x / unit, test_t.astype(kind)
        return self.task_of(*arrays, classes=self.names, image=(28, 28))


class FashionMNIST(AbstractImages):
    """70 000 grey images of clothing in ten classes, with 10 000 test samples.

    Arguments and errors: see `AbstractImages`. Debian's package is `dataset-fashion-mnist`.
    Source: Xiao, Rasul, Vollgraf, arXiv 1708.07747.
    """

    names = FASHION_CLASSES
    kind: Literal["fashion-mnist"] = "fashion-mnist"


class MNIST(AbstractImages):
    """70 000 handwritten digits, with 10 000 test samples.

    Arguments and errors: see `AbstractImages`.
    Source: LeCun, Cortes, Burges, the MNIST database.
    """

    names = tuple("0123456789")
    kind: Literal["mnist"] = "mnist"


def cache_folder(name: str) -> Path:
    """The folder of a data set in the user's cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("dither")) / name


def find_files(name: str) -> list[Path] | None:
    """The four IDX files of a data set, compressed or not, from the first folder with all of them.

    The folder `$DITHER_DATA` may hold them directly or in a folder with the data set's name.
    """
    folders = [cache_folder(name), PACKAGED / name]
    if chosen := os.environ.get("DITHER_DATA"):
        folders = [Path(chosen) / name, Path(chosen), *folders]
    for folder in folders:
        found = [
            path for file in FILES for path in (folder / file, folder / f"{file}.gz")
            if path.is_file()
        ]  # fmt: skip
        names = {path.name.removesuffix(".gz") for path in found}
        if names == set(FILES):
            return [next(p for p in found if p.name.removesuffix(".gz") == f) for f in FILES]
    return None


def fetch_files(name: str, offline: bool = False) -> list[Path]:
    """Download the four files into the user's cache, each checked against its MD5.

    Errors: `RequestError` with the ways to get the files if there is no network.
    """
    ways = (
        f"put the four IDX files ({FILES[0]}[.gz] and so on) into a folder and set DITHER_DATA to "
        "it, or connect to a network and run again"
    )
    if name == "fashion-mnist":
        ways = f"install Debian's package dataset-fashion-mnist, or {ways}"
    if not offline:
        import logging

        import pooch

        pooch.get_logger().setLevel(logging.ERROR)
        try:
            return [
                Path(
                    pooch.retrieve(
                        f"{SOURCES[name]}{file}.gz",
                        known_hash=f"md5:{md5}",
                        path=cache_folder(name),
                        fname=f"{file}.gz",
                        downloader=pooch.HTTPDownloader(timeout=20),
                    )
                )
                for file, md5 in zip(FILES, MD5[name])
            ]
        except (OSError, ValueError) as error:
            reason = f" ({type(error).__name__} on download)"
    else:
        reason = ""
    raise RequestError(f"The files of {name} are not on this machine{reason}: {ways}.")


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """The array of bytes in an IDX file, gzip-compressed or not.

    The format: two zero bytes, the type (8: unsigned byte), the number of axes, their lengths as
    big-endian 32-bit integers, the bytes. Errors: `RequestError` naming the file.
    """
    check_permission(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise RequestError(f"The file {path} cannot be read ({error}); fetch it again.") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise RequestError(f"The file {path} is not an IDX file of bytes; fetch it again.")
    axes = raw[3]
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", raw[4:start]) if len(raw) >= start else (-1,)
    if len(raw) - start != int(np.prod(shape)):
        raise RequestError(f"The IDX file {path} has the wrong length; fetch it again.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
