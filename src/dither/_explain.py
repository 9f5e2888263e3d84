"""Validation errors in one sentence."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from dither._errors import RequestError, nearest
from dither._registry import Registry, UnknownKind

DUE = {
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type"), "must be a table"),
}
"""The expected value, in the words of a TOML file, by pydantic's name for the error."""


def explain(error: ValidationError, where: str, model: type[BaseModel], table: Any) -> str:
    """One sentence for the first error of a validation.

    Arguments: the error; what was being read (a file, a class); the model it was read for; the
    content that was read.
    Returns: the key path, what is wrong, and the closest names if a name is unknown.
    """
    first = error.errors()[0]
    *above, key = keys = key_path(error) or [""]
    if first["type"] == "extra_forbidden":
        owner = f"{where}: {'.'.join(above)}" if above else where
        owning = _owner(first["loc"][:-1], model, table)
        if new := getattr(owning, "renamed", {}).get(key):
            return f"{owner} has no setting '{key}'; it was renamed to '{new}'."
        return f"{owner} has no setting '{key}'; {nearest(key, owning.model_fields)}"
    path = ".".join(keys)
    place = f"{where}: {path}" if path else where
    if first["type"] == "kind":
        return f"{place} {first['msg']}"
    if first["type"] == "missing":
        return f"{place} is missing."
    message = DUE.get(first["type"], first["msg"].removeprefix("Value error, ").rstrip("."))
    if message.endswith("?"):
        return f"{place}: {message}"
    given = first["input"]
    shown = "" if isinstance(given, dict | BaseModel) else f" (given: {given!r})"
    return f"{place}: {message[0].lower()}{message[1:]}{shown}."


def made_of(registry: Registry, name: str) -> Any:
    """The configuration that a name alone selects: a kind, or a shorthand of the registry.

    Errors: `RequestError` for an unknown kind, or for one that needs settings.
    """
    table = dict(registry.table(name))
    kind = registry[table.pop("kind")]
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        said = explain(error, f"The {registry.what} '{name}'", kind, table)
        raise RequestError(f"{said.rstrip('.')}; give its settings in a TOML file.") from None


def key_path(error: ValidationError) -> list[str]:
    """The key path of the first error of a validation."""
    return [str(part) for part in error.errors()[0]["loc"]]


def _owner(loc: Sequence[int | str], model: type[BaseModel], table: Any) -> type[BaseModel]:
    """The class whose settings stand at a key path in a table that is read for a model."""
    choice: Registry | type[BaseModel] = model
    for part in loc:
        table = table[part]
        if isinstance(part, str) and part not in model.model_fields:  # a name chosen by the user
            continue
        if isinstance(part, str):
            choice = next(_choices(model.model_fields[part]), model)
        if isinstance(choice, Registry):
            table = choice.table(table)
            if isinstance(table, Mapping):
                with suppress(KeyError, UnknownKind):
                    model = choice[table["kind"]]
        else:
            model = choice
    return model


def _choices(field: Any) -> Iterator[Registry | type[BaseModel]]:
    """The tables that a field accepts, as in `tuple[AnyImperfection, ...]` or `Search | None`."""
    if isinstance(field, FieldInfo):
        yield from (mark for mark in field.metadata if isinstance(mark, Registry))
        field = field.annotation
    yield from (mark for mark in getattr(field, "__metadata__", ()) if isinstance(mark, Registry))
    if isinstance(field, type) and issubclass(field, BaseModel):
        yield field
    for inner in get_args(field):
        yield from _choices(inner)
