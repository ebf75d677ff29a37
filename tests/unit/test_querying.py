"""What is typed on the command line becomes one query."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headway.errors import BadQuery
from headway.query import parse
from headway.wire.runs import RunsPage
from headway_ops.querying import canonical, total_of
from headway_ops.say import Exit, Fail, explain


def test_options_are_short_for_terms() -> None:
    text = canonical(
        ("attempts:>2", "!tag:x"), ("Failed,retrying", "live"), "a*", "q", ("c=1", "x y"), "2h", "w"
    )
    assert text == (
        'status:failed,retrying,live task:a* queue:q tag:c=1 tag:"x y" w since:2h'
        " attempts:>2 !tag:x"
    )
    assert canonical() == ""


def test_a_time_without_a_zone_is_local_on_the_command_line() -> None:
    local = datetime(2026, 1, 31, 12).astimezone(UTC)
    assert parse(canonical(since="2026-01-31T12:00")) == parse(f"since:{local:%Y-%m-%dT%H:%MZ}")
    with pytest.raises(Fail, match="is no time"):
        canonical(since="2026-99-31")


@pytest.mark.parametrize("arguments", [{"words": ["status:faild"]}, {"status": ["nonsense"]},
                                       {"since": "soon"}, {"since": 'a" x'}])  # fmt: skip
def test_an_error_shows_the_place(arguments: dict[str, str]) -> None:
    with pytest.raises(BadQuery) as caught:
        canonical(**arguments)  # pyright: ignore[reportArgumentType]  # one of each kind
    text, mark = caught.value.__notes__
    assert mark.index("^") == caught.value.column - 1
    assert len(text) >= len(mark) - 1
    assert explain(caught.value).code is Exit.USAGE


def test_a_place_far_in_a_long_query_is_shown() -> None:
    with pytest.raises(BadQuery) as caught:
        canonical(["a " * 60 + "nope:1"])
    text, mark = caught.value.__notes__
    assert text[mark.index("^") :].startswith("nope:1")


@pytest.mark.parametrize(
    ("total", "estimated", "shown"),
    [(None, False, ""), (0, True, ""), (1204, False, "1,204"), (1_204_331, True, "about 1.2M"),
     (45_600, True, "about 46k"), (999, True, "about 999")],
)  # fmt: skip
def test_how_many_there_are(total: int | None, estimated: bool, shown: str) -> None:
    page = RunsPage([], datetime.now(UTC), total=total, estimated=estimated)
    assert total_of(page) == shown
