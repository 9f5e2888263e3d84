"""Make a page from each notebook in `docs/notebooks`, with its committed outputs.

The notebooks are also copied next to their pages for download.
"""

import re
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

NOTEBOOKS = Path(__file__).parent / "notebooks"
TEMPLATE = """{% extends "markdown/index.md.j2" %}
{% block stream %}
``` { .text .printed }
{{ output.text.rstrip() }}
```
{% endblock stream %}"""
FIGURE = re.compile(r"!\[png\]\((figures/\w+_(\d+)_\d+\.png)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the notebooks, with their figures."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, figures = page_of(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, image in figures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=image))
    return files


def page_of(path: Path) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook to Markdown; return the text and the figures by name.

    The `alt` entry in the metadata of a cell describes its figure.
    """
    book = nbformat.read(path, as_version=4)
    named = {"unique_key": path.stem, "output_files_dir": "figures"}
    exporter = MarkdownExporter(
        template_file="page.md.j2", extra_loaders=[DictLoader({"page.md.j2": TEMPLATE})]
    )
    text, resources = exporter.from_notebook_node(book, named)

    def described(found: re.Match[str]) -> str:
        return f"![{book.cells[int(found[2])].metadata['alt']}]({found[1]})"

    text = FIGURE.sub(described, text)
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace(' border="1" class="dataframe"', "").replace(".ipynb)", ".md)")
    download = f"[Download this notebook]({path.name}){{ .md-button .md-button--primary download }}"
    title, _, rest = text.strip().partition("\n")
    return f"{title}\n\n{download}\n{rest}\n", resources["outputs"]
