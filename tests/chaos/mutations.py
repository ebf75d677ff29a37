"""Named mutations of the fencing, once and retry code: each must make the quick suite fail.

A mutation is a list of exact source patches: module, old text (must occur exactly once), new text.
A patch that no longer fits fails loudly: it must follow the code. `guard` runs the suite over each.
"""

from __future__ import annotations

from typing import NamedTuple


class Patch(NamedTuple):
    """In the file of `module` (or the `.sql` file of that area), `old` becomes `new`."""

    module: str
    old: str
    new: str


class Mutation(NamedTuple):
    """A hole that somebody might make; `tests`: what to run instead of the quick suite."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...] = ()


RULES = "headway_engine.attempt_rules"
CYCLE = "headway_engine.lifecycle"
MOVES = "headway_engine.moves"
STORE = "headway_engine.store.memory.intake"
SAVES = "headway_engine.store.memory.saving"
LEASES = "headway_engine.store.leasing"
LOOK = "headway_engine.store.saving"
ONCE = "headway.effects"


def _one(name: str, module: str, old: str, new: str) -> Mutation:
    return Mutation(name, (Patch(module, old, new),))


_NO_EPOCH_IN_REPORTS = Patch(
    RULES,
    """    if epoch != run.epoch:
        return STALE
    if run.state not in OPEN:""",
    """    if run.state not in OPEN:""",
)
_NO_EPOCH_IN_SAVES = Patch(STORE, "if run.epoch != save.epoch:", "if False:")

PURE: tuple[Mutation, ...] = (
    # --- fencing
    Mutation("no epoch check at all", (_NO_EPOCH_IN_REPORTS, _NO_EPOCH_IN_SAVES)),
    Mutation("no epoch check in reports", (_NO_EPOCH_IN_REPORTS,)),
    Mutation("no epoch check in saves", (_NO_EPOCH_IN_SAVES,)),
    _one(
        "no epoch check at the start",
        RULES,
        """    if h.epoch != run.epoch:
        return STALE
    if run.state is S.RUNNING:""",
        """    if run.state is S.RUNNING:""",
    ),
    _one(
        "a claim does not raise the epoch",
        RULES,
        """    m.fence()
    r = m.run
    r.agent,""",
        """    r = m.run
    r.agent,""",
    ),
    _one(
        "lease loss does not raise the epoch",
        RULES,
        "    m.fence()  # first the fence, then the queue (RELIABILITY 4.4)\n",
        "",
    ),
    _one(
        "giving back does not raise the epoch",
        RULES,
        """    m.fence()
    r = m.run
    r.resumed = run.resumed""",
        """    r = m.run
    r.resumed = run.resumed""",
    ),
    _one(
        "a drain does not raise the epoch",
        RULES,
        """    m.fence()
    m.run.resumed = True
    m.event("queued\"""",
        """    m.run.resumed = True
    m.event("queued\"""",
    ),
    _one(
        "REVIEW does not raise the epoch",
        RULES,
        "    m.fence()\n    m.run.reason = reason\n",
        "    m.run.reason = reason\n",
    ),
    _one(
        "a completed cancel does not raise the epoch",
        RULES,
        """    m.fence()
    m.event("cancelled\"""",
        """    m.event("cancelled\"""",
    ),
    _one(
        "the backstop does not raise the epoch",
        CYCLE,
        "                t.run.epoch += 1\n",
        "",
    ),
    _one(
        "a deadline does not raise the epoch",
        CYCLE,
        """        m.stop("timeout", run.epoch)
        m.fence()""",
        """        m.stop("timeout", run.epoch)""",
    ),
    _one(
        "an ack is ownership: who has the message has the run",
        RULES,
        "run.nonce == h.nonce and run.agent == h.agent",
        "True",
    ),
    _one(
        "a claim takes what is not queued",
        RULES,
        """    if run.state is not S.QUEUED:
        return refuse(f"the run is""",
        """    if run.state in LIVE - {S.STARTING, S.RUNNING, S.QUEUED}:
        return refuse(f"the run is""",
    ),
    _one(
        "a claim of an ended session is taken",
        LEASES,
        "if agent is None or agent.state.session != session or not agent.state.alive:",
        "if agent is None:",
    ),
    _one(
        "an overdue lease may claim",
        LEASES,
        'return "live" if agent.state.lease_until > now else "overdue"',
        'return "live"',
    ),
    _one(
        "leases end right after an outage",
        LEASES,
        "whole = (now - since).total_seconds() >= lease",
        "whole = True",
    ),
    # --- once
    _one(
        "no started mark",
        ONCE,
        """    if on_ambiguous != "rerun":
        await ctx.wait(started, what)""",
        """    if on_ambiguous == "never":
        await ctx.wait(started, what)""",
    ),
    _one(
        "a foreign started mark is fresh",
        ONCE,
        """return found.status == "started" and found.epoch == ctx.info.epoch""",
        """return found.status == "started\"""",
    ),
    _one(
        "a block that raised is fresh",
        ONCE,
        "return found.error is not None and found.error.type == NotExecuted.__name__",
        "return True",
    ),
    _one(
        "once tokens differ by attempt",
        "headway.context",
        """f"{root}\\x00{key}\"""",
        """f"{root}\\x00{key}{self.info.epoch}\"""",
    ),
    _one(
        "success over an open once",
        RULES,
        """unknown = [mark for mark in run.marks if mark.status != "failed"]""",
        "unknown = run.marks[:0]",
    ),
    _one(
        "decisions while an older attempt may be alive",
        CYCLE,
        "if waits and run.unconfirmed and not h.override:",
        "if False:",
    ),
    _one(
        "a lost attempt counts as confirmed dead",
        RULES,
        """    if not dead:
        r.unconfirmed""",
        """    if False:
        r.unconfirmed""",
    ),
    _one(
        "an attempt ended by the clock counts as confirmed dead",
        CYCLE,
        "t.run.unconfirmed = (*run.unconfirmed, run.epoch)  # its agent did not answer",
        "pass",
    ),
    _one(
        "one confirmed death confirms all",
        RULES,
        "tuple(e for e in run.unconfirmed if e != epoch)",
        "()",
    ),
    _one(
        "a policy decides while an older attempt may be alive",
        ONCE,
        "if ctx.unconfirmed and (check",
        "if False and (check",
    ),
    _one(
        "a policy that waits for a death is tried again at once",
        RULES,
        """    if m.run.unconfirmed:
        why = "an older""",
        """    if False:
        why = "an older""",
    ),
    _one(
        "the first of several deaths ends the wait for them",
        RULES,
        "run.reason == UNCONFIRMED and not m.run.unconfirmed:",
        "run.reason == UNCONFIRMED:",
    ),
    _one(
        "a wait for a death never ends by itself",
        RULES,
        "if run.state is S.REVIEW and run.reason == UNCONFIRMED and",
        "if False and",
    ),
    _one(
        "what never began is waited for",
        RULES,
        "dead = h.dead or not begun",
        "dead = h.dead",
    ),
    _one(
        "resume without a decision on each open mark",
        CYCLE,
        """if run.reason == "once" and not open_keys <= chosen.keys():""",
        "if False:",
    ),
    _one(
        "a done mark may be overwritten",
        LOOK,
        """if kind != save.kind or status == "done" or epoch > save.epoch:""",
        "if kind != save.kind:",
    ),
    _one(
        "a started mark is taken while cancelling",
        SAVES,
        "cancelling and save.status",
        "False and save.status",
    ),
    # --- checkpoints
    _one(
        "a save of an old number is accepted",
        SAVES,
        "if is_open and save.number == run.ck + 1:",
        "if is_open and save.number >= 1:",
    ),
    _one(
        "a save after the end is accepted",
        SAVES,
        "if is_open and save.number == run.ck + 1:",
        "if save.number == run.ck + 1:",
    ),
    _one(
        "an attempt starts from the checkpoint before the last",
        STORE,
        "ck = row.checkpoints.get(run.ck)",
        "ck = row.checkpoints.get(max(1, run.ck - 1))",
    ),
    # --- cancel
    _one(
        "a cancel is ignored after the claim",
        CYCLE,
        """    if run.state in SAVEABLE:
        m.stop("cancel", run.epoch)""",
        """    if run.state in SAVEABLE:
        return ALREADY
        m.stop("cancel", run.epoch)""",
    ),
    _one(
        "an early cancel is forgotten",
        STORE,
        "if (cancel := tables.early.get((ns, run.id))) is not None:",
        "if (cancel := tables.early.get((ns, run.root + run.id))) is not None:",
    ),
    # --- retries
    _one("the retry count is not raised", RULES, "m.run.failures += 1", "m.run.failures += 0"),
    _one(
        "one retry too many",
        RULES,
        "if again and m.run.failures < run.policy.max_attempts:",
        "if again and m.run.failures <= run.policy.max_attempts:",
    ),
    _one(
        "backoff is ignored",
        RULES,
        "due = now + timedelta(seconds=delay)",
        "due = now",
    ),
    _one(
        "backoff does not grow",
        "headway.retry",
        "policy.factor ** max(0, failures - 1)",
        "policy.factor ** min(0, failures - 1)",
    ),
    _one(
        "backoff has no ceiling",
        "headway.retry",
        "base = min(policy.max_delay, base)",
        "base = max(0.0, base)",
    ),
    _one(
        "retries may be early",
        CYCLE,
        "if run.due_at is None or run.due_at > now:",
        "if run.due_at is None:",
    ),
    _one(
        "a loss uses a retry",
        RULES,
        "    r.lost_ck, r.resumed = run.ck, begun",
        "    r.failures += 1\n    r.lost_ck, r.resumed = run.ck, begun",
    ),
    _one("losses are not counted", RULES, "if r.lost > MAX_LOST:", "if False:"),
    _one("the poison counter is off", RULES, "r.unstarted += 1", "r.unstarted += 0"),
    Mutation(
        "what ran may expire",
        (
            Patch(RULES, "    run.ttl_at = None\n", ""),
            Patch(CYCLE, "never = run.started_at is None and run.state in", "never = run.state in"),
        ),
    ),
    # --- keys and the rest
    _one(
        "a duplicate key gives a new run",
        STORE,
        "if held is not None and held.until > (new.queued_at or now):",
        "if held is None and new.run.id == '':",
    ),
    _one(
        "another payload under a key gets the old run",
        "headway_engine.store.recording",
        """    if held != new.payload_hash:
        reason = f"key""",
        """    if held == "":
        reason = f"key""",
    ),
    _one(
        "a failure keeps the key",
        MOVES,
        "if to in KEY_FREED and run.key and not run.keep_key:",
        "if to is S.EXPIRED and run.key and not run.keep_key:",
    ),
    _one(
        "the sweeper forgets what a dead engine left",
        "headway_engine.store.memory.queues",
        "if posted.at < before:",
        "if posted.at < before and posted.engine == self.engine:",
    ),
    _one(
        "what is published settles the outbox rows of all that was before it",
        "headway_engine.store.memory.queues",
        "posted.left -= set(events)",
        "posted.left -= {(r, n) for r, n in posted.left for s, m in events if r == s and n <= m}",
    ),
    _one(
        "lost work is not published again",
        "headway_engine.store.memory.queues",
        "or (floor is not None and batch.last_seq <= floor)",
        "or (floor is not None and batch.last_seq < 0)",
    ),
    _one(
        "work behind the end of the stream is not published again",
        "headway_engine.store.memory.queues",
        "or batch.last_seq > written",
        "or batch.last_seq < 0",
    ),
)
"""They run in each normal run, in this process's children."""
