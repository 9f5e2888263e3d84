"""Checkpoints: one file, replaced atomically, that a run goes on from bit for bit."""

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
    """What a checkpoint says of itself in plain facts.

    Attributes: `digest`, of the specification's parts by name or as a whole; `leaves` of the
    pytree; `wall_seconds` so far; `every`, measurements between evaluations; the stop rules
    `plateau` and `score` that it was made under.
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
    """A pytree's leaf as an array that any format can hold; of a random key its data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def like(template: Any, saved: np.ndarray) -> Any:
    """What `plain` made, as a leaf like the template."""
    if isinstance(template, jax.Array) and jnp.issubdtype(template.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(template))
    if isinstance(template, np.ndarray):  # kept on the host, in double precision or not
        return np.array(saved, template.dtype)
    return jnp.asarray(saved, template.dtype)


def digest(content: Any) -> str:
    """A short name for a table that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(
    path: Path,
    tree: Any,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> None:
    """Save a pytree, named arrays and plain facts in one file.

    Errors: `RequestError` where it cannot be written; the checkpoint before it stays.
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
    """The arrays in a file of `npz`. Errors: as of `read_sealed`."""
    content = read_sealed(path)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # whatever a reader raises for what is no archive
        raise DamagedFileError(
            f"{path} holds no arrays as dither writes them ({type(error).__name__})."
        ) from None


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], About]:
    """The arrays in a checkpoint and what it says of itself.

    Errors: `RequestError` for a missing, damaged or unreadable file, or one of another version.
    """
    if not is_file(path):
        raise RequestError(f"There is no checkpoint at {path}; start the run without --resume.")
    saved = read_npz(path)
    try:
        facts = json.loads(str(saved.pop("about")))
        if isinstance(facts, dict) and facts.get("version", VERSION) != VERSION:
            raise RequestError(
                f"The checkpoint {path} was written by another version of dither; go on with that "
                "one."
            )
        return saved, About.model_validate(facts)
    except (ValueError, KeyError, RecursionError) as error:
        lacks = f": {error.errors()[0]['loc']}" if isinstance(error, ValidationError) else ""
        raise DamagedFileError(
            f"The checkpoint {path} does not say of which run it is ({type(error).__name__}{lacks})"
            "; it is not one that dither has written."
        ) from None


def check_digest(
    path: Path, saved: str | Mapping[str, str], expected: Any, in_part: bool = False
) -> None:
    """Whether a checkpoint is of a specification, or of as much of it as is known by now.

    Errors: `RequestError` where it is of another one.
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
            f"The checkpoint {path} is of another specification{told}; give the one in spec.toml "
            "beside it, or another --out."
        )


def load_checkpoint(
    path: Path,
    template: T,
    expected: str | Mapping[str, str],
    due: Mapping[str, np.ndarray],
) -> tuple[T, dict[str, np.ndarray], About]:
    """What `save_checkpoint` saved, as a pytree like the template.

    Arguments: the file; a pytree of the same structure; the digest of the specification, or those
    of its parts by name; named arrays like those that are `due`, in which a length of 0 is open.
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
            f"The checkpoint {path} holds other arrays than this version of dither would have "
            "written; go on with the version that has."
        )
    tree: T = jax.tree.unflatten(
        structure, [like(leaf, saved[f"leaf{k}"]) for k, leaf in enumerate(leaves)]
    )
    return tree, {name: saved[f"array.{name}"] for name in due}, about


def _alike(saved: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether an array is of the kind and the shape of another, whose lengths of 0 are open."""
    return (
        saved.dtype.kind == wanted.dtype.kind
        and saved.ndim == wanted.ndim
        and all(n in (0, m) for n, m in zip(wanted.shape, saved.shape))
    )
