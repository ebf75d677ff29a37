"""The switches of queues and agents: pause, limit and drain, each after a sheet that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.texts import plural
from headway.wire.fleet import AgentRow, QueueAsk, QueueRow
from headway.wire.steering import DrainAsk
from headway_tui.model import agents, queues
from headway_tui.model.sheets import Field, Sheet, texts
from headway_tui.model.texts import safe
from headway_tui.screens.base import Pane
from headway_tui.screens.changing import quoted
from headway_tui.sending import send
from headway_tui.sheets import Decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headway_tui.model.agents import AgentLine
    from headway_tui.model.queues import QueueLine
    from headway_tui.screens.cells import Looking

REASON = 256
"""Characters of a reason."""
LIMIT = 1_000_000
"""The greatest limit of a queue."""


class Switches(Pane):
    """What is switched; a kind of it says which queue and agent are meant."""

    _how: Looking

    def __init__(self) -> None:
        super().__init__()
        self.queues, self.agents = queues.QueuesView(), agents.AgentsView()

    def queue(self) -> QueueLine | None:
        """The queue that is meant."""
        return None

    def agent(self) -> AgentLine | None:
        """The agent that is meant."""
        return None

    def switched(self) -> None:
        """Something was switched from here."""

    def do_pause(self) -> None:
        """Pause the queue, or go on."""
        line = self.queue()
        if line is None:
            self.say("no queue is meant: there is none", "warning")
            return
        row, where = line.row, self._where()
        if row.paused:
            said = [f"Queue {safe(row.queue, 64)} {where} goes on:"
                    f" {plural(line.waiting, 'run')} may start.",
                    "", safe(line.note(self._how.shift), 200)]  # fmt: skip
        else:
            said = [f"Queue {safe(row.queue, 64)} {where} starts nothing more;"
                    f" what runs ({row.open}) goes on.",
                    "", "Why? Everybody who looks at it will read it."]  # fmt: skip
        self._ask(
            "resume queue" if row.paused else "pause queue", said,
            lambda typed: pause_line(row, typed),
            lambda typed: self._set_queue(
                QueueAsk(row.queue, paused=not row.paused, reason="" if row.paused else typed)
            ),
            hint="reason, for the others", asks=not row.paused,
        )  # fmt: skip

    def do_limit(self) -> None:
        """Change the queue's limit."""
        line = self.queue()
        if line is None:
            self.say("no queue is meant: there is none", "warning")
            return
        row = line.row
        said = [f"Runs of queue {safe(row.queue, 64)} {self._where()} that may be open at once;"
                " 0 = no limit.",
                f"Now {row.limit or 'none'}, {row.open} are open. A lower one stops nothing"
                " that runs."]  # fmt: skip
        self._ask(
            "limit queue", said,
            lambda typed: quoted("headway", "queue", "limit", row.queue, typed or "0"),
            lambda typed: self._set_queue(QueueAsk(row.queue, limit=int(typed))),
            value=str(row.limit), flaw=limit_flaw,
        )  # fmt: skip

    async def _set_queue(self, ask: QueueAsk) -> str:
        row = await send(self.console_app.link, "queue-set", ask, QueueRow, self.unsure)
        self.queues.answered(row)
        if ask.limit is not None:
            return f"queue {row.queue}: limit {row.limit or 'none'}"
        return f"queue {row.queue} is {'paused' if row.paused else 'open again'}"

    def do_drain(self) -> None:
        """Take the agent out, or in again."""
        line = self.agent()
        if line is None:
            self.say("no agent is meant: none is connected", "warning")
            return
        row, where = line.row, self._where()
        if row.drain:
            said = [f"Agent {safe(row.agent, 64)} {where} takes runs again.",
                    "", safe(line.note(self._how.shift), 200)]  # fmt: skip
        else:
            said = [f"Agent {safe(row.agent, 64)} {where} takes nothing new, over its restarts"
                    f" too; what it runs ({line.open}) goes on to its end.",
                    "", "Why? Everybody who looks at it will read it."]  # fmt: skip
        self._ask(
            "undrain agent" if row.drain else "drain agent", said,
            lambda typed: drain_line(line, typed),
            lambda typed: self._drain(
                DrainAsk(row.agent, undo=bool(row.drain), reason="" if row.drain else typed)
            ),
            hint="reason, for the others", asks=not row.drain,
        )  # fmt: skip

    async def _drain(self, ask: DrainAsk) -> str:
        row = await send(self.console_app.link, "agent-drain", ask, AgentRow, self.unsure)
        self.agents.answered(row)
        return f"agent {row.agent} takes {'runs again' if ask.undo else 'nothing new'}"

    def _where(self) -> str:
        settings = self.console_app.settings
        return f"({safe(f'{settings.namespace} at {settings.shown_url}', 80)})"

    def _ask(
        self,
        title: str,
        said: list[str],
        command: Callable[[str], str],
        work: Callable[[str], Awaitable[str]],
        *,
        value: str = "",
        hint: str = "",
        flaw: Callable[[str], str] = lambda _typed: "",
        asks: bool = True,
    ) -> None:
        """A sheet; then the work, and what came of it."""

        async def done(typed: str) -> None:
            try:
                self.say(await work(typed), "good")
            except HeadwayError as e:
                self.say(f"not done: {e}", "bad")
            self.switched()

        def answered(typed: tuple[str, ...] | None) -> None:
            if typed is None:
                self.say("left as it is")
            else:
                self.run_worker(done(typed[0].strip() if typed else ""), exit_on_error=True)

        def checked(typed: str) -> str:
            wrong = len(typed) > REASON
            return f"at most {REASON} characters" if wrong else flaw(typed.strip())

        def same(typed: Sequence[str]) -> str:
            return command(typed[0].strip() if typed else "")

        fields = [Field("", value, checked, hint)] if asks else []
        sheet = Sheet(title, texts(said), fields, same)
        self.app.push_screen(Decide(sheet), answered)


def pause_line(row: QueueRow, reason: str) -> str:
    """The switch of a queue from a shell."""
    if row.paused:
        return quoted("headway", "queue", "resume", row.queue)
    return quoted("headway", "queue", "pause", row.queue, *(["--reason", reason] if reason else []))


def drain_line(line: AgentLine, reason: str) -> str:
    """The switch of an agent from a shell."""
    words = ["headway", "agents", "drain", line.name]
    if line.row.drain:
        return quoted(*words, "--undo")
    return quoted(*words, *(["--reason", reason] if reason else []))


def limit_flaw(typed: str) -> str:
    """What is wrong with a limit; empty = nothing."""
    if typed.isascii() and typed.isdigit() and len(typed) < 9 and int(typed) <= LIMIT:
        return ""
    return f"a whole number from 0 (no limit) to {LIMIT:,}"
