"""What a run spends, from its code to the list: over retries, and told by whoever looks."""

from __future__ import annotations

import msgspec

from headway.wire.runs import UsageAsk, UsageRow
from support import body_tasks as t
from support.live import headway, live


async def test_a_run_s_usage_is_the_sum_of_its_attempts_and_a_recorded_step_costs_once(
    nats: str, database: str
) -> None:
    async with live(nats, database) as stack:
        run = await stack.start(t.b_spends)
        assert await run.result(30) == 2
        row = (await run.detail()).row
        assert (row.tokens_in, row.tokens_out, row.cost_usd) == (102, 10, 1.0)
        rows = await stack.client.api("usage", UsageAsk(by="model"), list[UsageRow])
        assert rows == [
            UsageRow("large", 1, 1, 100, 10, 0.5),
            UsageRow("small", 1, 2, 2, 0, 0.5),
        ]
        listed = await headway(nats, "ls", "--json")
        told = msgspec.json.decode(listed.stdout.splitlines()[0])
        assert (told["run"], told["cost_usd"]) == (run.id, 1.0)
        table = await headway(nats, "ls")
        assert "COST" in table.stdout
        assert "$1.00" in table.stdout
        summed = await headway(nats, "usage", "--by", "model", "--since", "1h", "--json")
        assert [msgspec.json.decode(x)["key"] for x in summed.stdout.splitlines()] == [
            "large", "small",
        ]  # fmt: skip
        table = await headway(nats, "usage", "--by", "model")
        assert table.stdout.splitlines()[-1].split() == ["all", "these", "102", "10", "$1.00"]
        none = await headway(nats, "usage", "--task", "nobody")
        assert (none.stdout, "usage()" in none.stderr) == ("", True)
        shown = await headway(nats, "show", run.id)
        assert "tokens 102 in, 10 out" in shown.stdout
        assert "cost $1.0000" in shown.stdout
