"""Frozen, validated configurations, and the choice among registered kinds of them."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from dither._errors import nearest


class Configuration(BaseModel):
    """A frozen record of settings, checked when it is made.

    Every task, network, device, imperfection, code and algorithm is one. Concrete classes carry a
    `kind`, the name under which a TOML file or the shell asks for them.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    """Settings that had another name before, old to new."""


C = TypeVar("C", bound=Configuration)


def registry(*classes: type[C]) -> dict[str, type[C]]:
    """The classes under their `kind`."""
    return {cls.model_fields["kind"].default: cls for cls in classes}


class OneOf:
    """Marks a field that takes any kind of a registry: an instance, a table with `kind`, a name."""

    def __init__(self, what: str, kinds: Mapping[str, type[Configuration]]) -> None:
        self.what = what
        self.kinds = kinds

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        tables = core_schema.tagged_union_schema(
            {kind: handler.generate_schema(cls) for kind, cls in self.kinds.items()},
            discriminator="kind",
        )

        def choose(value: Any, validate: Callable[[Any], Any]) -> Any:
            if isinstance(value, source):
                return value
            return validate({"kind": value} if isinstance(value, str) else value)

        return core_schema.no_info_wrap_validator_function(
            choose,
            tables,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.model_dump(mode="json", exclude_none=True)
            ),
        )


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """One sentence for the first thing that a validation found wrong.

    Arguments: the error, what was being read (a file, a class), and the model it was read for.
    Returns: where (key path), what is wrong, and the nearest names where a name is unknown.
    """
    first = error.errors()[0]
    path = ".".join(str(part) for part in _keys(first["loc"], model))
    place = f"{where}: {path}" if path else where
    if first["type"] == "extra_forbidden":
        *above, key = _keys(first["loc"], model)
        owning = _model_at(first["loc"][:-1], model)
        owner = f"{where}: {'.'.join(map(str, above))}" if above else where
        if new := getattr(owning, "renamed", {}).get(str(key)):
            return f"{owner} has no setting '{key}' any more; it is called '{new}' now."
        return f"{owner} has no setting '{key}'; {nearest(str(key), owning.model_fields)}"
    if first["type"] == "union_tag_invalid":
        context = first["ctx"]
        kinds = [kind.strip().strip("'") for kind in context["expected_tags"].split(",")]
        return f"{place} has no kind '{context['tag']}'; {nearest(context['tag'], kinds)}"
    if first["type"] == "union_tag_not_found":
        return f"{place} needs a kind."
    if first["type"] == "missing":
        return f"{place} is missing."
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, dict | BaseModel) else f" (given: {given!r})"
    return f"{place}: {message[0].lower()}{message[1:]}{shown}."


def key_path(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """The keys that lead to the first thing that a validation found wrong."""
    return [str(part) for part in _keys(error.errors()[0]["loc"], model)]


def _choice(model: type[BaseModel], part: int | str) -> OneOf | None:
    field = model.model_fields.get(str(part))
    return next((m for m in field.metadata if isinstance(m, OneOf)), None) if field else None


def _walk(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[tuple[int | str, Any]]:
    """Each part of an error's place with the model that it stands in; kinds' tags are dropped."""
    found: list[tuple[int | str, Any]] = []
    choice: OneOf | None = None
    for part in loc:
        if choice is not None and part in choice.kinds:
            model, choice = choice.kinds[str(part)], None
            continue
        found.append((part, model))
        if isinstance(part, str):
            field = model.model_fields.get(part)
            choice = _choice(model, part)
            if field is not None and choice is None:
                choice = _inner_choice(field.annotation)
                if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                    model = field.annotation
    found.append(("", model))
    return found


def _inner_choice(annotation: Any) -> OneOf | None:
    """The choice inside a container's annotation, as in `tuple[AnyImperfection, ...]`."""
    for inner in getattr(annotation, "__args__", ()):
        for mark in getattr(inner, "__metadata__", ()):
            if isinstance(mark, OneOf):
                return mark
    return None


def _keys(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[int | str]:
    return [part for part, _ in _walk(loc, model)[:-1]]


def _model_at(loc: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    found: type[BaseModel] = _walk(loc, model)[-1][1]
    return found
