"""From a run to its fork: the body, the editor, a dry run by the engine, a sheet, and the fork.

What does not fit is said with its path, and the editor opens again with what was typed. Nothing is
made before the sheet is answered; sent twice, it is one run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headway.errors import HeadwayError, NotReachable
from headway.forks import edit_of
from headway.ids import new_run_id
from headway.texts import size
from headway.wire import BlobRef
from headway.wire.replays import ForkAsk, Forked
from headway.wire.runs import RunAsk, RunDetail, StateAnswer, StateAsk
from headway_tui.editing import in_editor
from headway_tui.model.forks import Draft, fork_sheet, parsed, pretty
from headway_tui.model.sheets import Sheet
from headway_tui.model.texts import safe
from headway_tui.sending import kindly, send
from headway_tui.sheets import Decide

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headway_tui.app import HeadwayApp
    from headway_tui.link import Link

LIMIT = 256 * 1024
"""Bytes of a body that are edited here; larger ones by `headway fork --edit`."""


async def fork(app: HeadwayApp, run: str, number: int, *, edit: bool) -> bool:
    """Ask, and fork; in a worker of the app. `number`: of the checkpoint, 0 = the last.

    False: nothing was forked.
    """

    def told(text: str) -> None:
        app.pane_screen.say(text, "warning")

    try:
        draft = await _draft(app.link, run, number)
        said = await _asked(app, draft, edit=edit, told=told)
    except HeadwayError as e:
        app.pane_screen.say(f"not done: {kindly(e)}", "bad")
        return False
    app.pane_screen.say(*((said, "good") if said else ("left as it is",)))
    return bool(said)


async def _draft(link: Link, run: str, number: int) -> Draft:
    """What it starts from: the state of the checkpoint, else the payload. Raises HeadwayError."""
    try:
        answer = await link.ask("state", StateAsk(run, number), StateAnswer)
    except HeadwayError as e:
        if number or e.code not in {"not_found", "no_such_run"}:
            raise
        detail = await link.ask("run", RunAsk(run), RunDetail)
        payload = await _body(link, bytes(detail.payload), detail.payload_ref)
        return Draft(run, new_run_id(), "payload", "start", "", payload)
    row = answer.row
    ref = BlobRef(answer.key, row.size, row.sha256) if answer.key else None
    state = await _body(link, bytes(answer.state), ref)
    return Draft(run, new_run_id(), "state", f"#{row.number}", row.name, state)


async def _body(link: Link, inline: bytes, ref: BlobRef | None) -> Any:
    if ref is not None and ref.size <= LIMIT and link.client is not None:
        inline = await link.client.fetch_blob(ref)
    elif ref is not None:
        raise HeadwayError(
            f"its body has {size(ref.size)}, at most {size(LIMIT)} are edited here:"
            " headway fork RUN --edit takes any"
        )
    return msgspec.json.decode(inline or b"{}")


async def _asked(app: HeadwayApp, draft: Draft, *, edit: bool, told: Callable[[str], None]) -> str:
    """What came of it in words; empty = no."""
    where = f"{app.settings.namespace} at {app.settings.shown_url}"
    new, text = draft.old, pretty(draft.old)
    while True:
        if edit:
            text = in_editor(app, text)
            value, flaw = parsed(text)
            if flaw:
                if not await _again(app, draft, flaw):
                    return ""
                continue
            new = value
        ask = _ask_of(draft, new)
        try:
            planned = await app.link.ask("fork", ask, Forked)
        except NotReachable:
            raise
        except HeadwayError as e:
            if not edit:
                raise
            if not await _again(app, draft, str(e)):
                return ""
            continue
        sheet = fork_sheet(draft, new, planned, where)
        answer = await app.push_screen_wait(Decide(sheet, "fork", {"e": "edit"}))
        if answer is None:
            return ""
        if answer != ("e",):
            ask.dry_run = False
            done = await send(app.link, "fork", ask, Forked, told)
            return f"forked: {done.run} is {done.status.lower()}"
        edit, text = True, text if new is not draft.old else pretty(draft.old)


async def _again(app: HeadwayApp, draft: Draft, flaw: str) -> bool:
    """Say what is wrong; True = open the editor again."""
    lines = [(f"The {draft.what} does not do:", "text"), ("", "text"), (safe(flaw, 500), "bad"),
             ("", "text"), ("Nothing was forked; what you typed is kept.", "muted")]  # fmt: skip
    answer = await app.push_screen_wait(Decide(Sheet("fork", lines), "edit again", changes=False))
    return answer is not None


def _ask_of(draft: Draft, new: Any) -> ForkAsk:
    ask = ForkAsk(draft.run, draft.new_run, draft.start, dry_run=True)
    if draft.what == "state":
        ask.state = edit_of(draft.old, new)
    else:
        ask.payload = edit_of(draft.old, new)
    return ask
