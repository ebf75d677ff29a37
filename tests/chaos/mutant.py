"""Puts a mutation into this process: modules are compiled from their patched source.

Nothing is written to disk. It must be there before the modules are imported; `untouched` says which
patches were never loaded, so that a test run over a mutant that was not one is noticed.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    from chaos.mutations import Mutation, Patch

SQL = "sql:"
"""`sql:saves` is the file of statements of that area of the Postgres store."""
STORE = "headway_engine.store.postgres"


class Stale(Exception):
    """A patch does not fit its file."""


def patched(patch: Patch, text: str) -> str:
    """The file with the patch; raises Stale unless the old text occurs exactly once."""
    count = text.count(patch.old)
    if count != 1:
        raise Stale(f"{patch.module}: found {count} times, not once:\n{patch.old}")
    if patch.old == patch.new:
        raise Stale(f"{patch.module}: changes nothing:\n{patch.old}")
    return text.replace(patch.old, patch.new)


def file_of(module: str) -> Path:
    """Where the source of a patch lies."""
    if module.startswith(SQL):
        return file_of(STORE).parent / "sql" / f"{module.removeprefix(SQL)}.sql"
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)  # does not import it
    if spec is None or spec.origin is None:
        raise Stale(f"there is no package {package}")
    path = Path(spec.origin).parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class _Loader(SourceFileLoader):
    """Compiles the patched source; never the cached one."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text("utf-8")
        return compile(self.mutant.apply(fullname, text), self.path, "exec", dont_inherit=True)


class Mutant(MetaPathFinder):
    """The import hook of one mutation."""

    def __init__(self, mutation: Mutation) -> None:
        self.patches = mutation.patches
        self.loaded: set[str] = set()

    def apply(self, module: str, text: str) -> str:
        """The text with all patches of that file."""
        for patch in self.patches:
            if patch.module == module:
                text = patched(patch, text)
        self.loaded.add(module)
        return text

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Only the modules that are to be patched."""
        if not any(patch.module == fullname for patch in self.patches):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            spec.origin,
            loader=_Loader(fullname, spec.origin, self),
            submodule_search_locations=spec.submodule_search_locations,
        )

    def install(self) -> None:
        """From here on imports give the mutant. Raises Stale if one is imported already."""
        for patch in self.patches:
            if patch.module in sys.modules:
                raise Stale(f"{patch.module} is imported already")
        sys.meta_path.insert(0, self)
        areas = {p.module for p in self.patches if p.module.startswith(SQL)}
        if not areas:
            return
        read = Path.read_text

        def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
            text = read(path, *args, **kwargs)
            area = SQL + path.stem
            return self.apply(area, text) if path.suffix == ".sql" and area in areas else text

        Path.read_text = read_text  # type: ignore[method-assign]  # of this process alone

    def untouched(self) -> set[str]:
        """Modules that nobody imported."""
        return {patch.module for patch in self.patches} - self.loaded
