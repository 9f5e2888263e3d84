"""Checkpoints: one file, replaced atomically, that a run goes on from bit for bit."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dither._errors import RequestError

T = TypeVar("T")
VERSION = 3


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace a file as a whole: a reader sees the old or the new, and a full disk leaves the old.

    Arguments: the file; its content; `durable`, whether to wait until the disk has it, so that a
    power cut leaves one or the other too.
    Errors: `RequestError` where the file cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RequestError(
            f"{path} cannot be written: {error.strerror or error}; what was there before is kept."
        ) from None


def _umask() -> int:
    """What a program's files are not to allow; there is no way to ask but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def plain(leaf: Any) -> np.ndarray:
    """A pytree's leaf as an array that any format can hold; of a random key its data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def like(template: Any, saved: np.ndarray) -> Any:
    """What `plain` made, as a leaf like the template."""
    if isinstance(template, jax.Array) and jnp.issubdtype(template.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(template))
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
    buffer = BytesIO()
    np.savez(buffer, about=np.array(facts), **leaves, **named)  # type: ignore[arg-type]  # mypy takes the names for allow_pickle
    write_atomically(path, buffer.getvalue())


def load_checkpoint(
    path: Path, template: T, expected: str | Mapping[str, str]
) -> tuple[T, dict[str, np.ndarray], dict[str, Any]]:
    """What `save_checkpoint` saved, as a pytree like the template.

    Arguments: the file; a pytree of the same structure; the digest of the specification, or those
    of its parts by name.
    Errors: `RequestError` for a missing or damaged file, or one of another specification.
    """
    if not path.is_file():
        raise RequestError(f"There is no checkpoint at {path}; start the run without --resume.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            saved = {name: archive[name] for name in archive.files}
        about = json.loads(str(saved.pop("about")))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RequestError(
            f"The checkpoint {path} is damaged or cut short ({type(error).__name__}); remove the "
            "folder and start again."
        ) from None
    if about["version"] != VERSION:
        raise RequestError(
            f"The checkpoint {path} was written by another version of dither; go on with that one."
        )
    if about["digest"] != expected:
        raise RequestError(
            f"The checkpoint {path} is of another specification"
            f"{_differing(about['digest'], expected)}; give the one in spec.toml beside it, or "
            "another --out."
        )
    leaves, structure = jax.tree.flatten(template)
    if about["leaves"] != len(leaves):
        raise RequestError(
            f"The checkpoint {path} was written by another version of dither; go on with that one."
        )
    tree: T = jax.tree.unflatten(
        structure, [like(leaf, saved[f"leaf{k}"]) for k, leaf in enumerate(leaves)]
    )
    prefix = "array."
    arrays = {n.removeprefix(prefix): a for n, a in saved.items() if n.startswith(prefix)}
    return tree, arrays, about


def _differing(saved: Any, expected: Any) -> str:
    """Which parts of a specification are others, where their digests are told apart."""
    if not isinstance(saved, Mapping) or not isinstance(expected, Mapping):
        return ""
    other = [name for name in {**expected, **saved} if saved.get(name) != expected.get(name)]
    return f" (its {' and '.join(other)} differ{'s' if len(other) == 1 else ''})"
