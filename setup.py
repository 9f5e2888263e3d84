"""The compiled kernels, which are optional: without a compiler dither runs on plain JAX.

`DITHER_KERNELS=0` builds none: the wheel then fits every machine.
"""

import copy
import os
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = sorted(str(path) for path in Path("src/kernels").glob("*.cc"))
HEADERS = sorted(str(path) for path in Path("src/kernels").glob("*.h"))
FLAGS = ["-std=c++17", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
LEVELS = {
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "v3": ["-march=x86-64-v3"],
    "any": [],
}
"""The processors that each copy is compiled for; the best that runs is taken."""


def kernels() -> list[Extension]:
    """One copy of the kernels per level of processor."""
    if os.name != "posix" or os.environ.get("DITHER_KERNELS") == "0":
        return []
    try:
        from jax.ffi import include_dir
    except ImportError:
        return []
    intel = platform.machine() in ("x86_64", "AMD64")
    return [
        Extension(
            f"dither._kernels_{level}",
            sources=SOURCES,
            depends=HEADERS,
            include_dirs=["src/kernels"],
            define_macros=[("LEVEL", level)],
            extra_compile_args=[*FLAGS, *flags, "-isystem", include_dir()],
            language="c++",
            optional=True,
        )
        for level, flags in LEVELS.items()
        if intel or level == "any"
    ]


class BuildSideBySide(build_ext):
    """Compile the copies on all cores, each into a folder of its own: the files have one name."""

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = str(Path(self.build_temp) / ext.name)
        build_ext.build_extension(own, ext)


setup(
    ext_modules=kernels(),
    cmdclass={"build_ext": BuildSideBySide},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
