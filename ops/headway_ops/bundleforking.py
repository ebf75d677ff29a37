"""`headway fork --bundle`: a run that ran elsewhere goes on here, as a new run."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway.bundle import Bundle
from headway.forks import choose, failures_of, kept_marks, merge, no_checkpoint
from headway.ids import new_run_id
from headway.replays.compare import changes
from headway.states import TERMINAL, RunState
from headway.wire import INLINE_LIMIT, NOTHING, PAYLOAD_LIMIT, encode
from headway.wire.bundles import MARKS_LIMIT, BundleFork, BundlePoint, Given
from headway.wire.replays import Forked
from headway_ops import forking, link, say
from headway_ops.editing import Editing
from headway_ops.redacting import masked
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client
    from headway.wire.bundles import BundleMark
    from headway.wire.runs import CheckpointRow
    from headway_ops.forking import Wish

MARKS_INLINE = 256 * 1024
"""More bytes of marks are uploaded before they are sent."""
_FORKABLE = frozenset({*(s.status for s in TERMINAL), RunState.REVIEW.status})


def fork(file: str, run: str, wish: Wish, *, masks: bool, as_json: bool) -> None:
    """Make the fork of a bundle's run (`run`: another one of its tree); its id goes to stdout.

    `masks`: also with redacted texts in what it begins with.
    """
    patches = forking.patches_of(wish.settings)
    with Bundle.open(Path(file)) as bundle:
        ask, bodies = prepared(bundle, _chosen(bundle, run), wish, patches, masks=masks)
        with Path(file).open("rb") as raw:
            ask.bundle = _hash(raw)

    async def work(client: Client) -> Forked:
        return await _sent(client, ask, bodies)

    forking.told(link.with_client(work), as_json=as_json)


def _chosen(bundle: Bundle, text: str) -> str:
    if not text:
        return bundle.manifest.run
    found = [run for run in bundle.runs if run.startswith(text.upper())]
    if len(found) != 1:
        raise Fail(
            f"the bundle has no run {text}" if not found else f"{text} begins several of its runs",
            "headway open FILE --plain", Exit.REFUSED,
        )  # fmt: skip
    return found[0]


def _hash(file: Any) -> str:
    digest = sha256()
    while part := file.read(1024 * 1024):
        digest.update(part)
    return digest.hexdigest()


class Bodies:
    """What may be too large for the request, and is uploaded then."""

    def __init__(self, payload: bytes, state: bytes | None) -> None:
        self.payload, self.state = payload, state
        self.values: dict[str, bytes] = {}
        """Large values of marks, by key."""


def prepared(
    bundle: Bundle, run: str, wish: Wish, patches: dict[str, Any], *, masks: bool
) -> tuple[BundleFork, Bodies]:
    """The request without its large bodies, and these. Raises Fail with what cannot be."""
    file, manifest = bundle.run(run), bundle.manifest
    row = file.row
    if row.status not in _FORKABLE:
        raise Fail(
            f"run {run} was {row.status} when it was exported: a fork takes runs that had ended, or"
            " were in review",
            "export it again when it has ended", Exit.REFUSED,
        )  # fmt: skip
    start = _start(bundle, run, wish)
    payload = bundle.body(run, "payload.json")
    if not payload:
        raise Fail(
            f"the bundle has no payload of {run}", "see its notes: headway open", Exit.REFUSED
        )
    payload, payload_edited = _edited(
        payload, patches.get("payload"), "payload", edit=wish.edit_payload, masks=masks
    )
    state, state_edited = None, False
    if start is not None:
        state, state_edited = _state(bundle, run, start, wish, patches.get("state"), masks=masks)
    elif "state" in patches or wish.edit:
        raise Fail("a fork from the start has no state to edit", "--edit-payload", Exit.USAGE)
    bodies = Bodies(payload, state)
    marks = _marks(bundle, run, 0 if start is None else start.number, wish, bodies, masks=masks)
    ask = BundleFork(
        new_run_id(), run, file.root, row.task, Given(),
        site=f"{manifest.namespace} at {manifest.server}"[:256],
        point=None if start is None else BundlePoint(
            start.number, start.name, Given(), start.schema
        ),
        marks=marks,
        edited=(*(("state",) if state_edited else ()), *(("payload",) if payload_edited else ())),
        clear=wish.clear,
        version=row.version if wish.version == "original" else wish.version,
        queue=wish.queue or None,
        priority=max(-1000, min(1000, row.priority)),
        limit_key=file.limit_key,
        tags=tuple(dict.fromkeys((*row.tags, *wish.tags))),
    )  # fmt: skip
    return ask, bodies


def _start(bundle: Bundle, run: str, wish: Wish) -> CheckpointRow | None:
    rows = bundle.checkpoints(run)
    failures = failures_of(bundle.events(run)) if wish.start == "before-error" else []
    start = choose(wish.start, rows, failures)
    if start is None and wish.start != "start":
        raise Fail(no_checkpoint(wish.start, run, rows), "headway open FILE --plain", Exit.REFUSED)
    return start


def _state(
    bundle: Bundle, run: str, start: CheckpointRow, wish: Wish, patch: Any, *, masks: bool
) -> tuple[bytes, bool]:
    state = bundle.state(run, start.number)
    what = f"state of checkpoint #{start.number} {start.name}"
    if not state:
        why = " (--no-state)" if "state" in bundle.manifest.left_out else ""
        raise Fail(f"the {what} is not in the bundle{why}", "--from start", Exit.REFUSED)
    return _edited(state, patch, "state", edit=wish.edit, masks=masks, what=what)


def _edited(
    body: bytes, patch: Any, path: str, *, edit: bool, masks: bool, what: str = ""
) -> tuple[bytes, bool]:
    """The body after --set and the editor, and whether that changed it."""
    old = new = msgspec.json.decode(body)
    if patch is not None:
        new = merge(old, patch)
    if edit:
        editing = Editing(new, what or path)
        while (told := forking.shape_change(old, new := editing.open())) is not None:
            editing.refuse(told)
    if not masks and (places := list(masked(new, path))):
        raise Fail(
            f"redacted when it was exported: {', '.join(places[:5])}"
            + (f" and {len(places) - 5} more" if len(places) > 5 else ""),
            f"--set '{places[0]}=\"...\"', or --with-masks to run with it as it is", Exit.REFUSED,
        )  # fmt: skip
    found = [change.text() for change in changes(old, new)]
    if found:
        say.tell(f"{what or path}: {'; '.join(found)}")
    # What was not edited stays byte for byte.
    result = msgspec.json.encode(new) if found else body
    if len(result) > PAYLOAD_LIMIT:
        raise Fail(
            f"the {what or path} has {len(result):,} bytes: a fork from a bundle takes at most"
            f" {PAYLOAD_LIMIT:,}",
            "an earlier checkpoint, or --from start", Exit.REFUSED,
        )  # fmt: skip
    return result, bool(found)


def _marks(
    bundle: Bundle, run: str, number: int, wish: Wish, bodies: Bodies, *, masks: bool
) -> list[BundleMark]:
    """The marks that the fork keeps, their large values in `bodies`."""
    done = [(m.key, m.kind, m.after) for m in bundle.marks(run) if m.status == "done"]
    names = set(kept_marks(done, number, wish.clear)[0])
    # The engine decides by the same rule; cleared ones go along, so that it can tell of them.
    cleared = set(kept_marks(done, number, wish.clear)[2])
    if len(names) + len(cleared) > MARKS_LIMIT:
        raise Fail(
            f"{len(names):,} marks were recorded before, a fork from a bundle takes at most"
            f" {MARKS_LIMIT:,}",
            "an earlier checkpoint, or --from start", Exit.REFUSED,
        )  # fmt: skip
    kept: list[BundleMark] = []
    for mark in bundle.marks(run):
        if mark.status != "done" or mark.key not in names | cleared:
            continue
        if mark.key in cleared:
            mark.value, mark.ref = NOTHING, None
            kept.append(mark)
            continue
        if (mark.size or mark.ref) and "state" in bundle.manifest.left_out:
            raise Fail(
                f"the value of {mark.kind} {mark.key!r} is not in the bundle (--no-state), and it"
                " would not run again",
                f"an earlier checkpoint, or --clear '{mark.key}' for a once mark", Exit.REFUSED,
            )  # fmt: skip
        value = bundle.value(run, mark)
        if not masks and value and list(masked(msgspec.json.decode(value), mark.key)):
            raise Fail(
                f"the value of {mark.kind} {mark.key!r} was redacted when it was exported",
                "--with-masks to run with it as it is", Exit.REFUSED,
            )  # fmt: skip
        mark.value, mark.ref = Raw(value), None
        if len(value) > INLINE_LIMIT:
            mark.value = NOTHING
            bodies.values[mark.key] = value
        kept.append(mark)
    return kept


async def _sent(client: Client, ask: BundleFork, bodies: Bodies) -> Forked:
    """Upload what is large, then ask; the same again makes no second run."""

    async def given(body: bytes, what: str) -> Given:
        if len(body) <= INLINE_LIMIT:
            return Given(Raw(body))
        return Given(ref=await client.upload(ask.new_run, body, what))

    ask.payload = await given(bodies.payload, "the payload")
    if ask.point is not None and bodies.state is not None:
        ask.point.state = await given(bodies.state, "the state")
    for mark in ask.marks:
        if (value := bodies.values.get(mark.key)) is not None:
            mark.ref = await client.upload(ask.new_run, value, repr(mark.key))
    if len(marks := encode(ask.marks)) > MARKS_INLINE:
        if len(marks) > PAYLOAD_LIMIT:
            raise Fail(
                f"the recorded values have {len(marks):,} bytes in all, at most {PAYLOAD_LIMIT:,}",
                "an earlier checkpoint, or --from start", Exit.REFUSED,
            )  # fmt: skip
        ask.marks_ref, ask.marks = await client.upload(ask.new_run, marks, "the marks"), []
    return await client.api("fork-bundle", ask, Forked)
