"""A value in the editor: opened again with what is wrong above it, until it will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headway_ops.editing import COMMENT, Editing, commented, without_comment
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """An $EDITOR that leaves these texts, one each time, the last one again and again.

    What it was given is kept in the folder that this answers: 1, 2, ...
    """

    def make(*texts: str) -> Path:
        for i, text in enumerate(texts, 1):
            (tmp_path / f"text-{i}").write_text(text)
        script = tmp_path / "editor.sh"
        script.write_text(
            f"#!/bin/sh\ncd {tmp_path}\nn=$(( $(ls seen-* 2>/dev/null | wc -l) + 1 ))\n"
            'cp "$1" seen-$n\nif [ -e text-$n ]; then cp text-$n "$1"; '
            f'else cp text-{len(texts)} "$1"; fi\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("EDITOR", str(script))
        monkeypatch.delenv("VISUAL", raising=False)
        return tmp_path

    return make


def until_good(value: Any, good: Callable[[Any], str]) -> Any:
    editing = Editing(value, "state")
    while flaw := good(new := editing.open()):
        editing.refuse(flaw)
    return new


def test_what_is_wrong_stands_above_it_and_is_no_part_of_it(typed: Callable[..., Path]) -> None:
    folder = typed('{"a": ', '{"a": "x"}', f'{COMMENT} a note of mine\n{{"a": 2}}')
    found = until_good({"a": 1}, lambda v: "" if isinstance(v["a"], int) else "a: no number")
    assert found == {"a": 2}
    first, second, third = [(folder / f"seen-{n}").read_text() for n in (1, 2, 3)]
    assert first == '{\n  "a": 1\n}\n'
    assert second.startswith("# line 1, column 7: no JSON")
    assert second.endswith('{"a": ')  # what was typed is kept
    assert third.startswith("# a: no number\n")


def test_what_is_left_as_it_was_is_given_up(typed: Callable[..., Path]) -> None:
    typed("[]")
    with pytest.raises(Fail, match="an object became a list") as caught:
        until_good({}, lambda _: "an object became a list")
    assert caught.value.code is Exit.USAGE


def test_an_editor_that_cannot_be_run_or_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    for editor, code in (("/nowhere/at-all", Exit.USAGE), ("false", Exit.REFUSED),
                         ("'unclosed", Exit.USAGE)):  # fmt: skip
        monkeypatch.setenv("EDITOR", editor)
        with pytest.raises(Fail) as caught:
            Editing({}, "state").open()
        assert caught.value.code is code


def test_a_comment_is_lines_that_no_terminal_obeys() -> None:
    told = commented("state.a:\n  \x1b[2J no number")
    assert "\x1b" not in told
    assert all(line.startswith(COMMENT) for line in told.splitlines())
    assert without_comment(told + "{}\n# not at the top") == "{}\n# not at the top"
    assert without_comment(told) == ""
