"""The inside of `headway check`: runs in the process that imports the user's modules."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from headway import tasks as sdk_tasks
from headway.errors import HeadwayError
from headway_ops.check import Problem, Report

if TYPE_CHECKING:
    from types import FunctionType

    from headway.wire.fleet import TaskSpec


def main(arguments: list[str]) -> None:
    """`OUT ROOT MODULE...`: import, look, write the report as JSON."""
    out, root, *modules = arguments
    sys.path[:0] = [root]
    sys.dont_write_bytecode = True
    report = look(root, modules)
    Path(out).write_bytes(msgspec.json.encode(report))
    # Threads and exit handlers of user modules have no say in how this process ends.
    sys.stdout.flush()
    os._exit(0)


def look(root: str, modules: list[str]) -> Report:
    """Import the modules and examine every task that they define."""
    problems: list[Problem] = []
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as e:
            problems.append(of_error(e, root, module))
    found: list[TaskSpec] = []
    for task in sdk_tasks.registry().values():
        problems += of_task(task, root)
        try:
            found.append(task.spec())
        except HeadwayError as e:
            file, line = place(function_of(task), root)
            problems.append(Problem(file, line, f"task {task.id}: {e}"))
    if not found and not problems:
        problems.append(
            Problem("", 0, f"no task in {', '.join(modules)}", "decorate a function with @task")
        )
    return Report(problems, found, modules, root, files_below(root, modules))


def function_of(task: Any) -> FunctionType:
    """The user's function, without decorators."""
    return cast("FunctionType", inspect.unwrap(task.fn))


def place(function: FunctionType, root: str) -> tuple[str, int]:
    """File (relative to the root) and line of a definition."""
    code = function.__code__
    return shown(code.co_filename, root), code.co_firstlineno


def shown(file: str, root: str) -> str:
    """A path as the user knows it: relative to the working directory where that is shorter."""
    relative = os.path.relpath(file, Path.cwd())
    return relative if not relative.startswith("..") else file


def of_error(error: BaseException, root: str, module: str) -> Problem:
    """An exception at import as a finding at the innermost line of the user's own files."""
    if isinstance(error, SyntaxError) and error.filename:
        return Problem(shown(error.filename, root), error.lineno or 0, f"syntax: {error.msg}")
    file, line = "", 0
    for frame in traceback.extract_tb(error.__traceback__):
        if is_below(frame.filename, root):
            file, line = shown(frame.filename, root), frame.lineno or 0
    if isinstance(error, HeadwayError):
        return Problem(file, line, str(error))
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return Problem("", 0, f"no module {module!r} below {root}")
    todo = ""
    if isinstance(error, ModuleNotFoundError):
        todo = "install it here, and in the task's image"
    return Problem(file, line, f"import failed: {type(error).__name__}: {error}", todo)


def of_task(task: Any, root: str) -> list[Problem]:
    """What a definition leaves open: parameters and results without a type."""
    function = function_of(task)
    file, line = place(function, root)
    signature = inspect.signature(function)
    problems = [
        Problem(
            file,
            line,
            f"task {task.id}: parameter {parameter.name!r} has no type",
            f"write {parameter.name}: str (or what it is): payloads are checked by it",
        )
        for parameter in signature.parameters.values()
        if parameter.annotation is inspect.Parameter.empty
    ]
    if signature.return_annotation is inspect.Signature.empty:
        problems.append(
            Problem(file, line, f"task {task.id}: the result has no type",
                    "write -> None, or what it returns", warning=True)
        )  # fmt: skip
    return problems


def is_below(file: str, root: str) -> bool:
    """True for the user's own files; what is installed below the root is not."""
    path = os.path.abspath(file)
    inside = os.path.commonpath([path, root]) == root if os.path.isabs(path) else False
    return inside and "site-packages" not in path and not path.startswith(sys.prefix + os.sep)


def files_below(root: str, modules: list[str]) -> list[str]:
    """Source files of all loaded modules below the root, and of those that could not be loaded."""
    files: set[str] = set()
    for module in modules:
        with contextlib.suppress(Exception):
            spec = importlib.util.find_spec(module)
            if spec is not None and spec.origin is not None and is_below(spec.origin, root):
                files.add(os.path.abspath(spec.origin))
    own = {str(Path(str(sys.modules[n].__file__)).parent) for n in ("headway", "headway_ops")}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if (
            isinstance(file, str)
            and is_below(file, root)
            and not any(os.path.abspath(file).startswith(folder + os.sep) for folder in own)
        ):
            files.add(os.path.abspath(file))
    return sorted(files)


if __name__ == "__main__":
    main(sys.argv[1:])
