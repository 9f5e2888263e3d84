"""Build dither, install it into empty environments outside the checkout, and try it there.

`make wheel` builds the source distribution and a wheel from it, and trains from the wheel.
`make installs` also runs the notebooks, and tries every extra alone, the lowest versions, and other
Pythons.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
NUMBERS = itertools.count(1)
PROBES = {path.stem: path for path in sorted((ROOT / ".ci" / "extras").glob("*.py"))}
GROUPS = {"lab": ("scpi", "qcodes", "ophyd"), "bench": ("evolution", "torch")}
"""Extras that are others together."""

TOOLS = ("adapters-test", "dev", "docs", "test")
"""Extras for work on dither itself: they are only resolved."""

SOURCE_ONLY = ("aihwkit",)
"""Extras whose package has no wheel for today's PyTorch, and is built only beside OpenBLAS."""

TESTS = ("codes", "first_update", "words")
"""Quick test files that need nothing of the checkout but the folder of tests."""

REFUSED = """
import pathlib, runpy, sys
for probe in sys.argv[1:]:
    try:
        runpy.run_path(probe, run_name="__main__")
    except Exception as error:
        print(pathlib.Path(probe).stem, type(error).__name__, error)
"""

TRAIN = ("train", "nist7x7", "--set", "until.measurements=2000", "--set", "until.score=1.0")


@dataclass(frozen=True)
class Environment:
    """An environment of its own in a folder outside the checkout."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def install(self, *what: str) -> None:
        uv("pip", "install", "--python", str(self.folder), *what)

    def run(self, *words: str, fails: bool = False) -> str:
        """What a command of the environment prints; it must succeed, or fail."""
        done = subprocess.run(
            [self.scripts / words[0], *words[1:]],
            cwd=self.folder.parent, env=clean(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            raise SystemExit(f"{' '.join(words)}: status {done.returncode}\n{said}")
        return said


def clean() -> dict[str, str]:
    """This process's environment without what would let the checkout in."""
    ours = ("PYTHON", "VIRTUAL_ENV", "DITHER", "JAX")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def uv(*words: str) -> str:
    """Run uv, with the index, links and certificates that pip is told of."""
    told = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS",
            "PIP_CERT": "SSL_CERT_FILE"}  # fmt: skip
    known = {new: os.environ[old] for old, new in told.items() if old in os.environ}
    environment = {**known, **clean(), "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [find_uv_bin(), "--quiet", *words],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"uv {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def build(out: Path, python: str) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    uv("build", "--python", python, "--out-dir", str(out), str(ROOT))
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def check_contents(sdist: Path, wheel: Path) -> None:
    """The wheel holds every file of src/dither, kernels where they compile, and nothing else."""
    source = {path for path in (ROOT / "src" / "dither").rglob("*") if path.is_file()}
    wanted = {
        path.relative_to(ROOT / "src").as_posix()
        for path in source
        if "__pycache__" not in path.parts and path.suffix not in (".so", ".pyd")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    kernels = {name for name in held if name.startswith("dither/_kernels_")}
    same("The wheel", held - kernels, wanted)
    if shutil.which("c++") and not kernels:
        raise SystemExit("The wheel has no kernels, and there is a compiler.")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"src/{name}" for name in wanted} | {"LICENSE", "README.md", "setup.py"}
    needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "src" / "kernels").iterdir()}
    same("The source distribution", names & needed, needed)
    say(f"contents: {len(wanted)} files and {len(kernels)} kernels in the wheel")
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], check=True
    )


def same(what: str, held: Iterable[str], wanted: Iterable[str]) -> None:
    lacks, more = set(wanted) - set(held), set(held) - set(wanted)
    if lacks or more:
        raise SystemExit(f"{what} lacks {sorted(lacks)} and has {sorted(more)} too many.")


def environment(place: Path, python: str, *what: str) -> Environment:
    """A new environment with these requirements alone."""
    made = Environment(place / f"env-{next(NUMBERS)}")
    uv("venv", "--python", python, str(made.folder))
    made.install(*what)
    return made


