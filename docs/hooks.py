"""Generate documentation pages from the package, and fail if its documentation is incomplete.

Registered classes and exported names are documented automatically.
"""

import ast
import pkgutil
import re
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import claims
import dither
from dither._configuration import Configuration

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOT_DOCUMENTED_HERE = {"dither.cli"}
CONTRACT, KINDS_OF_DEVICES = "dither.contract", "dither.training.kinds"
BELOW_GUIDES = ["---", "search:", "  boost: 0.5", "---", ""]
"""Front matter that ranks the reference below the guides in search results."""

Place = tuple[str, griffe.Object]
"""The documented name of an object, and the object."""

_anchors: set[str] = set()


def packages() -> list[str]:
    """dither, its contract and its public subpackages, sorted by depth."""
    found = [
        info.name
        for info in pkgutil.walk_packages(dither.__path__, "dither.")
        if info.ispkg and "._" not in info.name and info.name not in NOT_DOCUMENTED_HERE
    ]
    exporting = [name for name in found if names_of(name)]
    return ["dither", *sorted([CONTRACT, *exporting], key=lambda name: name.count("."))]


def names_of(package: str) -> list[str]:
    """The names that a package exports.

    These are the names in `__all__`. Without `__all__`, they are the names that the package imports
    under the same alias (PEP 484) and the names that it defines.
    """
    module = import_module(package)
    if hasattr(module, "__all__"):
        return list(module.__all__)
    nodes = ast.parse(Path(module.__file__ or "").read_text("utf-8")).body
    imports = (alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names)
    exported = [alias.name for alias in imports if alias.asname == alias.name]
    defined = (target for node in nodes if isinstance(node, ast.Assign) for target in node.targets)
    if package == CONTRACT:
        return [*exported, *(node.name for node in nodes if isinstance(node, ast.ClassDef))]
    return exported and [*exported, *(one.id for one in defined if isinstance(one, ast.Name))]


def exported() -> dict[str, list[Place]]:
    """The objects of each package; an object belongs to the deepest package that exports it."""
    tree = griffe.load("dither", search_paths=[ROOT / "src"])
    homes: dict[str, tuple[str, Place]] = {}
    for package in packages():
        for name in names_of(package):
            thing = tree[f"{package}.{name}".removeprefix("dither.")]
            path = f"{package}.{name}"
            thing = thing.final_target if thing.is_alias else thing
            if thing.is_module:
                thing, path = thing[name], f"{path}.{name}"
            homes[thing.path] = (package, (path, thing))
    return {package: [p for home, p in homes.values() if home == package] for package in packages()}


def gaps(places: dict[str, list[Place]]) -> list[str]:
    """Public names without a docstring, including methods and properties of public classes."""
    found = []
    for path, thing in (place for group in places.values() for place in group):
        if not thing.docstring:
            found.append(path)
        if thing.is_class:
            found += [f"{path}.{name}" for name in _undocumented(thing)]
    return found


