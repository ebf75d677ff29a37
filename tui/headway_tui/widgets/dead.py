"""The two panes of dead letters and reviews: columns, and what their keys ask of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from headway_tui.widgets.table import Column, VTable

if TYPE_CHECKING:
    from headway_tui.screens.dead import DeadScreen

LETTERS = (
    Column(" ", 1), Column("RUNS", 7, True), Column("ERROR CLASS", 22), Column("TASK", 16),
    Column("FIRST", 5, True), Column("LAST", 4, True), Column("TOP CHECKPOINT", 16),
    Column("SAMPLE", 14), Column("MESSAGE", 0),
)  # fmt: skip
LETTERS_SMALL = (
    Column(" ", 1), Column("RUNS", 6, True), Column("ERROR CLASS", 20), Column("TASK", 14),
    Column("LAST", 4, True), Column("CKPT", 5), Column("MESSAGE", 0),
)  # fmt: skip
REVIEWS = (
    Column(" ", 1), Column("RUN", 14), Column("TASK", 16), Column("REASON", 11), Column("KEY", 18),
    Column("TOKEN", 8), Column("AGE", 4, True), Column("OLDER TRIES", 12), Column("WHY", 0),
)  # fmt: skip
REVIEWS_SMALL = (
    Column(" ", 1), Column("RUN", 10), Column("TASK", 14), Column("REASON", 11), Column("KEY", 16),
    Column("AGE", 4, True), Column("OLDER TRIES", 0),
)  # fmt: skip


class _Table(VTable):
    """A pane of this screen: what its keys do, the screen knows."""

    @property
    def owner(self) -> DeadScreen:
        """The screen."""
        return cast("DeadScreen", self.screen)


class Letters(_Table):
    """Classes of failures."""

    place = "letters"

    def do_open_class(self) -> None:
        """The runs of the class, in the list of runs."""
        self.owner.open_class()

    def do_fork_class(self) -> None:
        """Fork each from its last checkpoint, after a sheet."""
        self.owner.again_class("fork")

    def do_replay_class(self) -> None:
        """Replay each from the start, after a sheet."""
        self.owner.again_class("replay")

    def do_ack_class(self) -> None:
        """Acknowledge all of them, after a sheet."""
        self.owner.ack_class()

    def do_group_error(self) -> None:
        """By error alone, or by error and task."""
        self.owner.group()


class Reviews(_Table):
    """Runs in REVIEW."""

    place = "reviews"

    def do_open_review(self) -> None:
        """The run."""
        self.owner.open_review()

    def do_decide_done(self) -> None:
        """The effect has happened: mark it done with a value, after a sheet."""
        self.owner.decide("done")

    def do_decide_rerun(self) -> None:
        """Run the block again, after a sheet."""
        self.owner.decide("rerun")

    def do_decide_fail(self) -> None:
        """The run has failed, after a sheet."""
        self.owner.decide("fail")

    def do_override(self) -> None:
        """Decide although an older attempt may still run, after a sheet."""
        self.owner.override()

    def do_resume(self) -> None:
        """Resume, after a sheet."""
        self.owner.resume_review()

    def do_cancel(self) -> None:
        """Cancel, after a sheet."""
        self.owner.do_cancel()

    def do_copy_token(self) -> None:
        """The token of the interrupted block."""
        row = self.owner.review()
        marks = row.review.marks if row is not None and row.review is not None else ()
        self.owner.console_app.copy_text("\n".join(m.token for m in marks))