def check_base(base: Environment) -> None:
    """The version is told, a training runs, and whatever needs an extra says which."""
    version = base.run("dither", "--version").strip()
    if base.run("python", "-m", "dither", "--version").strip() != version:
        raise SystemExit("python -m dither tells another version than dither.")
    found = Path(base.run("python", "-c", "import dither; print(dither.__file__)").strip())
    if base.folder not in found.parents:
        raise SystemExit(f"dither was imported from {found}.")
    loaded = base.run("python", "-c", "import dither._kernels; print(dither._kernels.loaded())")
    if (loaded.strip() == "True") != bool(shutil.which("c++")):
        raise SystemExit(f"{version}, but loaded: {loaded}")
    base.run("dither", *TRAIN)
    say(f"base: {version}; trained nist7x7")


def check_refusals(base: Environment) -> None:
    """Every extra has its script; without the extra, the script's error names it."""
    same("The folder of scripts", [*PROBES, *GROUPS, *TOOLS], EXTRAS)
    said = base.run("python", "-c", REFUSED, *map(str, PROBES.values())).splitlines()
    asked = {
        extra
        for extra in PROBES
        if any(line.startswith(f"{extra} ") and f"'dither[{extra}]'" in line for line in said)
    }
    same("What says which extra it needs", asked, PROBES)
    say(f"base: {len(asked)} extras are asked for by name")


def check_notebooks(base: Environment, place: Path) -> None:
    """The documentation's notebooks run from the wheel."""
    base.install(*constrained(), "nbconvert", "ipykernel")
    shutil.copytree(ROOT / "docs" / "notebooks", place / "notebooks")
    for notebook in sorted((place / "notebooks").glob("*.ipynb")):
        base.run(
            "jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace", str(notebook)
        )
        say(f"notebook: {notebook.stem} runs")


def check_extra(extra: str, place: Path, python: str, wheel: Path) -> None:
    """An extra alone installs and does its work."""
    only = environment(place, python, *constrained(), f"dither[{extra}] @ {wheel.as_uri()}")
    for one in GROUPS.get(extra, (extra,)):
        only.run("python", "-P", str(PROBES[one]))
    say(f"dither[{extra}]: works alone")
    shutil.rmtree(only.folder)


def constrained() -> tuple[str, str]:
    return "--constraints", str(ROOT / "constraints.txt")


def check_python(python: str, place: Path) -> None:
    """Wheel, training and quick tests on another Python, with the newest versions it can have."""
    sdist, wheel = build(place / f"dist-{next(NUMBERS)}", python)
    check_contents(sdist, wheel)
    there = environment(place, python, str(wheel))
    check_base(there)
    there.install("pytest", "hypothesis", "beartype")
    shutil.copytree(ROOT / "tests", place / "tests", dirs_exist_ok=True)
    files = [str(place / "tests" / f"test_{name}.py") for name in TESTS]
    told = there.run("python", "-m", "pytest", "-q", "-W", "error", *files).splitlines()[-1]
    say(f"Python {python}: {told}")


def check_all(place: Path, python: str, wheel: Path, base: Environment) -> None:
    """Every extra alone, and the lowest versions that are allowed."""
    failed = []
    for extra in EXTRAS:
        try:
            if extra in TOOLS:
                base.install("--dry-run", *constrained(), f"dither[{extra}] @ {wheel.as_uri()}")
                say(f"dither[{extra}]: resolves")
            else:
                check_extra(extra, place, python, wheel)
        except SystemExit as error:
            say(f"dither[{extra}]: does not install\n{error}")
            if extra not in SOURCE_ONLY:
                failed.append(extra)
    lowest = environment(place, python, "--resolution", "lowest-direct", str(wheel))
    check_base(lowest)
    say("the lowest versions allowed: trained nist7x7")
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}.")


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", action="store_true", help="also every extra, lowest versions")
    parser.add_argument("--pythons", nargs="*", default=[], help="such as 3.12 3.13")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sdist, wheel = build(place / "dist", sys.executable)
        check_contents(sdist, wheel)
        base = environment(place, sys.executable, *constrained(), str(wheel))
        check_base(base)
        check_refusals(base)
        if asked.extras:
            check_notebooks(base, place)
            check_all(place, sys.executable, wheel, base)
        for python in asked.pythons:
            check_python(python, place)


if __name__ == "__main__":
    main()
