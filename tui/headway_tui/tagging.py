"""Tags of runs, changed from the console: counted where they are many, asked, done, told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.replays.moving import meant, plans
from headway.wire.api import Done
from headway.wire.steering import TagAsk
from headway_tui.actions import BY_ID
from headway_tui.contexts import place
from headway_tui.model.sheets import Meant, shell
from headway_tui.model.tagging import read, tag_sheet
from headway_tui.sending import kindly, send
from headway_tui.sheets import Decide
from headway_tui.writes import IDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headway.tags import Retag
    from headway_tui.screens.changing import Changing

Tagged = tuple[str, ...]


def tag_one(screen: Changing, run: str, what: str, tags: Sequence[Tagged], typed: str) -> None:
    """Ask at once: what is typed after the key belongs to the sheet. `tags`: its own, if known.

    `typed`: the change, as far as it is known.
    """
    _ask(
        screen, Meant(1, [(run, what)], shell(["headway", "tag", run])), tags, typed,
        partial(_one, screen, run),
    )  # fmt: skip


async def tag_many(
    screen: Changing, runs: list[tuple[str, str]], query: str, tags: dict[str, Tagged], typed: str
) -> None:
    """Count what is meant, and ask; in a worker of the screen.

    `runs`: (id, what it is) of those that are meant, or else `query` means them; `tags`: of the
    runs whose rows are here; `typed`: as in `tag_one`.
    """
    ids = [run for run, _ in runs]
    screen.say("counting what tag would do")
    try:
        found = await meant(
            screen.console_app.link.ask, "tag", query, () if query else ids
        )  # fmt: skip
    except HeadwayError as e:
        screen.say(f"not done: {kindly(e)}", "bad")
        return
    if not found.runs:
        screen.say("nothing to tag: no run matches any more", "warning")
        return
    known = dict(runs)
    shown = [(run, known.get(run, "")) for run in found.runs[:10]]
    cli = shell(["headway", "tag", "--query", query or f"id:{','.join(ids[:IDS])}"])
    have = [tags[run] for run in found.runs if run in tags]

    async def carry(change: Retag) -> None:
        await screen.carry("tag", plans("tag", found, query or "marked runs", tags=change))

    _ask(screen, Meant(len(found.runs), shown, cli, query), have, typed, carry)


def _ask(
    screen: Changing,
    asked: Meant,
    tags: Sequence[Tagged],
    typed: str,
    then: Callable[[Retag], Awaitable[None]],
) -> None:
    """The sheet; then what is to be done, if the answer is yes."""
    app = screen.console_app

    def answered(answer: tuple[str, ...] | None) -> None:
        if answer is None:
            app.pane_screen.say("left as it is")
        else:
            app.run_worker(then(read(answer[0])[0]), exit_on_error=False)

    where = place(app.settings)
    sheet = tag_sheet(BY_ID["tag"], asked, tags, typed, where, protect=app.settings.protect)
    app.push_screen(Decide(sheet, "tag"), answered)


async def _one(screen: Changing, run: str, change: Retag) -> None:
    """Tag a run, and say what happened. Asked again after a lost answer it does nothing more."""
    app = screen.console_app
    try:
        done = await send(app.link, "tag", TagAsk(run, *change), Done, screen.unsure)
        if done.outcome == "sent":
            said = f"{run}: {done.message}"
        elif done.outcome == "already":
            said = f"{run} is tagged so already"
        elif done.outcome == "ok":
            said = f"{run} tagged {change}"
        else:
            raise HeadwayError(done.message or f"{done.outcome}: the run is {done.status}")
    except HeadwayError as e:
        app.pane_screen.say(f"not done: {kindly(e)}", "bad")
    else:
        app.pane_screen.say(said, "good")
    screen.wrote()
