"""The research example's parts: corpus, index, planner, tools, report. No server, no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pytest


def answer(example: Any, question: str, turns: int = 12) -> Any:
    """The loop of the task, without the durable verbs."""
    tools, planner = example("tools"), example("planner")
    notes: Any = tools.Notes(question)
    while not notes.done and notes.turn < turns:
        plan = planner.plan_offline(notes)
        desk: Any = notes.desk
        notes.desk = list[Any]()
        for move in plan.moves:
            match move:
                case tools.Search():
                    tools.take(notes, tools.search(move.query), move)
                case tools.Open():
                    tools.take(notes, tools.open_page(move.source, move.line), move)
                case tools.Take():
                    tools.take(notes, tools.quote(desk, move), move)
                case _:
                    notes.done, notes.why = True, move.why
        notes.turn += 1
    return notes


def test_docstrings_are_found_at_their_line_with_their_name(example: Any) -> None:
    code = 'import os\n\n\nclass Tide:\n    def rise(self):\n        """' + "Water. " * 10 + '"""\n'
    (section,) = example("corpus").module_sections("sea", "sea.py", code)
    assert (section.source, section.title, section.line) == ("sea", "Tide.rise", 6)
    assert section.text.strip() in code


def test_a_file_that_is_no_python_is_left_out(example: Any) -> None:
    assert list(example("corpus").module_sections("x", "x.py", "def (:\n")) == []


def test_reading_stops_at_its_limit(example: Any, tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(f'"""{"words " * 20}"""\n')
    read = example("corpus").stdlib_sections
    assert [s.source for s in read(tmp_path, limit=10)] == ["a"]
    assert [s.source for s in read(tmp_path)] == ["a", "b"]


def test_a_rare_word_weighs_more_than_two_common_ones(example: Any) -> None:
    index = example("index").Index([*[("", "sea water")] * 5, ("", "moon fish")])
    assert index.search("sea water moon", 1)[0][0] == 5
    assert index.rarity("moon") > index.rarity("water") > 0
    assert index.search("nothing", 3) == []


def test_forms_of_a_word_meet(example: Any) -> None:
    terms = example("index").terms
    assert set(terms("waits waited waiting")) == set(terms("wait"))
    assert terms("TimeoutError") == terms("timeout error")


def test_search_finds_the_function_that_answers(example: Any) -> None:
    hits = example("tools").search("run function in separate thread asyncio")
    assert "asyncio.threads" in [hit.source for hit in hits]


def test_every_quote_stands_in_its_file_at_its_line(example: Any) -> None:
    notes = answer(example, "How does heapq keep the smallest item first?")
    quoted = [q for q in notes.quotes if q.path.endswith(".py")]
    assert quoted
    for quote in quoted:
        lines = Path(quote.path).read_text("utf-8", "replace").splitlines()
        count = quote.text.count("\n") + 1
        assert "\n".join(lines[quote.line - 1 : quote.line - 1 + count]) == quote.text


def test_a_page_that_is_not_open_cannot_be_quoted(example: Any) -> None:
    tools = example("tools")
    page = tools.open_page("heapq", 1)
    assert tools.quote([page], tools.Take("heapq", page.first, page.first)) is not None
    assert tools.quote([], tools.Take("heapq", page.first, page.first)) is None
    assert tools.quote([page], tools.Take("bisect", page.first, page.first)) is None


def test_a_line_in_two_open_pages_belongs_to_the_nearest_heading(example: Any) -> None:
    tools = example("tools")
    upper = tools.Page("sea", "ebb", 1, ["x"] * 20, 20, "sea.py")
    lower = tools.Page("sea", "flood", 10, ["y"] * 20, 20, "sea.py")
    assert tools.quote([upper, lower], tools.Take("sea", 12, 13)).title == "flood"


def test_a_move_that_finds_nothing_is_noted_and_does_no_harm(example: Any) -> None:
    tools = example("tools")
    notes = tools.Notes("tides?")
    move = tools.Open("no.such.module", 1)
    tools.take(notes, tools.open_page(move.source, move.line), move)
    assert len(notes.trouble) == 1
    assert notes.desk == []


def test_the_planner_refines_then_stops_by_itself(example: Any) -> None:
    notes = answer(example, "How are temporary directories cleaned up?", turns=50)
    assert notes.done
    assert len(notes.queries) == len(set(notes.queries)) > 1
    assert notes.turn < 30


def test_the_planner_gives_up_after_its_last_query(example: Any) -> None:
    tools, planner = example("tools"), example("planner")
    quote = tools.Quote("sea", "ebb", 1, "Zebra giraffe.", "sea.py")
    asked = [f"query {n}" for n in range(planner.MOST_QUERIES)]
    notes = tools.Notes("heapq?", queries=asked[:-1], quotes=[quote])
    assert isinstance(planner.plan_offline(notes).moves[0], tools.Search)
    notes.queries = asked
    assert isinstance(planner.plan_offline(notes).moves[0], tools.Finish)


def test_a_question_without_an_answer_ends_honestly(example: Any) -> None:
    notes = answer(example, "Xyzzyq plughq?", turns=50)
    assert notes.done
    text = example("report").write_report(notes, [], "planned offline, no model")
    assert "Nothing in the corpus" in text
    assert "planned offline, no model" in text


def test_the_notes_survive_a_checkpoint_bit_by_bit(example: Any) -> None:
    notes = answer(example, "How does logging rotate its files?")
    kind: Any = example("tools").Notes
    again: Any = msgspec.json.decode(msgspec.json.encode(notes), type=kind)
    assert again == notes


def test_the_better_quote_comes_first(example: Any) -> None:
    tools = example("tools")
    far = tools.Quote("sea", "fish", 1, "Fish swim about.", "sea.py")
    near = tools.Quote("heapq", "heappop", 1, "Pop the smallest item off the heap.", "heapq.py")
    assert tools.rank("How to pop the smallest item off a heap?", [far, near]) == [near, far]


def test_no_key_means_no_model(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    name, plan = example("planner").pick_planner()
    assert name == "planned offline, no model"
    assert plan is example("planner").plan_by_rules
