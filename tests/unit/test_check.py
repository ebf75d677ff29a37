from __future__ import annotations

from pathlib import Path

import pytest

from headway_ops.check import Report, examine, resolve, version_of
from headway_ops.local.reload import Reloader, stamp
from headway_ops.say import Exit, Fail

GOOD = """
from headway import task

print("noise at import")

@task
async def greet(name: str, times: int = 1) -> str:
    return name * times
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


async def look(folder: Path, text: str) -> Report:
    return await examine([write(folder, "app.py", text)], folder)


def head(report: Report) -> tuple[str, int, str]:
    problem = next(p for p in report.problems if not p.warning)
    return Path(problem.file).name, problem.line, problem.what


async def test_good_tasks_are_told_with_their_specs(tmp_path: Path) -> None:
    report = await look(tmp_path, GOOD)
    assert report.ok
    assert not report.problems
    (spec,) = report.tasks
    assert (spec.task, spec.module, report.modules) == ("greet", "app:greet", ["app"])
    assert report.files == [str(tmp_path / "app.py")]
    assert spec.payload_schema


async def test_a_module_inside_a_package_is_found_from_its_file(tmp_path: Path) -> None:
    write(tmp_path, "shop/__init__.py", "")
    write(tmp_path, "shop/names.py", "WORD = 'x'\n")
    path = write(tmp_path, "shop/orders.py", "from shop.names import WORD\n" + GOOD)
    report = await examine([path], tmp_path)
    assert report.ok
    assert (report.modules, report.root) == (["shop.orders"], str(tmp_path))
    assert str(tmp_path / "shop" / "names.py") in report.files


async def test_a_dotted_module_is_found_below_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path, "app.py", GOOD)
    assert (await examine(["app"], tmp_path)).ok


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD + "\ndef broken(:\n", 10, "syntax"),
        ("x = 1\nimport no_such_module_anywhere\n", 2, "no_such_module_anywhere"),
        ("x = 1\n\nraise SystemExit(3)\n", 3, "SystemExit"),
        (GOOD + "\n@task(id='greet')\nasync def other(name: str) -> None: ...\n", 10, "greet"),
        ("from headway import task\n\n@task(timeout='soon')\nasync def t() -> None: ...\n", 3,
         "timeout"),
        ("from headway import task\n\n@task\nasync def t(name) -> None: ...\n", 3, "'name'"),
        ("from headway import task\nclass C: ...\n\n@task\nasync def t(c: C) -> None: ...\n", 4,
         "JSON"),
    ],
    ids=["syntax", "import", "exit", "duplicate", "policy", "annotation", "type"],
)  # fmt: skip
async def test_a_wrong_definition_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    report = await look(tmp_path, text)
    assert not report.ok
    name, at, what = head(report)
    assert name == "app.py"
    assert line <= at <= line + 1
    assert says in what


async def test_a_result_without_a_type_is_a_warning_only(tmp_path: Path) -> None:
    report = await look(tmp_path, "from headway import task\n\n@task\nasync def t(): ...\n")
    assert report.ok
    assert [p.warning for p in report.problems] == [True]


async def test_a_file_without_tasks_is_a_finding(tmp_path: Path) -> None:
    report = await look(tmp_path, "x = 1\n")
    assert not report.ok
    assert "no task" in report.problems[0].what


async def test_a_module_that_ends_python_harms_nobody(tmp_path: Path) -> None:
    report = await look(tmp_path, "import os\nos._exit(7)\n")
    assert not report.ok
    assert "(7)" in report.problems[0].what


def test_what_is_no_module_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path, "my-file.py", "")
    for text in ("nothing.py", "my-file.py", "a b", "./"):
        with pytest.raises(Fail) as e:
            resolve(text, tmp_path)
        assert e.value.code == Exit.USAGE


async def test_the_version_follows_the_source(tmp_path: Path) -> None:
    first = version_of(await look(tmp_path, GOOD), "dev")
    assert version_of(await look(tmp_path, GOOD), "dev") == first
    assert version_of(await look(tmp_path, GOOD + "# edited\n"), "dev") != first
    (tmp_path / "moved").mkdir()
    assert version_of(await look(tmp_path / "moved", GOOD), "dev") == first


class Registry:
    """Takes what a Reloader does."""

    def __init__(self, folder: Path) -> None:
        self.versions: list[str] = []
        self.complaints = 0
        self.reloader = Reloader(
            [str(folder / "app.py")], folder, self._register, self._complain, lambda _: None
        )

    async def _register(self, report: Report, version: str) -> None:
        self.versions.append(version)

    def _complain(self, report: Report) -> None:
        self.complaints += 1

    async def once(self) -> None:
        """Look, and register."""
        await self.reloader.look()
        await self.reloader.register()


async def test_a_broken_edit_keeps_the_last_good_version(tmp_path: Path) -> None:
    write(tmp_path, "app.py", GOOD)
    registry = Registry(tmp_path)
    await registry.once()
    await registry.once()
    assert len(registry.versions) == 1  # the same source is registered once
    write(tmp_path, "app.py", GOOD + "\ndef broken(:\n")
    await registry.once()
    assert (len(registry.versions), registry.complaints) == (1, 1)
    write(tmp_path, "app.py", GOOD + "\n# better\n")
    await registry.once()
    assert len(set(registry.versions)) == 2


def test_an_edit_changes_the_stamp_and_a_removed_file_is_no_error(tmp_path: Path) -> None:
    path = write(tmp_path, "app.py", GOOD)
    before = stamp([path, str(tmp_path / "gone.py")])
    assert set(before) == {path}
    write(tmp_path, "app.py", GOOD + "#")
    assert stamp([path]) != before


async def test_the_version_of_an_image_is_not_that_of_the_bare_source(tmp_path: Path) -> None:
    report = await look(tmp_path, GOOD)
    assert version_of(report, "v", "sha256:1") != version_of(report, "v")
