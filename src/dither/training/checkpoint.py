"""Checkpoints: one file, replaced atomically, from which a run resumes bit for bit."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dither._errors import RequestError
from dither._files import is_file, write_atomically
from dither._seal import OPEN, DamagedFileError, read_sealed, sealed

T = TypeVar("T")
VERSION = 4


class About(BaseModel):
    """The metadata of a checkpoint.

    Attributes: `digest`, of the specification as a whole or of its parts by name; `leaves`, of the
    pytree; `wall_seconds` so far; `every`, measurements between evaluations; `plateau` and `score`,
    the stop rules of the run.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    digest: str | dict[str, str]
    leaves: int
    wall_seconds: float
    every: int
    plateau: int | None
    score: float | None


def plain(leaf: Any) -> np.ndarray:
    """A leaf of a pytree as a plain array; for a random key, its data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def like(template: Any, saved: np.ndarray) -> Any:
    """The inverse of `plain`: a leaf like the template."""
    if isinstance(template, jax.Array) and jnp.issubdtype(template.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(template))
    if isinstance(template, np.ndarray):  # kept on the host, in single or double precision
        return np.array(saved, template.dtype)
    return jnp.asarray(saved, template.dtype)


def digest(content: Any) -> str:
    """A digest of a table that JSON can represent."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(
    path: Path,
    tree: Any,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> None:
    """Save a pytree, named arrays and plain facts in one file.

    Errors: `RequestError` if it cannot be written; the earlier checkpoint is then kept.
    """
    leaves = {f"leaf{k}": plain(leaf) for k, leaf in enumerate(jax.tree.leaves(tree))}
    named = {f"array.{name}": array for name, array in arrays.items()}
    facts = json.dumps({**about, "version": VERSION, "leaves": len(leaves)})
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, npz({"about": np.array(facts), **leaves, **named}))


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as an NPZ file, sealed in its comment."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # mypy takes the names for allow_pickle
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = OPEN.encode()
    return sealed(buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file of `npz`. Errors: those of `read_sealed`."""
    content = read_sealed(path)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # any error of the reader for an invalid archive
        raise DamagedFileError(
            f"{path} does not hold arrays that dither wrote ({type(error).__name__})."
        ) from None


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], About]:
    """The arrays and the metadata of a checkpoint.

    Errors: `RequestError` for a file that is missing, damaged, unreadable or of another version.
    """
    if not is_file(path):
        raise RequestError(f"There is no checkpoint at {path}; start the run without --resume.")
    saved = read_npz(path)
    try:
        facts = json.loads(str(saved.pop("about")))
        if isinstance(facts, dict) and facts.get("version", VERSION) != VERSION:
            raise RequestError(
                f"The checkpoint {path} was written by another version of dither; resume with that "
                "one."
            )
        return saved, About.model_validate(facts)
    except (ValueError, KeyError, RecursionError) as error:
        lacks = f": {error.errors()[0]['loc']}" if isinstance(error, ValidationError) else ""
        raise DamagedFileError(
            f"The checkpoint {path} does not identify its run ({type(error).__name__}{lacks})"
            "; dither did not write it."
        ) from None


def check_digest(
    path: Path, saved: str | Mapping[str, str], expected: Any, in_part: bool = False
) -> None:
    """Check that a checkpoint belongs to a specification, or to the part of it known so far.

    Errors: `RequestError` if it belongs to another one.
    """
    other = []
    if isinstance(saved, Mapping) and isinstance(expected, Mapping):
        names = expected if in_part else {**expected, **saved}
        other = [name for name in names if saved.get(name) != expected.get(name)]
    elif saved != expected:
        other = [""]
    if other:
        verb = "differs" if len(other) == 1 else "differ"
        told = f" (its {' and '.join(other)} {verb})" if all(other) else ""
        raise RequestError(
            f"The checkpoint {path} belongs to another specification{told}; use the "
            "spec.toml next to it, or choose another --out."
        )


def load_checkpoint(
    path: Path,
    template: T,
    expected: str | Mapping[str, str],
    due: Mapping[str, np.ndarray],
) -> tuple[T, dict[str, np.ndarray], About]:
    """The content of a checkpoint, as a pytree like the template.

    Arguments: the file; a pytree of the same structure; the digest of the specification, or of its
    parts by name; `due`, templates of the named arrays, in which a length of 0 matches any length.
    Errors: `RequestError` for a missing or damaged file, or one of another specification.
    """
    saved, about = read_checkpoint(path)
    check_digest(path, about.digest, expected)
    leaves, structure = jax.tree.flatten(template)
    wanted = {f"leaf{k}": plain(leaf) for k, leaf in enumerate(leaves)}
    wanted |= {f"array.{name}": array for name, array in due.items()}
    alike = saved.keys() == wanted.keys() and all(_alike(saved[n], a) for n, a in wanted.items())
    if about.leaves != len(leaves) or not alike:
        raise RequestError(
            f"The checkpoint {path} holds other arrays than this version of dither "
            "writes; resume with the version that wrote it."
        )
    tree: T = jax.tree.unflatten(
        structure, [like(leaf, saved[f"leaf{k}"]) for k, leaf in enumerate(leaves)]
    )
    return tree, {name: saved[f"array.{name}"] for name in due}, about


def _alike(saved: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether an array has the type and shape of another, in which length 0 matches any length."""
    return (
        saved.dtype.kind == wanted.dtype.kind
        and saved.ndim == wanted.ndim
        and all(n in (0, m) for n, m in zip(wanted.shape, saved.shape))
    )
