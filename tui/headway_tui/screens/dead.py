"""Dead letters by class above, runs in REVIEW below; on small terminals one of the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw
from textual.containers import Vertical

from headway.errors import HeadwayError
from headway.ids import new_run_id
from headway.texts import plural
from headway.wire.runs import Review
from headway.wire.steering import ResumeAsk
from headway_tui.chrome import Note
from headway_tui.deadfeed import DeadFeed
from headway_tui.deadwork import acknowledge, again, resolve
from headway_tui.model import deadsheets as sheets
from headway_tui.model.dead import DeadView, letter_cells, query_of, review_cells
from headway_tui.model.deadsheets import COUNT_FROM
from headway_tui.model.texts import safe
from headway_tui.screens.base import Pane
from headway_tui.screens.changing import quoted
from headway_tui.sending import kindly
from headway_tui.sheets import Decide
from headway_tui.widgets.dead import (
    LETTERS,
    LETTERS_SMALL,
    REVIEWS,
    REVIEWS_SMALL,
    Letters,
    Reviews,
)
from headway_tui.widgets.table import Cell, TableHead, VTable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from textual.widget import Widget

    from headway.wire.runs import RunRow
    from headway.wire.steering import DeadClass
    from headway_tui.model.dead import Piece
    from headway_tui.widgets.lines import Lines


CANARY = 3
"""Of many runs so many go first."""


def _now() -> datetime:
    return datetime.now(UTC)


class DeadScreen(Pane):
    """Live by push; what is decided here goes through a sheet."""

    CSS = """
    DeadScreen #letters-box { height: 1fr; }
    DeadScreen #reviews-box { height: 1fr; }
    DeadScreen #letters, DeadScreen #reviews { height: 1fr; }
    DeadScreen #tabs { height: 1; }
    DeadScreen #about { height: 4; border: round $muted; }
    """
    place = "dead"

    def __init__(self) -> None:
        super().__init__()
        self.view = DeadView()
        self.now: Callable[[], datetime] = _now
        self.feed: DeadFeed | None = None
        self.letters = Letters(self._letter, lambda: len(self.view.classes), id="letters")
        self.reviews = Reviews(self._review, lambda: len(self.view.order), id="reviews")
        self.tabs = Note(
            self._tabs_line, id="tabs",
            go=(lambda: self._to(self.letters), lambda: self._to(self.reviews)),
        )  # fmt: skip
        self.about = [Note(lambda w, i=i: self._about_line(i)) for i in (0, 1)]
        self.heads = TableHead(self.letters), TableHead(self.reviews)
        self.letters_box = Vertical(self.heads[0], self.letters, id="letters-box", classes="pane")
        self.reviews_box = Vertical(self.heads[1], self.reviews, id="reviews-box", classes="pane")
        self.about_box = Vertical(*self.about, id="about")
        self.overrides: set[str] = set()
        """Runs whose older attempts are taken for dead, by whoever sits here."""
        self._zoomed = False
        self._pane: Lines = self.letters

    # --- layout

    def body(self) -> Iterable[Widget]:
        """Tabs where there is no room for both, the two panes, the one under the cursor."""
        yield self.tabs
        yield self.letters_box
        yield self.reviews_box
        yield self.about_box

    def on_mount(self) -> None:
        """Follow."""
        self.feed = DeadFeed(self.console_app.link, self.view, self._touch)
        self.set_focus(self.letters)
        self.run_worker(self.feed.run, name="dead", exit_on_error=True)

    def on_resize(self) -> None:
        """Panes and columns as the size allows."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """The pane with the focus is the one that is shown where there is room for one."""
        super().on_descendant_focus()
        if self.focused in {self.letters, self.reviews}:
            self._pane = cast("Lines", self.focused)
        self._arrange()
        for note in self.about:
            note.refresh()

    def _arrange(self) -> None:
        one = self.small or self._zoomed or self.size.height < 20
        self.letters.columns = LETTERS_SMALL if self.small else LETTERS
        self.reviews.columns = REVIEWS_SMALL if self.small else REVIEWS
        self.tabs.display = one and self.size.height >= 8
        self.letters_box.display = not one or self._pane is self.letters
        self.reviews_box.display = not one or self._pane is self.reviews
        self.about_box.display = self.size.height >= 16
        for head in self.heads:
            head.refresh()
        self._touch()

    def _touch(self) -> None:
        self.letters.touch()
        self.reviews.touch()

    def where(self) -> str:
        """The place at the right of the header."""
        return "Dead"

    def settle(self) -> None:
        """Titles, ages, the one under the cursor."""
        if not self.view.changed and self._ticks % 15:
            return
        self.view.changed = False
        self._touch()
        page, feed = self.view.page, self.feed
        total = page.total if page is not None else 0
        grouped = "  by error" if feed is not None and feed.by == "error" else ""
        more = f"  {page.more} more classes" if page is not None and page.more else ""
        self.letters_box.border_title = f"dead letters  {plural(total, 'run')}{grouped}{more}"
        count = f"{len(self.view.order):,}{'+' if self.view.more else ''}"
        self.reviews_box.border_title = f"reviews  {count}"
        self.letters_box.border_subtitle = "" if self.small else "E group by error   enter runs"
        self.reviews_box.border_subtitle = "" if self.small else "enter run   yt copy token"
        for note in (self.tabs, *self.about):
            note.refresh()

    def _tabs_line(self, width: int) -> list[Piece]:
        page = self.view.page
        names = (
            (self.letters, f" [dead letters {page.total if page is not None else 0:,}] "),
            (self.reviews, f" [reviews {len(self.view.order):,}] "),
        )
        return [(text, "accent" if pane is self._pane else "muted") for pane, text in names] + [
            ("  tab the other", "muted")
        ]

    def _about_line(self, line: int) -> list[Piece]:
        feed = self.feed
        if feed is not None and feed.trouble:
            return [(safe(feed.trouble, 300), "bad")] if line == 0 else []
        if self._pane is self.letters:
            return self._about_letter(line)
        row = self.review()
        if row is None:
            return [(self._empty("no run waits for a person"), "muted")] if line == 0 else []
        review = row.review or Review()
        tokens = "  ".join(f"{m.key} {m.token} (attempt #{m.epoch})" for m in review.marks)
        texts = (f"{row.run}  {review.why}", tokens or f"reason {row.reason}")
        return [(safe(texts[line], 400), ("text", "mark")[line])]

    def _about_letter(self, line: int) -> list[Piece]:
        c = self.letter()
        if c is None:
            text = self._empty("no dead letters: every failure has been seen by somebody")
            return [(text, "muted")] if line == 0 else []
        texts = (f"{c.failure}: {c.message}", f"newest {c.sample}   {query_of(c)}")
        return [(safe(texts[line], 400), ("bad", "muted")[line])]

    def _empty(self, text: str) -> str:
        feed = self.feed
        if feed is None or feed.loading:
            return "asking" if self.console_app.link.connected else "waiting for NATS"
        return text

    def _letter(self, index: int) -> list[Cell] | None:
        c = self.view.letter_at(index)
        if c is None:
            return None
        sign = self.letters.sign("checkpoint")
        cells = letter_cells(c, self.now(), sign, wide=not self.small)
        return [self._cursor(self.letters, index), *(Cell(*p) for p in cells)]

    def _review(self, index: int) -> list[Cell] | None:
        row = self.view.review_at(index)
        if row is None:
            return None
        armed = row.run in self.overrides
        cells = review_cells(row, self.now(), override=armed, wide=not self.small)
        return [self._cursor(self.reviews, index), *(Cell(*p) for p in cells)]

    def _cursor(self, table: VTable, index: int) -> Cell:
        return Cell(table.sign("cursor") if index == table.cursor else " ", "accent")

    # --- what is meant

    def letter(self) -> DeadClass | None:
        """The class under the cursor."""
        return self.view.letter_at(self.letters.cursor)

    def review(self) -> RunRow | None:
        """The review under the cursor."""
        return self.view.review_at(self.reviews.cursor)

    def chosen_runs(self) -> list[tuple[str, str]]:
        """The review under the cursor, or the newest run of the class."""
        if self._pane is self.reviews:
            row = self.review()
            return [(row.run, f"{row.task}  {row.status}")] if row is not None else []
        c = self.letter()
        return [(c.sample, f"{c.task}  newest of {c.count:,}")] if c is not None else []

    def command_line(self) -> str:
        """What is under the cursor, from a shell."""
        if self._pane is self.reviews:
            return "headway ls status:review"
        c = self.letter()
        return "headway dead" if c is None else quoted("headway", "ls", query_of(c))

    # --- moving about

    def on_lines_moved(self, event: Lines.Moved) -> None:
        """Another one under the cursor."""
        for note in self.about:
            note.refresh()

    def on_lines_chosen(self, event: Lines.Chosen) -> None:
        """A double click opens."""
        if event.lines is self.reviews:
            self.open_review()
        else:
            self.open_class()

    def leave(self) -> bool:
        """A zoomed pane first becomes small again."""
        if self._zoomed:
            self.do_zoom_pane()
            return True
        return False

    def reread(self) -> None:
        """Everything anew."""
        if self.feed is not None:
            self.feed.again()

    def to_reviews(self) -> None:
        """The pane of reviews."""
        self._to(self.reviews)

    def do_next_pane(self) -> None:
        """The other pane."""
        self._to(self.reviews if self._pane is self.letters else self.letters)

    def _to(self, other: Lines) -> None:
        for box in (self.letters_box, self.reviews_box):
            box.display = True  # what is not shown takes no focus
        self.set_focus(other)

    def do_last_pane(self) -> None:
        """The other pane."""
        self.do_next_pane()

    def do_zoom_pane(self) -> None:
        """The focused pane alone, or both."""
        self._zoomed = not self._zoomed
        self._arrange()

    def group(self) -> None:
        """By error alone, or by error and task."""
        if self.feed is not None:
            self.feed.group("task" if self.feed.by == "error" else "error")

    def open_class(self) -> None:
        """The runs of the class, in the list of runs."""
        if (c := self.letter()) is not None:
            self.run_command(f"runs {query_of(c)}")

    def open_review(self) -> None:
        """The run."""
        if (row := self.review()) is not None:
            self.open_run(row.run)

    # --- what changes them

    def again_class(self, mode: str) -> None:
        """New runs of the class: from the last checkpoint, or from the start."""
        c = self.letter()
        if c is None:
            self.say("there is no class under the cursor", "warning")
            return
        link, canary = self.console_app.link, CANARY if c.count >= COUNT_FROM else 0
        self._ask(
            sheets.again_sheet(c, mode, self._here()),
            lambda typed: again(link, c, mode, canary=canary, told=self._told),
        )

    def ack_class(self) -> None:
        """Somebody has seen all of them."""
        c = self.letter()
        if c is None:
            self.say("there is no class under the cursor", "warning")
            return
        link = self.console_app.link
        self._ask(sheets.ack_sheet(c, self._here()), lambda typed: acknowledge(link, c, self._told))

    def decide(self, decision: str) -> None:
        """What became of the interrupted blocks of the run under the cursor."""
        row = self.review()
        if row is None:
            self.say("there is no review under the cursor", "warning")
            return
        review = row.review or Review()
        if not review.marks:
            self.say("no once block is open in it: R resumes the run as it is", "warning")
            return
        armed = row.run in self.overrides and bool(review.unconfirmed)
        keys = [m.key for m in review.marks]
        known: Any = dict.fromkeys(keys, decision)

        def ask(typed: tuple[str, ...]) -> Awaitable[str]:
            values = {k: Raw(v.encode()) for k, v in zip(keys, typed, strict=False)}
            return self._resolve(ResumeAsk(row.run, known, values, armed, new_run_id()))

        self._ask(sheets.decision_sheet(row, decision, armed=armed), ask)

    def override(self) -> None:
        """Take the older attempts of the run under the cursor for dead."""
        row = self.review()
        review = row.review if row is not None else None
        if row is None or review is None or not review.unconfirmed:
            self.say("nothing to override: all older attempts are confirmed dead", "warning")
            return
        run, goes_on = row.run, not review.marks

        async def arm() -> str:
            self.overrides.add(run)
            self._touch()
            return "older attempts are taken for dead: m or r decides now"

        def ask(typed: tuple[str, ...]) -> Awaitable[str]:
            body = ResumeAsk(run, override=True, request=new_run_id())
            return self._resolve(body) if goes_on else arm()

        self._ask(sheets.override_sheet(row), ask)

    def resume_review(self) -> None:
        """The next attempt, where nothing is to be decided on."""
        row = self.review()
        if row is None:
            self.say("there is no review under the cursor", "warning")
            return
        review = row.review or Review()
        if review.marks and row.reason == "once":
            keys = ", ".join(safe(m.key, 60) for m in review.marks)
            self.say(f"decide on {keys} first: m done, r run again, X fail", "warning")
            return
        body = ResumeAsk(row.run, request=new_run_id())
        self._ask(sheets.resume_sheet(row), lambda typed: self._resolve(body))

    async def _resolve(self, body: ResumeAsk) -> str:
        said = await resolve(self.console_app.link, body, self._told)
        self.overrides.discard(body.run)
        return said

    # --- asking

    def _told(self, text: str) -> None:
        self.console_app.pane_screen.say(text, "warning")

    def _here(self) -> str:
        app = self.console_app
        return f"{app.settings.namespace} at {app.settings.shown_url}"

    def _ask(self, sheet: sheets.Sheet, then: Callable[[tuple[str, ...]], Awaitable[str]]) -> None:
        app = self.console_app

        async def work(typed: tuple[str, ...]) -> None:
            try:
                app.pane_screen.say(await then(typed), "good")
            except HeadwayError as e:
                app.pane_screen.say(f"not done: {kindly(e)}", "bad")

        def answered(typed: tuple[str, ...] | None) -> None:
            if typed is None:
                self.say("left as it is")
            else:
                # Of the app: it goes on when this screen is left.
                app.run_worker(work(typed), group="write", exit_on_error=False)

        app.push_screen(Decide(sheet), answered)
