"""The test battery of configurations."""

import pickle
import re
import tomllib
from typing import Any

import pytest
import tomlkit

from dither._configuration import Configuration, Registry
from dither.algorithms import ALGORITHMS
from dither.algorithms.selection import SELECTIONS
from dither.algorithms.updates import UPDATES
from dither.codes import CODES
from dither.devices import IMPERFECTIONS
from dither.networks import NETWORKS, RESERVOIRS
from dither.tasks import SAMPLERS, SERIES, STENCILS, TASKS
from dither.training.kinds import DEVICES

REGISTRIES: tuple[Registry, ...] = (
    ALGORITHMS, CODES, DEVICES, IMPERFECTIONS, NETWORKS, RESERVOIRS, SAMPLERS, SELECTIONS, SERIES,
    STENCILS, TASKS, UPDATES,
)  # fmt: skip


class SettingsBattery:
    """A configuration is documented, frozen, and can be restored from its written form."""

    def test_it_is_found_again_from_toml(self, subject: Configuration) -> None:
        text = tomlkit.dumps(subject.model_dump(mode="json", exclude_none=True))
        table: dict[str, Any] = tomllib.loads(text)
        registry = next(r for r in REGISTRIES if isinstance(subject, r.family))
        cls = registry[table.pop("kind")]
        assert cls is type(subject)
        assert cls.model_validate(table) == subject

    def test_it_is_the_same_after_a_journey(self, subject: Configuration) -> None:
        assert pickle.loads(pickle.dumps(subject)) == subject

    def test_its_settings_cannot_be_changed(self, subject: Configuration) -> None:
        with pytest.raises(ValueError, match="frozen"):
            subject.kind = "other"  # type: ignore[attr-defined]

    def test_its_settings_are_documented(self, subject: Configuration) -> None:
        lineage = [cls for cls in type(subject).__mro__ if issubclass(cls, Configuration)]
        assert type(subject).__doc__, "give the class a docstring: one line, its formula, Arguments"
        said = "\n".join(cls.__doc__ or "" for cls in lineage)
        names = [name for name in type(subject).model_fields if name != "kind"]
        missing = [name for name in names if not re.search(rf"\b{name}\b", said)]
        assert not missing, f"the docstring does not mention {missing}"
