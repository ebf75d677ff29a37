"""`headway bench`: each number that Headway has to meet, with the raw limit of the same minute.

One stack of its own (servers, engine and agent as separate processes, as in production) is started
on free ports and measured line by line; beside each round the limit that bounds it is measured
without Headway. `targets` says what must be reached, `report` prints it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_bench(*, only: Sequence[str] = (), runtime: str = "auto", as_json: bool = False) -> None:
    """Measure, print, and leave with exit code 1 if a target was missed.

    Raises Fail for an unknown line or a runtime that cannot be used here. Interrupted, it stops its
    stack first.
    """
    from headway_ops import say
    from headway_ops.bench import report
    from headway_ops.bench.running import choose, measure

    names = choose(only)
    lines = measure(names, runtime, say.tell)
    if as_json:
        say.data(report.as_data(lines))
    else:
        say.show(report.report(lines))
    if not all(line.ok for line in lines):
        raise SystemExit(int(say.Exit.FAILED))
