"""The storm's table: what was to be reached, what was measured, what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.storm.storm import LIVENESS

if TYPE_CHECKING:
    from chaos.storm.storm import Verdict

SHOWN = 8
"""Lines of each kind of fault."""


def table(v: Verdict) -> str:
    """As text, for people and for the log of CI."""
    s = v.setting
    lines = [
        f"storm{' at the edge' if s.edge else ''}: seed {s.seed}, {s.runtime} runtime,"
        f" {s.engines} engines, {s.agents} agents,"
        f" {v.runs} runs, {s.seconds:g} s of faults every {s.every:g} s, lease {s.lease:g} s;"
        f" took {v.took:.0f} s",
        "",
        f"  {'what':<34}{'target':>8}{'measured':>10}",
    ]
    for what, wrong in v.wrong.items():
        lines.append(f"  {what:<34}{'0':>8}{len(wrong):>10}{'  <-' if wrong else ''}")
    limit = f"< {LIVENESS:g}"
    lines.append(f"  {'seconds from calm to the last end':<34}{limit:>8}{v.ended_after:>10.1f}")
    lines.append(f"  {'... until its caller knew':<34}{limit:>8}{v.heard_after:>10.1f}")
    lines += ["", "  seen (sums of the engines' beats, lower bounds):"]
    for name, what in s.to_see.items():
        count = v.counters.get(name, 0)
        lines.append(f"  {what:<34}{'> 0':>8}{count:>10}{'' if count else '  <-'}")
    rest = {k: n for k, n in v.counters.items() if n and k not in s.to_see}
    lines += ["", "  also: " + ", ".join(f"{k} {n}" for k, n in rest.items())]
    lines.append("  faults: " + ", ".join(f"{k} {n}" for k, n in sorted(v.hits.items())))
    lines.append("  callers: " + ", ".join(f"{k} {n}" for k, n in sorted(v.said.items())))
    lines += [f"  {note}" for note in v.notes]
    for what, wrong in v.wrong.items():
        for line in wrong[:SHOWN]:
            lines.append(f"! {what}: {line}")
        if len(wrong) > SHOWN:
            lines.append(f"! {what}: ... and {len(wrong) - SHOWN} more")
    if v.unseen:
        lines.append(f"! never seen: {', '.join(v.unseen)}: this storm proves nothing about them")
    lines += ["", "storm: " + ("all of it holds" if v.ok else f"FAILED (--seed {s.seed})")]
    return "\n".join(lines)
