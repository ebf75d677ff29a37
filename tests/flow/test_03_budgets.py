"""A run that burns: it stops, asks, is given more and goes on, over a killed attempt too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support import body_tasks as t
from support.live import headway, live

if TYPE_CHECKING:
    from pathlib import Path


def place(folder: Path) -> None:
    """Tasks may write there."""
    folder.chmod(0o777)


async def test_a_run_stops_at_its_budget_and_goes_on_with_a_higher_one(
    nats: str, database: str, tmp_path: Path
) -> None:
    place(tmp_path)
    async with live(nats, database) as stack:
        run = await stack.start(t.b_burns, str(tmp_path), 5)
        detail = await stack.in_state(run, "review")
        assert (detail.row.reason, detail.row.cost_usd) == ("budget", 0.75)
        assert detail.budget is not None
        assert (detail.budget.usd, detail.budget.spent_usd) == (0.5, 0.75)
        assert detail.row.checkpoint == 3
        for words, said in (
            (("resume", run.id), "--budget"),
            (("resume", run.id, "--budget", "0.6"), "$0.7500 of $0.6000 already"),
        ):
            done = await headway(nats, *words)
            assert (done.returncode, said in done.stderr) == (4, True), done.stderr
        shown = await headway(nats, "show", run.id)
        assert "budget $0.7500 of $0.5000" in shown.stdout
        done = await headway(nats, "resume", run.id, "--budget", "5", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outcome"] == "ok"
        assert await run.result(30) == [5]
        row = (await run.detail()).row
        assert row.cost_usd == 1.25
        # Each turn was paid once: the second attempt went on where the first one stopped.
        assert (tmp_path / "paid").read_text() == "x" * 5
        assert (tmp_path / "attempts").read_text() == "0\n3\n"
        resumed = [e for e in await stack.events(run.id) if e.kind == "resumed"]
        assert resumed[0].data["budget_usd"] == 5.0
