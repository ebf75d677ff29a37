"""`headway verify`: the promises against what is stored; exit 0 all hold, 1 one does not."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from headway.ids import is_run_id
from headway.safe import safe_line
from headway_engine.config import Config, load_config
from headway_ops import say
from headway_ops.querying import moment
from headway_ops.say import Exit, Fail
from headway_ops.settings import edge_folder, postgres_dsn, server_file
from headway_ops.verify import INVARIANTS, Ask, CannotLook, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway_ops.verify import Line, Report

SHOWN = 50
"""Violations printed for people per invariant; --json prints all that were kept."""


def run(
    *,
    config: str,
    ns: str,
    run_id: str,
    since: str,
    settled: bool,
    journals: Sequence[str],
    ledgers: Sequence[str],
    nats: bool,
    blobs: bool,
    logs: bool,
    containers: bool,
    as_json: bool,
) -> None:
    """Check, print, leave with 1 if a promise does not hold, with 5 if the store is away."""
    say.quiet_library()
    if run_id and not is_run_id(run_id.upper()):
        raise Fail(f"--run {run_id!r} is no run id (26 letters and digits)", "headway ls",
                   Exit.USAGE)  # fmt: skip
    given = [*journals, *([] if journals else _from_environment())]
    ask = Ask(
        settings(config),
        ns=ns,
        run=run_id.upper(),
        since=moment(since, datetime.now(UTC)) if since else None,
        settled=settled,
        journals=[Path(p) for p in given],
        ledgers=[Path(p) for p in ledgers],
        nats=nats,
        blobs=blobs,
        logs=logs,
        containers=containers,
    )
    try:
        report = asyncio.run(verify(ask))
    except CannotLook as e:
        raise Fail(str(e), "headway doctor", Exit.NO_LINK) from None
    if as_json:
        say.rows(objects(report))
    else:
        show(report)
    if not report.ok:
        raise SystemExit(int(Exit.FAILED))


def _from_environment() -> list[str]:
    path = os.environ.get("HEADWAY_JOURNAL", "")
    return [path] if path and Path(path).exists() else []


def settings(path: str) -> Config:
    """The engines' settings: of the file, of `headway up` or units here, or of variables."""
    if path:
        return load_config(Path(path))
    file = server_file()
    if file is not None and (postgres_dsn() or edge_folder()):
        return load_config(file)
    if any(os.environ.get(name) for name in ("HEADWAY_POSTGRES_DSN", "HEADWAY_EDGE_FOLDER")):
        return load_config(None)
    raise Fail(
        "where the runs are kept is not known here",
        "--config with the engine's settings, or HEADWAY_POSTGRES_DSN; or run it beside"
        " `headway up`",
        Exit.USAGE,
    )


def objects(report: Report) -> list[dict[str, Any]]:
    """What `--json` prints: violations, notes, then a line per invariant."""
    found: list[dict[str, Any]] = [
        {"kind": "violation", "invariant": v.invariant, "run": v.run, "event": v.n,
         "epoch": v.epoch, "what": v.what}
        for v in report.violations
    ]  # fmt: skip
    found += [{"kind": "note", "invariant": n.invariant, "what": n.what} for n in report.notes]
    found += [
        {"kind": "invariant", "invariant": name, "promise": INVARIANTS[name],
         "checked": line.checked, "violations": line.violations, "not_checked": line.skipped}
        for name, line in report.lines.items()
    ]  # fmt: skip
    found.append({"kind": "summary", "ok": report.ok, "runs": report.runs, "events": report.events})
    return found


def show(report: Report) -> None:
    """The violations, the notes, then the table."""
    shown: dict[str, int] = {}
    for v in report.violations:
        shown[v.invariant] = shown.get(v.invariant, 0) + 1
        if shown[v.invariant] > SHOWN:
            continue
        place = " ".join(
            part
            for part in (
                f"run {v.run}" if v.run else "",
                f"event {v.n}" if v.n else "",
                f"epoch {v.epoch}" if v.epoch else "",
            )
            if part
        )
        say.line(f"{v.invariant} {place}: {safe_line(v.what, 400)}")
    for name, line in report.lines.items():
        if (more := line.violations - min(shown.get(name, 0), SHOWN)) > 0:
            say.line(f"{name} and {more} more")
    for note in report.notes:
        say.line(f"{note.invariant} note: {safe_line(note.what, 400)}")
    table = Table.grid(padding=(0, 1))
    for name, line in report.lines.items():
        table.add_row(Text(name, style="bold"), Text(INVARIANTS[name]), _verdict(line))
    say.show(table)
    word = "all promises hold" if report.ok else "NOT all promises hold"
    say.line(f"{word}: {report.runs} runs, {report.events} events")


def _verdict(line: Line) -> Text:
    why = f"not checked: {safe_line(line.skipped, 200)}" if line.skipped else ""
    if line.violations:
        what = f"{line.violations} violations, {line.checked} checked"
        return Text(f"{what}; {why}" if why else what, style="bold red")
    if not line.checked:
        return Text(why or "nothing to check", style="yellow" if why else "dim")
    return Text(f"{line.checked} checked; {why}" if why else f"{line.checked} checked",
                style="green")  # fmt: skip
