"""Python objects, found by their place: `FILE.py:NAME` or `package.module:NAME`."""

import hashlib
import inspect
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from dither._errors import RequestError, nearest
from dither._files import refusal
from dither._raised import told

LOOKED_IN: set[Path] = set()
"""Folders of users' files, from which modules can be imported."""

IN_A_FILE = re.compile(r"(.+\.py):(\w+)")

DATA = re.compile(r".+\.(csv|tsv|txt|dat|npy|npz)", re.IGNORECASE)

WORDS = ("name", "about")
"""Keys whose values are free text and never name a file."""


def find(place: str, what: str, fresh: bool = False) -> Any:
    """The object at a place.

    Arguments: the place; `what` the object is, for error messages; `fresh`, whether to run a file
    again even if it has not changed since its last run.
    Errors: `RequestError` for a missing file, a module that fails to import, an unknown name.
    """
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise RequestError(f"The {what} '{place}' is not of the form FILE.py:NAME or MODULE:NAME.")
    file = Path(where).resolve()
    try:
        module = module_of(file, fresh=fresh) if file.suffix == ".py" else _imported(where)
    except RequestError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and error.filename == str(file):
            raise RequestError(f"The {what}'s file {where} does not exist.") from None
        if isinstance(error, PermissionError) and error.filename == str(file):
            raise refusal(Path(where), error, "read") from None
        raise RequestError(
            f"The {what}'s module {where} cannot be imported: {told(error)}."
        ) from error
    if not hasattr(module, name):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise RequestError(f"The module {where} has no '{name}'; {nearest(name, names)}")
    return getattr(module, name)


def _imported(name: str) -> ModuleType:
    """Import a module by name, also from the current folder, as `python -m` does."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        _look_in(Path.cwd())
        return import_module(name)


def find_object(place: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """The user's object at a place; a class is called with the arguments as keywords.

    Errors: those of `find` and of the call; `RequestError` for missing or unknown arguments, and
    for arguments of an object that is not a class.
    """
    found, given = find(place, "device", fresh=True), dict(arguments or {})
    if not inspect.isclass(found):
        if given:
            raise RequestError(
                f"The device {place} is not a class and takes no arguments; remove "
                f"device.arguments ({', '.join(given)}), or name the class."
            )
        return found
    _check_arguments(found, place, given)
    try:
        return found(**given)
    except Exception as error:
        raise RequestError(f"The device {place} cannot be made: {told(error)}.") from error


def _check_arguments(cls: type, place: str, given: Mapping[str, Any]) -> None:
    try:
        taken = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # a compiled class has no signature
        return
    named = [one for one in taken if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    names = [one.name for one in named]
    unknown = [name for name in given if name not in names]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in taken):
        near = nearest(unknown[0], names) if names else "it takes none."
        raise RequestError(f"The device {place} takes no argument '{unknown[0]}'; {near}")
    needed = [one.name for one in named if one.default is one.empty and one.name not in given]
    if needed:
        example = ", ".join(f"{name} = …" for name in needed)
        raise RequestError(
            f"The device {place} needs {'the argument' if len(needed) == 1 else 'the arguments'} "
            f"{' and '.join(needed)}; give device.arguments = {{{example}}} in a TOML file, or by "
            "--set."
        )


def module_of(file: Path, source: str | None = None, fresh: bool = False) -> ModuleType:
    """The module of a file: the one already imported from it, or a new one made from its text.

    The same text gives the same module unless a `fresh` one is requested. The module can import
    modules from the file's folder, as a script can.
    """
    known = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    of_it = [] if fresh else [names for names in known if names.get("__file__") == str(file)]
    if source is None and (file.exists() or not of_it):
        source = file.read_text(encoding="utf-8-sig")
    for names in of_it:
        if source is None or names.get("__source__", source) == source:
            return sys.modules[names["__name__"]]
    digest = hashlib.sha256(f"{file}\n{source}".encode()).hexdigest()
    name = f"{file.stem}_{digest[:12]}"
    module = ModuleType(name)
    module.__dict__.update(__file__=str(file), __source__=source)
    sys.modules[name] = module
    _look_in(file.parent)
    try:
        exec(compile(source or "", str(file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_in(folder: Path) -> None:
    """Import from a folder first; drop modules of the same names from other users' folders."""
    others = LOOKED_IN - {folder}
    names = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    for name in list(sys.modules):
        top = sys.modules.get(name.partition(".")[0])
        file = Path(getattr(top, "__file__", None) or "")
        home = file.parent.parent if file.name == "__init__.py" else file.parent
        if name.partition(".")[0] in names and home in others:
            sys.modules.pop(name)
    LOOKED_IN.add(folder)
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def place_of(cls: type) -> str | None:
    """The place from which a class can be found in any folder; None if there is none."""
    module = sys.modules.get(cls.__module__)
    if module is None or "." in cls.__qualname__:
        return None
    if module.__package__ and module.__name__ != "__main__":
        return f"{module.__name__}:{cls.__qualname__}"
    file = getattr(module, "__file__", None)
    return None if file is None else f"{Path(file).resolve()}:{cls.__qualname__}"


def source_of(cls: type) -> tuple[str, str] | None:
    """The file and source text of a class; None if it belongs to a package or has no file."""
    module = sys.modules[cls.__module__]
    file = getattr(module, "__file__", None)
    own = module.__package__ or module.__name__ == "__main__" or "." in cls.__qualname__
    if own or file is None:
        return None
    return file, getattr(module, "__source__", None) or Path(file).read_text(encoding="utf-8")


def absolute(table: Any, folder: Path | None = None) -> Any:
    """A table with absolute paths in each `FILE.py:NAME` and for each data file.

    Arguments: a specification's table, or a part of it; the folder to look in before the current.
    """
    if isinstance(table, Mapping):
        return {
            key: inner if key in WORDS else absolute(inner, folder) for key, inner in table.items()
        }
    if isinstance(table, list | tuple):
        return [absolute(inner, folder) for inner in table]
    if isinstance(table, str):
        place = IN_A_FILE.fullmatch(table)
        name, rest = (place[1], f":{place[2]}") if place else (table, "")
        for above in (folder or Path(), Path()):
            if (place or DATA.fullmatch(name)) and (file := above / name).is_file():
                return f"{file.resolve()}{rest}"
    return table
