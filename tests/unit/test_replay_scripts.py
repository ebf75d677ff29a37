"""Replay scripts: what they say, and where their mistakes are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.errors import HeadwayError
from headway.replays import BadScript, Pace, RunView, load, parse
from headway.replays.expect import BadExpectation, Unknown, holds
from headway.replays.plans import canonical, name_of, read
from headway.wire import Malformed
from headway.wire import replays as wire

EXAMPLES = Path(__file__).parents[2] / "ops" / "examples" / "replays"
RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"


def a_view(**fields: Any) -> RunView:
    known: dict[str, Any] = {
        "id": RUN, "task": "t", "status": "succeeded", "queue": "default", "version": "v1",
        "tags": (), "checkpoints": 7, "attempts": 1, "error_class": "", "error": "",
        "duration": 10.0, "cost_usd": None,
    }  # fmt: skip
    return RunView(**(known | fields))


def test_the_recorded_script_reads() -> None:
    script = load(str(EXAMPLES / "fix-429.replay.toml"), {}).script
    assert script.name == "429 storm: finish on the small model"
    assert (script.select.limit, script.select.freeze) == (500, True)
    assert (script.replay.mode, script.replay.from_, script.replay.tags) == (
        "fork", "last", ("incident-429",),
    )  # fmt: skip
    assert script.edit.state == {"model": "haiku"}
    assert script.pace.wire() == wire.Pace(5.0, 10, 3, 3, 0.0)
    assert [c.severity for c in script.check] == ["fail", "warn"]


def test_the_python_script_edits_drops_and_judges() -> None:
    loaded = load(str(EXAMPLES / "trim_history.replay.py"))
    assert loaded.script.pace.wire().rate == 10
    assert loaded.script.select.limit == 2000
    assert loaded.edit is not None
    assert loaded.check is not None
    short = loaded.edit(a_view(), {}, {"messages": [1]})
    assert short.reason == "history is short: another bug"
    _, state = loaded.edit(a_view(), {}, {"messages": list(range(20))})
    assert state["messages"] == [0, 1, 14, 15, 16, 17, 18, 19]
    assert loaded.check(a_view(), a_view()) is None
    bad = loaded.check(a_view(), a_view(status="failed", error_class="KeyError"))
    assert bad == "fork ended failed: KeyError"


def test_the_gate_takes_only_named_variables_from_the_environment() -> None:
    file = str(EXAMPLES / "golden.replay.toml")
    script = load(file, {"IMAGE": "r44", "HOME": "/root"}).script
    assert (script.replay.image, script.select.sample, script.select.seed) == ("r44", 20, 7)
    assert (script.gate.max_failed, script.pace.wire().timeout) == (1, 1200.0)
    with pytest.raises(BadScript, match="IMAGE is required"):
        load(file, {})
    text = Path(file).read_text().replace('"$IMAGE"', '"$HOME"')
    with pytest.raises(BadScript, match=r"HOME is not named in \[vars\]"):
        parse(text, "x", {"HOME": "/root"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[select\n", "line 1, column 8"),
        ('version = 2\n[select]\nquery = "status:dead"', "line 1, column 1"),
        ('[select]\nquery = "status:dead"\nlimmit = 5', "line 3, column 1"),
        ('[select]\nquery = "a"\nlimmit = 5', "forked; did you mean limit?"),
        ('[select]\nquery = "a"\n[[check]]\nexpekt = "a"', "expected expect, severity"),
        ('[select]\nquery = "a"\n[selekt]', "gate; did you mean select?"),
        ('name = "a"\n[select]\n  query = "status:deed"', "line 3, column 3): query, column 8"),
        ('[select]\nquery = "status:dead"\n[pace]\n  canary = "x"', "line 4, column 3"),
        ('[select]\nquery = "status:dead"\n[pace]\nrate = "5"', "expected NUMBER/s"),
        ('[select]\nquery = "status:dead"\n[replay]\nfrom = "first"', "expected start, last"),
        ('[select]\nquery = "status:dead"\n[replay]\nonce = "no"', "expected keep, ask or clear"),
        ('[select]\nquery = "status:dead"\n[replay]\nonce = "clear:"', "expected keep, ask"),
        ('[select]\nquery = "x"\n[replay]\nmode = "resume"\nqueue = "q"', "the same run"),
        ('[select]\nquery = "x"\n[[check]]\nexpect = "import os"', "expect 'import os'"),
        ('version = 1', "missing required field `select`"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(BadScript) as bad:
        parse(text, "x.replay.toml", {})
    assert said in str(bad.value)
    assert str(bad.value).startswith("x.replay.toml")


def test_mistakes_of_python_scripts_have_their_place(tmp_path: Path) -> None:
    file = tmp_path / "x.replay.py"
    for text, said in (
        ("select = (", "line 1"),
        ("1/0", "ZeroDivisionError"),
        ("x = 1", "expected select = Select("),
        ("from headway.replays import *\nselect = Select('status:dead', limit='many')", "limit"),
    ):
        file.write_text(text)
        with pytest.raises(BadScript) as bad:
            load(str(file))
        assert said in str(bad.value)


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ('query = "status:done"', "no status 'done'"),
        ('query = "status:dead costs:>1"', "column 13: no field 'costs'"),
        ("", "expected a query, or ids"),
        ('query = "x"\nids = ["01JGQ0M4N5"]', "one of them"),
        ('ids = ["x"]', "'x' is no run id"),
    ],
)
def test_what_is_selected_is_one_query_or_ids(select: str, said: str) -> None:
    with pytest.raises(BadScript) as bad:
        parse(f"[select]\n{select}", "x", {})
    assert said in str(bad.value)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("status == 'succeeded'", True),
        ("duration <= 1.5 * original.duration", True),
        ("checkpoints >= original.checkpoints and fork.attempts < 2", False),
        ("status in ('failed', 'succeeded') and not error_class", True),
    ],
)
def test_expectations_compare_the_fork_with_its_original(text: str, answer: bool) -> None:
    assert holds(text, a_view(checkpoints=9, duration=8.0), a_view()) is answer


def test_what_is_not_known_is_no_answer() -> None:
    with pytest.raises(Unknown, match="cost_usd"):
        holds("fork.cost_usd <= 1.2 * original.cost_usd", a_view(), a_view())


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "status.upper()", "fork.__class__", "x == 1", "1 if status else 2",
     "2 ** 99", "[x for x in status]", "status is None", "a b", "(" * 500],
)  # fmt: skip
def test_an_expectation_runs_no_code(text: str) -> None:
    with pytest.raises(BadExpectation):
        holds(text, a_view(), a_view())


def test_a_plan_s_name_is_that_of_its_meaning() -> None:
    items = (wire.PlanItem(RUN, 7),)
    one = canonical(wire.Plan(items, pace=wire.Pace(rate=5)))
    assert one == canonical(wire.Plan(items, pace=wire.Pace(rate=5.0, max_in_flight=10)))
    assert name_of(one) != name_of(canonical(wire.Plan(items, "named")))
    assert canonical(read(one)) == one
    with pytest.raises(Malformed, match="canonical"):
        read(one.replace(b",", b", "))
    with pytest.raises(Malformed, match="twice"):
        read(canonical(wire.Plan(items * 2)))


@pytest.mark.parametrize("rate", ["", "0/s", "-1/s", "5/d", "nan/s", "x/s", "9999/s"])
def test_a_rate_is_a_number_of_starts(rate: str) -> None:
    assert Pace(rate="120/m").wire().rate == 2
    with pytest.raises(HeadwayError):
        Pace(rate=rate).wire()


def test_where_effects_may_happen_again_the_number_is_typed() -> None:
    from headway_ops.replaying import agree
    from headway_ops.say import Exit, Fail

    plan = wire.Plan((wire.PlanItem(RUN), wire.PlanItem(f"{RUN[:-1]}4")), clear=("mail-*",))
    agree("x.toml", "abcd", "abcdef", plan, yes=True, typed=2)
    agree("x.toml", "abcd", "abcdef", wire.Plan(plan.items), yes=True, typed=None)
    for typed in (None, 1):
        with pytest.raises(Fail, match=r"2 runs would start in which mail-\*") as refused:
            agree("x.toml", "abcd", "abcdef", plan, yes=True, typed=typed)
        assert refused.value.code == Exit.REFUSED
    with pytest.raises(Fail, match="not abce"):
        agree("x.toml", "abce", "abcdef", plan, yes=True, typed=2)
