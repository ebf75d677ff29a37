"""`headway fork`: one run, from a checkpoint, with edits from --set or an editor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from headway.errors import HeadwayError, NotAllowed, NotReachable
from headway.forks import check_start, choose, edit_of, failures_of, merge, no_checkpoint
from headway.ids import new_run_id
from headway.replays.compare import changes
from headway.wire.events import Event
from headway.wire.replays import BodyEdit, ForkAsk
from headway.wire.runs import CheckpointRow, RunAsk
from headway_ops import link, say
from headway_ops.editing import Editing
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client
    from headway.wire.replays import Forked

Field = Literal["state", "payload"]
INLINE_EDIT = 512 * 1024
"""A larger edit is uploaded before it is asked for."""


class Wish(NamedTuple):
    """What was asked for on the command line."""

    start: str
    settings: tuple[str, ...]
    edit: bool
    edit_payload: bool
    clear: tuple[str, ...]
    version: str
    queue: str
    tags: tuple[str, ...]


def fork(run: str, wish: Wish, *, as_json: bool) -> None:
    """Make the fork; its id goes to stdout, what changed to stderr."""
    link.prefix_of(run)
    check_start(wish.start)
    patches = patches_of(wish.settings)

    async def work(client: Client) -> Forked:
        full, new = await link.run_id(client, run), new_run_id()
        ask = ForkAsk(
            full, new, wish.start, clear=wish.clear, version=wish.version,
            queue=wish.queue or None, tags=wish.tags,
        )  # fmt: skip
        await _state_edit(client, ask, wish, patches.get("state"))
        await _payload_edit(client, ask, wish, patches.get("payload"))
        return await client.fork(ask)

    told(link.with_client(work), as_json=as_json)


def told(done: Forked, *, as_json: bool) -> None:
    """Say what was forked; the new id goes to stdout."""
    if as_json:
        say.data(done)
        return
    where = f"checkpoint #{done.checkpoint} {done.name}" if done.checkpoint else "the start"
    say.tell(f"from {where}; once marks kept: {', '.join(done.kept) or 'none'}")
    if done.cleared:
        say.tell(f"may happen again, under new tokens: {', '.join(done.cleared)}")
    say.line(done.run)


def patches_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """The merge patches for `state` and `payload`, from `state.model="haiku"` and the like."""
    patches: dict[str, Any] = {}
    for word in settings:
        path, equals, text = word.partition("=")
        names = path.split(".")
        if not equals or names[0] not in ("state", "payload") or not all(names[1:] or [""]):
            raise Fail(f"--set {word!r}", "write state.PATH=JSON or payload.PATH=JSON", Exit.USAGE)
        try:
            value = json.loads(text)
        except ValueError:
            raise Fail(
                f"--set {word!r}: {text!r} is no JSON", f"a text is '{path}=\"{text}\"'", Exit.USAGE
            ) from None
        for name in reversed(names):
            value = {name: value}
        patches = merge_keeping_null(patches, value)
    return patches


def merge_keeping_null(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two merge patches as one: the later one wins, removals stay."""
    both = dict(one)
    for key, value in other.items():
        old = both.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge_keeping_null(old, value)  # pyright: ignore[reportUnknownArgumentType] JSON
        both[key] = value
    return both


async def _state_edit(client: Client, ask: ForkAsk, wish: Wish, patch: Any) -> None:
    if not wish.edit:
        ask.state = None if patch is None else BodyEdit(patch=Raw(msgspec.json.encode(patch)))
        return
    run = ask.run
    rows = await client.api("checkpoints", RunAsk(run), list[CheckpointRow])
    failures = []
    if wish.start == "before-error":
        failures = failures_of(await client.api("events", RunAsk(run), list[Event]))
    row = choose(wish.start, rows, failures)
    if row is None:
        if wish.start == "start":
            raise Fail("--edit with --from start: there is no state", "--edit-payload", Exit.USAGE)
        raise Fail(no_checkpoint(wish.start, run, rows), f"headway show {run}", Exit.REFUSED)
    _, body = await client.state(run, row.number)
    what = f"state of checkpoint #{row.number} {row.name}"
    await _edited(client, ask, "state", body, patch, what)


async def _payload_edit(client: Client, ask: ForkAsk, wish: Wish, patch: Any) -> None:
    if not wish.edit_payload:
        ask.payload = None if patch is None else BodyEdit(patch=Raw(msgspec.json.encode(patch)))
        return
    detail = await client.run(ask.run)
    ref = detail.payload_ref
    body = bytes(detail.payload) if ref is None else await client.fetch_blob(ref)
    await _edited(client, ask, "payload", body or b"{}", patch, "payload")


async def _edited(
    client: Client, ask: ForkAsk, field: Field, body: bytes, patch: Any, what: str
) -> None:
    """Let it be edited until the engine would take it; what is wrong stands above it."""
    old = msgspec.json.decode(body)
    await _planned(client, ask)  # what else is wrong is said before anybody types
    editing = Editing(old if patch is None else merge(old, patch), what)
    while True:
        new = editing.open()
        setattr(ask, field, await _sent(client, ask.new_run, edit_of(old, new)))
        try:
            planned = await _planned(client, ask)
        except (NotReachable, NotAllowed):
            raise
        except HeadwayError as e:
            editing.refuse(str(e))
            continue
        flaw = None if planned.checked == "ok" and field == "state" else shape_change(old, new)
        if flaw is None:
            break
        editing.refuse(flaw)
    found = [change.text() for change in changes(old, new)]
    say.tell(f"{what}: {'; '.join(found) if found else 'not changed'}")


async def _planned(client: Client, ask: ForkAsk) -> Forked:
    """What the engine would make of it; nothing is made."""
    ask.dry_run = True
    try:
        return await client.fork(ask)
    finally:
        ask.dry_run = False


async def _sent(client: Client, new: str, edit: BodyEdit | None) -> BodyEdit | None:
    """The edit, or a reference to it where it is too large for a message."""
    if edit is None or len(bytes(edit.value)) <= INLINE_EDIT:
        return edit
    return BodyEdit(ref=await client.upload(new, bytes(edit.value), "the edited body"))


def shape_change(old: Any, new: Any) -> str | None:
    """Why the new value cannot be of the old one's type; None if it may.

    What a state's type is, only the task knows: this catches what no type would allow, an object
    that became a list, or a text where a number was.
    """
    if old is None or new is None:
        return None
    if kind_of(old) != kind_of(new):
        return f"{kind_of(old)} became {kind_of(new)}"
    if isinstance(old, dict):
        for key in old:  # pyright: ignore[reportUnknownVariableType] JSON
            if key in new and (told := shape_change(old[key], new[key])):
                return f"{key}: {told}"
    return None


def kind_of(value: Any) -> str:
    """The JSON type in words."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case None:
            return "null"
        case _:
            return "an object"
