"""The package's structure: imports run one way, files and functions stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SRC.rglob("*.py")
}
BASE = ("contract", "codes", "tasks", "networks", "algorithms", "devices", "instruments", "laws")
ABOVE = ("planning", "studies", "watch", "remote", "interop", "papers", "cli")

MOST_LINES, MOST_IN_A_FUNCTION = 350, 60


def imports(module: str, inner: bool) -> set[str]:
    """What a module imports of dither: when it is loaded, or also inside its functions."""
    return set(_imports(ast.parse(MODULES[module].read_text("utf-8")), inner)) & MODULES.keys()


def _imports(node: ast.AST, inner: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert child.module is not None
            for name in (f"{child.module}.{alias.name}" for alias in child.names):
                yield name if name in MODULES else child.module
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        elif inner or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, inner)


def part(module: str) -> str:
    """The part of dither that a module belongs to, such as `training`."""
    return [*module.split("."), ""][1]


def test_no_import_runs_in_a_circle() -> None:
    left = {module: imports(module, inner=False) - {module} for module in MODULES}
    while free := [module for module, wanted in left.items() if not wanted & left.keys()]:
        for module in free:
            del left[module]
    # what is left stands on a circle, or imports what does
    assert not left


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_runs_upwards(module: str) -> None:
    mine = part(module)
    forbidden = {"training", *ABOVE} if mine in BASE else set(ABOVE) if mine == "training" else ()
    found = {other for other in imports(module, inner=True) if part(other) in forbidden}
    # a specification may name a served device, which is then connected to
    assert found <= ({"dither.remote", "dither.remote.client"} if mine == "instruments" else set())


def test_files_and_functions_are_short() -> None:
    long = {}
    for module, path in MODULES.items():
        text = path.read_text("utf-8")
        long[module] = len(text.splitlines()) - MOST_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                long[f"{module}.{node.name}"] = lines - MOST_IN_A_FUNCTION
    assert not {name: over for name, over in long.items() if over > 0}
