"""The cache of compiled programs, shared by all commands."""

import os
from pathlib import Path

MOST_BYTES = 2**29
"""The size of the cache in bytes; the least recently used programs are removed first."""


def keep_compiled() -> None:
    """Let JAX cache compiled programs in the user's cache folder, also in child processes.

    The cache is set by environment variables before JAX is imported. Nothing changes if the user
    has chosen a cache folder, or if the folder cannot be written.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("dither")) / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MOST_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
