"""Frozen, validated configurations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, SupportsIndex, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer, field_validator

from dither._errors import SettingsError
from dither._explain import explain
from dither._number_fields import check_numbers
from dither._places import module_of, place_of, source_of
from dither._registry import Registry as Registry
from dither._registry import UnknownKind as UnknownKind

T = TypeVar("T", bound="Configuration")


class Configuration(BaseModel):
    """A frozen record of settings, checked when it is made.

    Every task, network, device, imperfection, code and algorithm is a configuration. Concrete
    classes have a `kind`, the name that selects them in a TOML file or on the command line; it
    defaults to the name of the class.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        defer_build=True,
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    """Renamed settings: a map from the old name to the new one."""

    def __init__(self, **settings: Any) -> None:
        """Check the settings. Errors: `SettingsError`, a `RequestError` and `ValueError`."""
        __tracebackhide__ = True
        cls = type(self)
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise SettingsError(explain(error, cls.__name__, cls, settings)) from None

    # pydantic must not call it for nested tables: their errors are reported from outside
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def example(cls) -> "Configuration":
        """An example for the tests (`dither.testing`): the fields' first examples or defaults."""
        fields = cls.model_fields.items()
        return cls(**{name: field.examples[0] for name, field in fields if field.examples})

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        kind = cls.model_fields.get("kind")
        if kind is not None and kind.is_required() and not cls.__name__.startswith("Abstract"):
            kind.default = cls.__name__

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, field: Any) -> Any:
        check_numbers(cls.model_fields[field.field_name].annotation, value)
        return value

    def model_copy(self: T, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> T:
        """Copy the settings, some of them changed; cached properties are not copied."""
        copy = super().model_copy(update=update, deep=deep)
        for cached in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[cached]
        return copy

    @field_serializer("kind", check_fields=False)
    def _found_again(self, kind: str) -> str:
        """The kind; for a class from outside this package, the place where it is defined."""
        cls = type(self)
        return kind if cls.__module__.startswith("dither.") else place_of(cls) or kind

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # the file may be missing where this is unpickled
        source = source_of(type(self))
        if source is None:
            return super().__reduce_ex__(protocol)
        return _unpickled, (*source, type(self).__name__), self.__getstate__()


def _unpickled(file: str, source: str, name: str) -> Any:
    cls = getattr(module_of(Path(file), source), name)
    return cls.__new__(cls)
