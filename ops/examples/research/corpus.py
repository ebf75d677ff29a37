"""The corpus: what every machine with Python has on its disk.

Sections are docstrings of the standard library's sources and paragraphs of the installed packages'
READMEs, each with its file and line. Read once per process, with ast, without importing anything:
a container needs no network and no data set for real research.
"""

from __future__ import annotations

import ast
import sysconfig
import threading
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_LIMIT = 12_000_000
"""Characters of source read at most: a second or two of parsing, whatever is installed."""
SHORTEST = 60
"""A docstring shorter than this says too little to quote."""
_SKIPPED = frozenset(
    {"__pycache__", "test", "tests", "idlelib", "idle_test", "lib2to3", "turtledemo", "tkinter"}
    | {"ensurepip", "encodings", "pydoc_data", "site-packages", "dist-packages"}
)


class Section(NamedTuple):
    """A piece of a document that can be found, opened and quoted."""

    source: str
    """The module or the package: `asyncio.queues`, `msgspec (package)`."""
    title: str
    """The name inside it: `Queue.put`, or empty for the head of a document."""
    line: int
    """First line of the text, from 1."""
    text: str
    """Exactly as it is in the file, with its line breaks."""
    path: str

    @property
    def last(self) -> int:
        """Last line of the text."""
        return self.line + self.text.count("\n")


class Corpus:
    """All sections, with an index over them."""

    def __init__(self, sections: list[Section]) -> None:
        self.sections = sections
        self.index = Index([(f"{s.source} {s.title}", s.text) for s in sections])

    def search(self, query: str, count: int) -> list[tuple[Section, float]]:
        """The best sections for the words, with their scores, best first."""
        return [(self.sections[i], score) for i, score in self.index.search(query, count)]

    def find(self, source: str, line: int) -> Section | None:
        """The section of that document that holds the line, or the first one after it."""
        of_source = [s for s in self.sections if s.source == source and s.last >= line]
        return min(of_source, key=lambda s: s.line, default=None)


def module_sections(source: str, path: str, code: str) -> Iterator[Section]:
    """The docstrings of one module, with the names of their classes and functions."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):  # a template, or data that ends in .py
        return
    lines = code.splitlines()
    waiting: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]
    waiting = [("", tree)]
    while waiting:
        title, node = waiting.pop()
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
            and len(first.value.value) >= SHORTEST
        ):
            text = "\n".join(lines[first.lineno - 1 : first.end_lineno])
            yield Section(source, title, first.lineno, text, path)
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] == "_":
                continue  # how a module does it inside; the public names say what it does
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                waiting.append((f"{title}.{child.name}".lstrip("."), child))


def stdlib_sections(root: Path, limit: int = READ_LIMIT) -> Iterator[Section]:
    """The docstrings below a folder of Python sources, until `limit` characters were read.

    Top-level modules come first, so that a small limit still sees the well-known ones.
    """
    found = (p.relative_to(root) for p in root.rglob("*.py"))
    files = sorted(
        (f for f in found if _SKIPPED.isdisjoint(f.parts)), key=lambda f: (len(f.parts), f)
    )
    for file in files:
        if limit <= 0:
            return
        code = (root / file).read_text("utf-8", "replace")
        limit -= len(code)
        module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        yield from module_sections(module, str(root / file), code)


def package_sections(limit: int = READ_LIMIT // 12) -> Iterator[Section]:
    """The paragraphs of the installed packages' READMEs, from their metadata."""
    for package in sorted(metadata.distributions(), key=lambda d: d.name or ""):
        about = package.metadata  # its type has no get() before Python 3.12
        readme = about["Description"] if "Description" in about else ""  # noqa: SIM401
        if not package.name or not readme or limit <= 0:
            continue
        limit -= len(readme)
        yield from paragraphs(f"{package.name} (package)", "README", readme)


def paragraphs(source: str, path: str, text: str) -> Iterator[Section]:
    """Split a README at its blank lines; each paragraph under the heading above it."""
    title, start, block = "", 1, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.strip():
            start = start if block else number
            block.append(line)
            continue
        if block and block[0].startswith("#"):
            title = block[0].strip("# ")
        elif len("\n".join(block)) >= SHORTEST:
            yield Section(source, title, start, "\n".join(block), path)
        block = []


_building = threading.Lock()


@cache
def _build() -> Corpus:
    root = Path(sysconfig.get_path("stdlib"))
    return Corpus([*stdlib_sections(root), *package_sections()])


def shared_corpus() -> Corpus:
    """The corpus of this Python, read and indexed at the first call (a few seconds)."""
    with _building:  # two threads at once would both read the disk
        return _build()
