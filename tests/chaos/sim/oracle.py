"""The judge: what was written, acknowledged and done, and the invariants over it.

The numbers are those of the contract: I1 accepted enqueues exist, I3 one end, I4 legal gapless
path, I5 epochs grow, I6 writes of the run's own epoch alone, I8 an attempt goes on from the last
checkpoint, I9 effects, I9b decisions wait for the dead, I10 no success over an open once, I11 keys,
I12 and I13 retries, I14 a cancel is final, I22 limits; B1 no lease is lost to an outage.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from chaos.sim.rules import ENDS, FREES_KEY, LEGAL, LIVE_ATTEMPT
from headway.wire.saves import SaveCheckpoint, SaveMark

if TYPE_CHECKING:
    from chaos.sim.containers import Container
    from chaos.sim.world import World
    from headway.wire.events import Event
    from headway.wire.saves import Save
    from headway_engine.happenings import Happening
    from headway_engine.store.memory.tables import Row
    from headway_engine.store.records import Claimed, EnqueueOutcome, NewRun, Outcome, SaveDone


class Broken(AssertionError):
    """An invariant does not hold."""


class Once:
    """What is known of one once block over all attempts."""

    __slots__ = ("acked", "effects", "reruns", "token")

    def __init__(self) -> None:
        self.effects = self.reruns = 0
        self.acked = False
        self.token = ""


class Track:
    """One run, as the judge has seen it."""

    def __init__(self, epoch: int) -> None:
        self.n = self.ck = self.failures = self.lost = 0
        self.state = ""
        self.top = epoch
        """The highest epoch ever seen in what is stored."""
        self.given = -1
        """The highest that ever was given to an attempt, also by commits that are lost."""
        self.fenced = -1
        """Attempts up to this epoch were taken away: nothing of theirs may count."""
        self.cancelled = self.started = False
        self.due: datetime | None = None
        self.shas: dict[int, str] = {}
        self.marks: dict[str, tuple[str, str, int, bytes]] = {}
        """key -> kind, status, epoch, value, as written."""
        self.once: dict[str, Once] = {}
        self.excused = False
        """Commits were lost, or a person overrode: effects are not counted any more."""


class Oracle:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.w = world
        self.tracks: dict[str, Track] = {}
        self.keys: dict[str, tuple[str, str, datetime]] = {}
        """Idempotency key -> holder, payload hash, end of its window."""
        self.reached: Counter[str] = Counter()

    def need(self, holds: bool, what: str, *facts: object) -> None:
        """Raise Broken with the facts unless it holds."""
        if not holds:
            raise Broken(f"{what}: {', '.join(map(str, facts))}")

    # --- after each step: what is stored

    def look(self) -> None:
        """Judge everything that was written since the last look."""
        opened = 0
        for run_id, row in self.w.tables.runs.items():
            run = row.run
            opened += run.state in LIVE_ATTEMPT
            t = self.tracks.get(run_id)
            if t is None:
                t = self.tracks[run_id] = Track(run.epoch)
            if t.n != run.n:
                self._events(run_id, t, row)
            elif run.epoch < t.top or run.state != t.state:
                raise Broken(f"I4 changed without an event: {run}")
        if self.w.plan.limit:
            self.need(opened <= self.w.plan.limit, "I22 more open attempts than the limit", opened)

    def _events(self, run_id: str, t: Track, row: Row) -> None:
        run = row.run
        for e in row.events[t.n :]:
            self.need(e.n == t.n + 1, "I4 gap in the numbers", e)
            self.need(t.state not in ENDS or e.kind == "tagged", "I3 an event after the end", e)
            t.n = e.n
            if e.target:
                move = (t.state, e.target)
                self.need(e.source == t.state and move in LEGAL, "I4 illegal move", move, e)
                self.reached[f"{t.state or ''} -> {e.target}"] += 1
                self.reached[f"state {e.target}"] += 1
            self._event(run_id, t, row, e)
            if e.target:
                t.state = e.target
        self.need(len(row.events) == run.n == t.n, "I4 events missing", run.n, t.n)
        self.need(run.state == t.state, "I4 the record is not where its events end", run.state)
        self.need(run.epoch >= t.top, "I5 the epoch went back", run.epoch, t.top)
        self.need(run.epoch > t.fenced, "I5 taken away without a fence", run.epoch, t.fenced)
        self.need(run.ck == t.ck, "I7 the checkpoint number is not the last one", run.ck, t.ck)
        self.need((run.ended_at is not None) == (t.state in ENDS), "I3 ended_at", run)
        t.top = max(t.top, run.epoch)

    def _event(self, run_id: str, t: Track, row: Row, e: Event) -> None:
        kind, policy = e.kind, row.run.policy
        now = self.w.clock.now()
        if e.target == "QUEUED" and kind == "queued" and t.state and t.state not in LIVE_ATTEMPT:
            self.need(t.due is not None and t.due <= now, "P6 early", t.due, now)
        if kind == "starting":
            self.need(not t.cancelled, "I14 a claim after a cancel", e)
            top = max(t.top, t.given)
            self.need(e.epoch > top, "I5 a claim without a new epoch", e.epoch, top)
            t.top = t.given = e.epoch
        elif kind == "checkpoint":
            self.need(e.data["number"] == t.ck + 1, "I7 checkpoints out of order", e.data, t.ck)
            t.ck, t.lost = t.ck + 1, 0
        elif kind in ("lost", "given_back", "review", "cancelled") and e.epoch:
            t.fenced = max(t.fenced, e.epoch if t.state in LIVE_ATTEMPT else -1)
        if t.state == "RUNNING" and kind == "queued":
            t.fenced = max(t.fenced, e.epoch)
            self.reached["drained"] += 1
        if kind in ("delayed", "waiting"):
            t.due = e.data["due_at"]
        elif e.target in ("RETRYING", "FAILED", "TIMED_OUT") and "attempt" in e.data:
            t.failures += 1
            self.need(e.data["attempt"] == t.failures, "I13 retries are not counted", e.data)
            self.need(t.failures <= policy.max_attempts, "I13 too many attempts", t.failures)
            if e.target == "RETRYING":
                self.need(t.failures < policy.max_attempts, "I13 a retry too many", t.failures)
                t.due = e.data["due_at"]
                self._backoff(t, row, now)
        elif kind == "lost":
            t.lost += 1
            self.need(t.lost <= 6, "B4 lost for ever", t.lost)
            self.reached["lease lost"] += "lease" in e.data["why"]
            self.reached["not held, lost"] += "hold" in e.data["why"]
        elif kind in ("cancelling", "cancelled"):
            t.cancelled = True
        elif kind == "review":
            self.reached["REVIEW"] += 1
            self.reached["lost too often"] += e.data["reason"] == "lost"
            self.reached["version missing"] += e.data["reason"] == "version"
            self.reached["policy waited for a death"] += e.data["reason"] == "unconfirmed"
        elif kind == "resolved":
            self._resolved(run_id, t, e)
        elif kind == "resumed":
            # By itself (after the last death) it counts on; a person's word starts anew.
            alone = e.actor == "engine"
            t.lost = t.lost if alone else 0
            self.reached["went on after the deaths"] += alone
        elif kind == "started":
            t.started = True
        elif kind == "expired":
            self.need(not t.started, "5 what has started never expires", e)
        elif kind == "exited":
            self.need(not self.w.maybe_alive(run_id, e.epoch), "I9b confirmed dead, but alive", e)
            self.reached["older attempt confirmed dead"] += 1
        elif kind == "succeeded":
            unsure = [
                k for k, m in t.marks.items() if m[0] == "once" and m[1] not in ("done", "failed")
            ]
            self.need(not unsure, "I10 succeeded over an open once", unsure)
        elif kind == "failed" and e.data.get("cause") == "poison":
            self.reached["poison"] += 1
        if row.run.state == "RETRYING" and e.target == "RETRYING":
            self.need(row.run.due_at == t.due, "I13 the due time is not the one that was said")

    def _backoff(self, t: Track, row: Row, now: datetime) -> None:
        p = row.run.policy
        base = min(p.max_delay, p.min_delay * p.factor ** (t.failures - 1))
        low = now + timedelta(seconds=base * (1 - p.jitter) - 1e-6)
        high = now + timedelta(seconds=base * (1 + p.jitter) + 1e-6)
        assert t.due is not None
        self.need(low <= t.due <= high, "I13 backoff out of its bounds", t.due - now, base)

    def _resolved(self, run_id: str, t: Track, e: Event) -> None:
        key, override = e.data["key"], bool(e.data.get("override"))
        inside = [c for c in self.w.containers if c.alive and c.run == run_id and c.inside(key)]
        self.need(not inside or override, "I9b decided while somebody may be inside", e, *inside)
        t.excused = t.excused or override
        block = t.once.setdefault(key, Once())
        self.reached["once decided by a person"] += 1
        kind, _, epoch, value = t.marks[key]
        if e.data["decision"] == "done":
            block.acked = True
            t.marks[key] = (kind, "done", epoch, value)
        else:
            block.reruns += 1
            t.marks[key] = (kind, "failed", epoch, value)  # settled: it does not hold the run up

    # --- what came of a request

    def saved(self, save: Save, before: tuple[int, str], done: SaveDone) -> None:
        """A save was answered; `before`: the run's epoch and state until then."""
        t, epoch, state = self.tracks.get(save.run), *before
        mine = save.epoch == epoch and state in LIVE_ATTEMPT and t is not None
        starts = isinstance(save, SaveMark) and save.status == "started"
        if done.outcome == "ok" and t is not None:
            if done.events:
                self.need(mine, "I6 a write of another epoch or after the end", save, before)
                self.need(not (starts and state == "CANCELLING"), "P7 once begun after a cancel")
                self._wrote(t, save)
            elif isinstance(save, SaveCheckpoint):
                same = t.shas.get(save.number) == save.sha256
                self.need(same, "I7 acknowledged, but not what is stored", save)
                self.reached["checkpoint retry"] += 1
            else:
                have = t.marks.get(save.key)
                self.need(have is not None, "P4 acknowledged, but not stored", save)
        elif done.outcome == "stale_epoch":
            self.need(not mine or state == "CANCELLING", "P2 the current attempt refused", save)
            self.reached["stale epoch refused"] += 1
        elif done.outcome == "gap":
            lost = t is not None and t.excused
            self.need(mine and lost, "I7 a checkpoint was refused that follows the last one", save)
        elif done.outcome == "cancelling":
            self.need(state == "CANCELLING" and starts, "P7 refused without a cancel", save)
        else:
            raise Broken(f"an honest request was answered {done.outcome}: {done.message} {save}")

    def _wrote(self, t: Track, save: Save) -> None:
        if isinstance(save, SaveCheckpoint):
            t.shas[save.number] = save.sha256
            return
        old = t.marks.get(save.key)
        self.need(old is None or old[1] != "done", "P4 a done record was overwritten", old, save)
        if old is not None and save.kind == "once" and old[2] == save.epoch:
            self.need(old[1] == "started", "P4 a mark left its end", old, save)
        t.marks[save.key] = (save.kind, save.status, save.epoch, bytes(save.value))

    def reported(
        self, run_id: str, what: Happening, before: tuple[int, str], outcome: Outcome
    ) -> None:
        """A report of an attempt was answered."""
        t, epoch = self.tracks.get(run_id), getattr(what, "epoch", None)
        if t is None or epoch is None:
            return
        if outcome.outcome == "stale_epoch":
            self.reached["stale epoch refused"] += 1
            mine = epoch == before[0] and before[1] in LIVE_ATTEMPT
            self.need(not mine, "P2 the current attempt's word was refused", what)
            return
        if any(e.kind == "exited" for e in outcome.events):
            return
        self.need(epoch == before[0], "P3 the word of another epoch counted", what, outcome.outcome)
        if outcome.events:
            self.need(before[1] in LIVE_ATTEMPT, "P3 an ended attempt's word counted", what)

    def claimed(self, given: Claimed, before: tuple[int, str], *, again: bool) -> None:
        """A claim was answered with this run."""
        t = self.tracks[given.run.id]
        self.need(given.run.state == "STARTING", "B2 claimed, but not STARTING", given.run)
        if again:
            self.reached["claim answered again"] += 1
        else:
            self.need(before[1] == "QUEUED", "F1 taken without being queued", before)
            self.need(given.run.epoch > before[0], "I5 a claim without a new epoch", before)
        self.need(given.checkpoint == t.ck, "I8 not the last checkpoint", given.checkpoint, t.ck)
        if t.ck:
            state = bytes(given.state).decode()
            self.need(t.shas[t.ck] == f"sha-{state}", "I8 another state", state, t.shas[t.ck])
        for mark in given.marks:
            kind, status, _, value = t.marks.get(mark.key, ("", "", 0, b""))
            if status == "done" and kind in ("step", "once") and mark.resolved != "done":
                self.need(mark.status == "done", "P4 a recorded result is gone", mark)
                self.need(bytes(mark.value) == value, "P4 a recorded result changed", mark, value)

    def enqueued(self, new: NewRun, outcome: EnqueueOutcome) -> None:
        """Intake decided on an item."""
        key, now = new.run.key, self.w.clock.now()
        at = new.queued_at or now
        holder = self.keys.get(key) if key else None
        live = holder is not None and holder[2] > at and self._holds(holder[0])
        if outcome.outcome == "recorded":
            self.need(not live, "I11 the key has a live holder", key, holder)
            if key:
                until = new.key_until
                assert until is not None
                self.keys[key] = (new.run.id, new.payload_hash, until)
        elif outcome.outcome == "duplicate":
            assert holder is not None
            self.need(live and outcome.winner == holder[0], "I11 another winner", outcome, holder)
            self.need(holder[1] == new.payload_hash, "I11 another payload, silently", outcome)
            self.reached["duplicate enqueue"] += 1
        elif outcome.outcome == "again":
            self.reached["repeated enqueue"] += 1
        else:
            self.need(outcome.code == "key_conflict", "C2 refused", outcome)
            assert holder is not None
            self.need(holder[1] != new.payload_hash, "I11 the same payload refused", outcome)
            self.reached["key with another payload"] += 1

    def _holds(self, run_id: str) -> bool:
        row = self.w.tables.runs.get(run_id)
        return row is not None and (row.run.state not in FREES_KEY or row.run.keep_key)

    # --- the outside world

    def effect(self, c: Container, key: str, policy: str, token: str) -> None:
        """The effect of a once block happens now."""
        t = self.tracks.get(c.run)
        if t is None:
            return  # its run was lost with the commits
        block = t.once.setdefault(key, Once())
        block.effects += 1
        self.need(block.token in ("", token), "4.6 another token", block.token, token)
        block.token = token
        row = self.w.tables.runs[c.run]
        if row.run.epoch != c.epoch:
            self.reached["zombie ran its effect"] += 1
        if policy != "raise" or t.excused:
            return
        self.need(not block.acked, "I9 an effect after its acknowledged done mark", c, key)
        self.need(block.effects <= 1 + block.reruns, "I9 twice, and nobody said so", c, key)

    def decides(self, c: Container, key: str) -> None:
        """A block's own policy decides what came of an interrupted attempt."""
        t = self.tracks.get(c.run)
        if t is None or t.excused:
            return
        inside = [o for o in self.w.containers if o.alive and o.run == c.run and o.inside(key)]
        self.need(not inside, "I9b a policy decided while somebody may be inside", c, *inside)
        self.reached["once decided by its policy"] += 1

    def done_heard(self, run: str, key: str) -> None:
        """An attempt heard that its done mark is stored."""
        t = self.tracks.get(run)
        if t is not None:
            t.once.setdefault(key, Once()).acked = True

    # --- failover

    def copy(self) -> tuple[dict[str, Track], dict[str, tuple[str, str, datetime]]]:
        """What a copy of the store would remember."""
        tracks: dict[str, Track] = {}
        for run, t in self.tracks.items():
            tracks[run] = c = copy(t)
            c.shas, c.marks = dict(t.shas), dict(t.marks)
        return tracks, dict(self.keys)

    def back(self, copied: tuple[dict[str, Track], dict[str, Any]]) -> None:
        """Commits since the copy are lost; new epochs stay above all that was ever given out."""
        tracks, self.keys = copied
        for run, t in tracks.items():
            now = self.tracks[run]
            t.given = max(t.given, now.given)
            if t.state not in ENDS | LIVE_ATTEMPT:
                t.top = t.fenced = max(now.top, now.given)
            t.excused = True
            t.once = now.once
        self.tracks = tracks
