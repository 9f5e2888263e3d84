"""The choice among registered kinds of configurations."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast, get_args

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from dither._errors import RequestError, nearest
from dither._places import find


class UnknownKind(RequestError):
    """An unknown kind. `said` completes a sentence that begins with the key path."""

    def __init__(self, what: str, kind: str, why: str) -> None:
        super().__init__(f"There is no {what} '{kind}'; {why}")
        self.said = f"has no kind '{kind}'; {why}"


class Registry(dict[str, type[BaseModel]]):
    """The classes that a field may choose among, by their kind: `Annotated[Family, REGISTRY]`.

    Any other class of the family is selected by `FILE.py:NAME`, by `package.module:NAME`, or by the
    name of an entry point of an installed package (such as in the group `dither.tasks`). The field
    accepts an instance, a table with `kind`, or the kind alone.

    Arguments: `what` the classes are, in one word; the `family`, their base class; `among`, objects
    whose concrete classes of the family are registered; `shorthand`, a function that turns another
    value into a table.
    """

    # a registry annotates a field, and annotations are hashed; a dict has no hash
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(
        self,
        what: str,
        family: Any,
        among: Iterable[Any],
        shorthand: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.what, self.family, self.shorthand = what, family, shorthand
        super().__init__(
            (cls.model_fields["kind"].default, cls) for cls in among if _concrete(cls, family)
        )

    def __missing__(self, kind: str) -> type[BaseModel]:
        offered = {one.name: one for one in entry_points(group=f"dither.{self.what.rstrip('s')}s")}
        if kind not in offered and ":" not in kind:
            raise UnknownKind(self.what, kind, nearest(kind, [*self, *offered]))
        try:
            cls = find(offered[kind].value if kind in offered else kind, self.what)
        except RequestError as error:
            raise UnknownKind(self.what, kind, _lowered(str(error))) from error
        if not _concrete(cls, self.family):
            family = " or ".join(one.__name__ for one in get_args(self.family) or (self.family,))
            raise UnknownKind(self.what, kind, f"it is not a class that inherits from {family}.")
        return cast("type[BaseModel]", cls)

    def table(self, value: Any) -> Any:
        """The value of a field as a table with its kind, if it can be one."""
        value = self.shorthand(value)
        return {"kind": value} if isinstance(value, str) else value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(
            self._made,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.model_dump(mode="json", exclude_none=True)
            ),
        )

    def _made(self, value: Any) -> Any:
        if isinstance(value, self.family):
            return value
        table = self.table(value)
        if not isinstance(table, Mapping):
            raise PydanticKnownError("model_attributes_type")
        if "kind" not in table:
            raise PydanticCustomError("kind", "needs a kind.")
        try:
            cls = self[str(table["kind"])]
        except UnknownKind as error:
            raise PydanticCustomError("kind", "{said}", {"said": error.said}) from None
        return cls.model_validate({key: inner for key, inner in table.items() if key != "kind"})


def _concrete(cls: Any, family: Any) -> bool:
    inherits = isinstance(cls, type) and issubclass(cls, family)
    return inherits and not cls.__name__.startswith("Abstract")


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
