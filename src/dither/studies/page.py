"""The page of a report as one self-contained file."""

import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jinja2
import markupsafe

from dither.studies.pictures import Picture
from dither.studies.tables import Table
from dither.training.drawing import figure_bytes

SVG = re.compile(rb"<svg.*</svg>", re.DOTALL)
METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
NAMED = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True, eq=False)
class Page:
    """The content of a report, in order.

    Attributes: `kind`, `study` or `run`; `title`, `about`; `facts`, pairs of term and value;
    `notes`, sentences; `findings`, the fits; `pictures`; `tables`; `made`, versions and machines;
    `command`, which reproduces it from `file` with the content `toml`.
    """

    kind: str
    title: str
    about: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    findings: Sequence[str]
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    made: Sequence[tuple[str, str]]
    command: str
    file: str
    toml: str


def html(page: Page) -> str:
    """The page as self-contained HTML; all text from users is escaped."""

    def vector(picture: Picture) -> markupsafe.Markup:
        return markupsafe.Markup(inline_svg(picture))  # matplotlib has escaped its text

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dither.studies", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page, vector=vector)


def inline_svg(picture: Picture) -> str:
    """A figure as SVG for a shared page: unique names, a title, no external links.

    Text remains text, for searching and screen readers.
    """
    found = SVG.search(figure_bytes(picture.figure, "svg"))
    assert found is not None
    text = METADATA.sub("", found[0].decode())
    text = NAMED.sub(rf"\g<1>{picture.name}-", text)
    # its styles would apply to the whole page
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    width = re.findall(r' width="([\d.]+)pt"', text)[0]
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    title = markupsafe.escape(picture.title)
    shape = f'role="img" aria-labelledby="{picture.name}-title" style="width: {width}pt"'
    opened = text.index(">")
    named = f'<title id="{picture.name}-title">{title}</title>'
    return f"{text[:opened]} {shape}{text[opened : opened + 1]}{named}{text[opened + 1 :]}"


def versions() -> list[tuple[str, Any]]:
    """The versions of the software that wrote the page."""
    written = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    with_what = f"dither {version('dither')}, Python {platform.python_version()}"
    return [("this page", f"written {written} by {with_what}")]
