"""The draft of the replay console: the form, its file, the recorder."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported
from textual.widgets import Input

from headway.errors import HeadwayError
from headway.replays import load, parse
from headway_tui.draftfile import draft_file, keep, save
from headway_tui.model import drafts
from headway_tui.model.jobs import Words, wrapped
from headway_tui.screens.replay_job import JobPanes
from headway_tui.widgets.replays import Form, WordLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.replays import Planned


class DraftPanes(JobPanes):
    """The form, and what its keys do; the screen lays the panes out."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: Planned | None = None
        self.form = Form(lambda: self.draft, id="draft")
        self.plan = WordLines(id="plan")
        self.field = Input(id="field")
        self._asked: Callable[[str], None] = self._take_field

    def file(self) -> Path:
        """Where the draft is kept."""
        settings = self.console_app.settings
        return draft_file(".".join(filter(None, (settings.context, settings.namespace))))

    # --- the draft

    def told(self) -> None:
        """The draft is another one: kept on disk, painted."""
        if (flaw := keep(self.draft, self.file())) and self.is_attached:
            self.say(flaw, "warning")
        self.form.touch()
        self.header.refresh()

    def _change(self, field: str, text: str) -> None:
        if self.loaded is not None and self.loaded.edit is not None:
            self.say("a Python script is edited in its file: e opens it", "warning")
            return
        try:
            script = drafts.with_text(self.draft.script, field, text)
        except HeadwayError as e:
            self.say(str(e), "bad")
            return
        self.take(script, "select" if field == "query" else "edit",
                   f"{field} = {drafts.shown(drafts.Draft(script), field)}")  # fmt: skip

    def take(self, script: Any, what: str, detail: str) -> None:
        """Another script: the plan before is void."""
        self.draft.script, self.draft.dirty = script, True
        self.draft.decided(self.now(), what, detail)
        self.planned = None
        self.plan_hint()
        self.told()

    def plan_hint(self) -> None:
        """There is no plan of the draft as it is now."""
        why = drafts.opened(self.draft)
        hint = why or "D shows what would start; nothing is sent"
        role = "warning" if why else "muted"
        self.plan.say([Words("no plan yet", "muted"), *wrapped(hint, role)])

    def do_edit_field(self) -> None:
        """Type another value."""
        field = self.form.field
        self.ask(drafts.text_of(self.draft, field.id), field.help, self._take_field)

    def ask(self, value: str, hint: str, then: Callable[[str], None]) -> None:
        """Type something; `then` gets it."""
        self._asked = then
        self.field.placeholder = hint
        self.field.value = value
        self.field.display = True
        self.show_tab(0)
        self.set_focus(self.field)
        self.say(hint)

    def _take_field(self, text: str) -> None:
        self._change(self.form.field.id, text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the field, or in the command line."""
        if event.input is not self.field:
            return  # the base class hears it by itself
        event.stop()
        self.close_field()
        self._asked(event.value)

    def close_field(self) -> None:
        """Leave the field."""
        self.field.display = False
        self.set_focus(self.form)

    def key_escape(self) -> None:
        """Leave the field as it was."""
        if self.field.has_focus:
            self.close_field()
            self.console_app.give_back()

    def do_choose(self) -> None:
        """The next choice."""
        field = self.form.field
        if choice := drafts.next_choice(self.draft, field.id):
            self._change(field.id, choice)
        else:
            self.do_edit_field()

    def do_clear_field(self) -> None:
        """As it is without a word."""
        self._change(self.form.field.id, "")

    def do_new_draft(self) -> None:
        """Begin anew."""
        file = self.file()
        if self.draft.dirty and file.exists():
            file.replace(file.with_suffix(".before"))
            self.say(f"the draft before is in {file.with_suffix('.before')}")
        self.draft, self.loaded, self.planned = drafts.new_draft(), None, None
        self.plan_hint()
        self.told()
        self.lay_out()

    def do_edit_script(self) -> None:
        """The whole script in $EDITOR."""
        made = self._written()
        text = self._in_editor(made.text)
        if text is None or text == made.text:
            return
        try:
            script = parse(text, "the edited script", os.environ | made.secrets)
        except HeadwayError as e:
            self.say(str(e), "bad")
            return
        self.take(script, "edit", "script, in an editor")

    def _in_editor(self, text: str) -> str | None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="headway-") as folder:
            file = Path(folder) / self.draft.file.rpartition("/")[2]
            file.write_text(text, "utf-8")
            try:
                with self.app.suspend():
                    code = subprocess.call([*shlex.split(editor), str(file)])
            except (OSError, SuspendNotSupported) as e:
                self.say(f"$EDITOR {editor!r}: {e or 'this terminal cannot be lent'}", "bad")
                return None
            if code:
                self.say(f"{editor} ended with {code}: nothing was changed", "warning")
                return None
            return file.read_text("utf-8")

    def _written(self) -> Any:
        return drafts.written(self.draft, getpass.getuser(), self.now())

    def do_view_runs(self) -> None:
        """The runs that the query means, in the list."""
        select = self.draft.script.select
        text = select.query or "id:" + ",".join(select.ids[:100])
        self.run_command(f"runs {text}")

    # --- the script

    def open_script(self, path: str) -> None:
        """A script's file in place of the draft."""
        try:
            loaded = load(path if path.endswith((".toml", ".py")) else f"{path}{drafts.SUFFIX}")
        except (HeadwayError, OSError) as e:
            self.say(str(e), "bad")
            return
        path = path if path.endswith((".toml", ".py")) else f"{path}{drafts.SUFFIX}"
        self.loaded = loaded if path.endswith(".py") else None
        self.draft = drafts.Draft(loaded.script, path)
        self.planned = None

    def do_save_script(self) -> None:
        """Write it to its file."""
        self._save(self.draft.file)

    def do_save_script_as(self) -> None:
        """Write it to another file."""
        self.ask(self.draft.file, f"file name, as x{drafts.SUFFIX}", self._save)

    def _save(self, path: str) -> None:
        path = path.strip()
        if self.loaded is not None:
            self.say("a Python script stays in its own file", "warning")
            return
        if not path.endswith(".toml"):
            path = f"{path}{drafts.SUFFIX}"
        made = self._written()
        if flaw := save(made.text, path, own=path == self.draft.path):
            self.say(flaw, "bad")
            return
        self.draft.path, self.draft.dirty = path, False
        self.told()
        hidden = ", ".join(f"${name}" for name in made.secrets)
        self.say(f"saved: {path}" + (f"; from the environment: {hidden}" if hidden else ""), "good")

    def do_record(self) -> None:
        """Record, or stop recording."""
        self.draft.recording = not self.draft.recording
        if self.draft.recording:
            self.draft.decisions = []
            if not drafts.opened(self.draft):
                shown = drafts.shown(self.draft, "query")
                self.draft.decided(self.now(), "select", f"query = {shown}")
        self.told()
        self.say("recording: @ ends it, w saves" if self.draft.recording else "not recording")

    def rec(self, argument: str) -> None:
        """`start [NAME]`, or `save`."""
        verb, _, name = argument.partition(" ")
        if verb == "start":
            if name.strip():
                self._change("name", name.strip())
            if not self.draft.recording:
                self.do_record()
        elif verb == "save":
            self.do_save_script()
        else:
            self.say("`:rec start [NAME]` records, `:rec save` writes the script", "warning")