def _undocumented(cls: griffe.Class) -> list[str]:
    lineage = [cls, *cls.mro()]
    return [
        name
        for name, member in cls.all_members.items()
        if not name.startswith("_")
        and (member.is_function or "property" in member.labels)
        and not any(name in c.members and c.members[name].docstring for c in lineage)
    ]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Check the docstrings and add the generated pages to the navigation."""
    _anchors.clear()
    if missing := gaps(exported()):
        raise PluginError("These public names have no docstring: " + ", ".join(missing) + ".")
    readme = (ROOT / "README.md").read_text("utf-8")
    if loose := claims.loose_numbers(readme, claims.read_claims()):
        raise PluginError(f"README.md has numbers that are not in docs/claims.toml: {loose}.")
    groups = {title: pages for group in config.nav for title, pages in group.items()}
    groups["Papers and results"] += sorted(path.name for path in DOCS.glob("results*.md"))
    groups["Reference"] += [{_title(package): _page(package)} for package in packages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "presets.md", content=presets_page()))
    files.append(File.generated(config, "claims.md", content=claims.page()))
    for package, places in exported().items():
        text = index_page(places) if package == "dither" else package_page(package, places)
        files.append(File.generated(config, _page(package), content=text))
    return files


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Prevent line breaks within a number and between a number and its percent sign.

    A page on which a table is text is refused, as without its heading line.
    """
    parts = re.split(r"(<pre\b.*?</pre>|<code\b.*?</code>|<[^>]*>)", html, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        if re.search(r"\|\s?---", parts[i]):
            raise PluginError(f"{page.file.src_uri} has a table without a heading line.")
        whole = re.sub(r"(?<=\d)\s(?=\d{3}(?!\d))", "\u202f", parts[i])
        parts[i] = re.sub(r"(?<=\d)\s(?=%)", "\u00a0", whole)
    return "".join(parts)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Record the objects that a page documents."""
    if page.file.src_uri.startswith("reference/"):
        _anchors.update(re.findall(r'id="(dither\.[\w.]+)"', output))
    return output


def on_post_build(**_: Any) -> None:
    """Check that every public name is on a page of the reference."""
    places = (place for group in exported().values() for place in group)
    if lost := [path for path, _ in places if path not in _anchors]:
        raise PluginError("These public names are on no page: " + ", ".join(lost) + ".")


def _title(package: str) -> str:
    return package if package == "dither" else package.rpartition(".")[2].capitalize()


def _page(package: str) -> str:
    return f"reference/{'index' if package == 'dither' else package.rpartition('.')[2]}.md"


def _kinds(module: ModuleType) -> dict[type[Configuration], str]:
    """The registered classes, with their names in TOML files."""
    places = (module, import_module(KINDS_OF_DEVICES))
    tables = [value for place in places for name, value in vars(place).items() if name.isupper()]
    return {
        cls: kind
        for table in tables
        if isinstance(table, dict)
        for kind, cls in table.items()
        if isinstance(cls, type) and issubclass(cls, Configuration)
    }


def package_page(package: str, places: list[Place]) -> str:
    """Make the page of a package: registered kinds with their settings, then all other names."""
    module = import_module(package)
    by_path = {thing.path: path for path, thing in places}
    kinds = {
        by_path[path]: kind
        for cls, kind in _kinds(module).items()
        if (path := f"{cls.__module__}.{cls.__qualname__}") in by_path
    }
    others = sorted(set(by_path.values()) - set(kinds), key=_order)
    lines = [*BELOW_GUIDES, f"# {_title(package)}", "", module.__doc__ or "", ""]
    if kinds:
        lines += [
            "## Kinds",
            "",
            'Select a kind by `kind = "NAME"` in a TOML file, or create it in Python from the '
            "class below its name, with the same settings.",
            "",
        ]
        for path, kind in kinds.items():
            short = path.rpartition(".")[2]
            lines += [f"### {kind}", "", f"::: {path}", *_options(heading=short, heading_level=4)]
        lines += ["## In Python", ""]
    for path in others:
        lines += [f"::: {path}", *_options(heading_level=3 if kinds else 2)]
    return "\n".join(lines)


def _order(path: str) -> tuple[bool, bool, str]:
    """The sort key: interfaces first, constants last, otherwise alphabetical."""
    name = path.rpartition(".")[2]
    return name.isupper() and len(name) > 3, not name.startswith("Abstract"), name.lower()


def _options(**options: Any) -> list[str]:
    return ["    options:", *(f"      {key}: {value}" for key, value in options.items()), ""]


def index_page(places: list[Place]) -> str:
    """Make the page of the names in `import dither`, each with the first line of its docstring."""
    lines = [
        *BELOW_GUIDES,
        "# dither",
        "",
        "`import dither` provides the names below. "
        "All other names are in the packages listed in the navigation.",
        "",
        "| name | |",
        "| --- | --- |",
    ]
    everywhere = {thing.path: path for group in exported().values() for path, thing in group}
    tree = griffe.load("dither", search_paths=[ROOT / "src"])
    for name in dither.__all__:
        thing = tree[name].final_target
        thing = thing[name] if thing.is_module else thing
        summary = thing.docstring.value.splitlines()[0]
        lines.append(f"| [`{name}`][{everywhere[thing.path]}] | {summary} |")
    lines.append("")
    for path, _ in places:
        lines += [f"::: {path}", *_options(heading_level=2)]
    return "\n".join(lines)


def presets_page() -> str:
    """Make the page of presets: description, figure if available, and file of each preset."""
    lines = [
        "# Presets",
        "",
        "A preset is a TOML file that is included in dither. `dither presets` lists all presets, "
        "`dither presets NAME` prints one as a template for your own file, `dither train NAME` "
        "runs one, and `--set key=value` changes one of its settings.",
        "",
    ]
    for path in sorted((ROOT / "src" / "dither" / "presets").glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        lines += [f"## {path.stem}", "", tomllib.loads(text)["about"] + ".", ""]
        if (DOCS / "figures" / "presets" / f"{path.stem}.svg").exists():
            caption = f"Cost and score against measurements for the preset {path.stem}"
            lines += [f"![{caption}](figures/presets/{path.stem}.svg)", ""]
        lines += ["```toml", text.rstrip(), "```", ""]
    return "\n".join(lines)
