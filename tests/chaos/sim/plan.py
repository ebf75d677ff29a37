"""What is drawn for a seed before it starts: tasks, policies, and which faults it knows.

Each seed knows some faults only: with all of them always on, every history looks alike and the deep
ones are never reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway.wire.fleet import Deployment, TaskSpec

if TYPE_CHECKING:
    from random import Random

LEASE = 3.0
"""Seconds; short, so that time passes in few steps."""
BEAT = 1.2
SHORT_OUTAGE = 1.5
"""Seconds that an agent's lease must bear; after a longer outage it gets a whole lease."""

HEARD, UNHEARD, LOST, LATE, TWICE = range(5)
"""What becomes of a request: answered · done, the answer lost · lost · delivered later · twice."""
FATES = (
    (HEARD,),
    (HEARD,) * 6 + (UNHEARD, LOST, LATE, TWICE),
    (HEARD,) * 3 + (UNHEARD, UNHEARD, LOST),
    (HEARD,) * 3 + (LATE, LATE, TWICE),
)
POLICIES = ("raise", "raise", "raise", "rerun", "skip", "check")
Op = tuple[str, str, str]
"""verb, key, policy."""
CK, STEP, MAIL, CARD, NAP = (
    ("ck", "", ""),
    ("step", "ask", ""),
    ("once", "mail", ""),
    ("once", "card", ""),
    ("nap", "nap", ""),
)
PROGRAMS: tuple[tuple[Op, ...], ...] = (
    (MAIL,),
    (CK, MAIL),
    (CK, MAIL, CK, CARD),
    (STEP, CK, MAIL, CK),
    (CK, CK, CK),
    (CK, NAP, MAIL),
    (MAIL, NAP, CK),
    (STEP, NAP, CK, CARD),
)
CAUSES = ("error", "error", "crash", "oom", "timeout", "stop", "state", "image")


class Plan(NamedTuple):
    """One seed's world."""

    runs: int
    steps: int
    fates: tuple[int, ...]
    faults: tuple[str, ...]
    spec: TaskSpec
    deployment: Deployment
    limit: int
    lazy: bool
    """INGEST is not fsynced: its tail may go."""
    keyed: bool


def _deployment(spec: TaskSpec, version: str = "v1") -> Deployment:
    return Deployment(version, [spec], modules=("app",))


SPECS = tuple(
    TaskSpec(
        "research",
        max_attempts=attempts,
        factor=factor,
        min_delay=0.5,
        max_delay=4.0,
        jitter=jitter,
        timeout=60.0,
        retry_oom=retry,
        retry_timeout=retry,
    )
    for attempts, factor, jitter, retry in (
        (1, 2.0, 0.1, False),
        (2, 3.0, 0.0, True),
        (3, 2.0, 0.5, False),
        (4, 10.0, 0.1, True),
    )
)
DEPLOYMENTS = tuple(_deployment(spec) for spec in SPECS)
SECOND = tuple(_deployment(spec, "v2") for spec in SPECS)
"""The version that is missing until somebody deploys it."""

FAULTS = (
    ("death", "death", "away"),
    ("away", "away", "away", "resolve", "resolve"),
    ("zombie", "away", "resolve"),
    ("stubborn", "resolve", "resolve", "away"),
    ("stubborn", "zombie", "resolve", "failover"),
    ("crash", "death", "cancel"),
    ("store", "away"),
    ("engine", "work"),
    ("failover", "failover", "death", "away"),
    ("broken", "host"),
    ("broken",),
    ("cancel", "operator"),
    ("host", "drain", "crash"),
    ("work", "ingest", "engine"),
    ("death",) * 6,
    ("doom",),
    ("broken", "alone"),
    ("death", "away", "crash", "cancel", "operator", "engine", "work", "store", "drain", "broken"),
)


def draw(rng: Random) -> Plan:
    """The plan of a seed."""
    which = rng.randrange(len(SPECS))
    faults = rng.choice(FAULTS)
    deep = "doom" in faults or "alone" in faults
    two = not deep and rng.random() < 0.3
    return Plan(
        2 if two else 1,
        rng.randrange(60, 90) if deep else rng.randrange(12, 40),
        FATES[0] if deep else rng.choice(FATES),
        faults,
        SPECS[which],
        DEPLOYMENTS[which],
        1 if two and rng.random() < 0.3 else 0,
        "ingest" in faults,
        rng.random() < 0.6,
    )
