"""Which service gets what: the parts of one engine, in the order in which they start."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headway import subjects
from headway._version import __version__
from headway.wire.api import Info
from headway.wire.events import EngineBeat
from headway_engine import streams
from headway_engine.backlog import Backlog
from headway_engine.blobs.uploads import Uploads
from headway_engine.blobverbs import BlobVerbs
from headway_engine.board import Board
from headway_engine.bundles import Bundles
from headway_engine.children import Children
from headway_engine.claims import Agents
from headway_engine.commits import Commits
from headway_engine.control import Control
from headway_engine.counters import Counters
from headway_engine.credits import Credits
from headway_engine.digest import Digests
from headway_engine.dispatch import Dispatcher
from headway_engine.door import Door
from headway_engine.elsewhere import Elsewhere
from headway_engine.flows import Flows
from headway_engine.forks import Forks
from headway_engine.intake import Intake
from headway_engine.jobs import Jobs, JobVerbs
from headway_engine.logbook import Logbook
from headway_engine.metrics.endpoint import Endpoint
from headway_engine.metrics.families import Family, engine_families
from headway_engine.metrics.states import States
from headway_engine.orphans import Orphans
from headway_engine.otlp import OtlpExport, make_exporter
from headway_engine.ownwords import told_of, unshipped
from headway_engine.post import Post
from headway_engine.presence import Beat, Hints, QueueTick
from headway_engine.pruner import Pruner
from headway_engine.readverbs import ReadVerbs
from headway_engine.recorder import Recorder
from headway_engine.relay import Relay, Sweeper
from headway_engine.rescuer import Rescuer, reached
from headway_engine.sampling import Sampler
from headway_engine.saves import Attempts, SaveLanes
from headway_engine.service import Health, Probe, Service, StoreClock, Ticker
from headway_engine.sites.hub import Hub, at_site
from headway_engine.store import StoreDown
from headway_engine.timers import DueTimer, OverdueTimer
from headway_engine.verbs import Verbs
from headway_engine.watch import Watch
from headway_engine.worksweep import WorkSweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headway.bus import Connection
    from headway.wire.events import Sample
    from headway_engine.blobs import Blobs
    from headway_engine.broker import Broker
    from headway_engine.config import EngineConfig
    from headway_engine.sites import SiteStore
    from headway_engine.store import Store, StoreFacts
    from headway_engine.store.records import Outcome


def no_bodies(site: str) -> Blobs:
    """Where there are no sites."""
    raise LookupError(site)


@dataclass(frozen=True)
class Parts:
    """What an engine has opened before its services start."""

    id: str
    config: EngineConfig
    work: Connection
    """May write to streams."""
    answers: Connection
    """Hears requests; its user may publish on inboxes and replies alone."""
    store: Store
    store_facts: StoreFacts
    blobs: Blobs
    broker: Broker
    health: Health
    clock: StoreClock
    started: asyncio.Event
    """Set by the last service."""
    sites: SiteStore | None = None
    """At a hub: what is known of the runs of its sites."""
    bodies: Callable[[str], Blobs] = no_bodies
    """At a hub: the blobs of a site, read over the link."""
    company: Callable[[], object] = lambda: None
    """Called with each beat of another engine."""

    def info(self, now: datetime) -> Info:
        """Who answers."""
        nats = self.broker.facts
        return Info(
            self.id,
            __version__,
            self.store_facts.kind,
            self.health.ready(),
            self.broker.durability,
            now,
            self.store_facts.schema,
            {"nats": nats.server if nats else ""}
            | ({} if self.store_facts.kind == "edge" else {"postgres": self.store_facts.version})
            | told_of(self.store),
            self.config.roles,
        )

    def beat(self, counters: dict[str, float], moves: int, sample: Sample) -> EngineBeat:
        """What the eyes see of this engine."""
        return EngineBeat(
            self.id,
            __version__,
            self.store_facts.kind,
            self.health.ready(),
            self.broker.durability,
            datetime.now(UTC),
            counters,
            self.config.roles,
            moves,
            sample,
        )


def wire(p: Parts) -> list[Service]:
    """The services of this engine's roles, in the order in which they start."""
    roles = frozenset(p.config.roles)
    c, work, answers = p.config, p.work, p.answers
    store, blobs, broker = p.store, p.blobs, p.broker
    uploads = Uploads(blobs)
    post_work, post_answers = Post(work, "work"), Post(answers, "answers")
    edge = p.store_facts.kind == "edge"
    relay = Relay(work, store, post_answers, post_work, stored=edge)
    work.when_back(relay.reconnected)

    def work_created() -> str:
        return broker.work_created

    if "dispatch" in roles:
        dispatcher = Dispatcher(
            work, store, post_work, Credits(), work_created, broker.repair, sourced=edge
        )
    else:
        dispatcher = Elsewhere(work, store, post_work)
    flows = Flows()
    relay.seen = flows.seen
    digests = Digests(p.id, post_work)
    relay.telling = digests.note
    reads = bool(roles & {"dispatch", "api"})
    ticks = QueueTick(p.id, dispatcher, store, post_work, flows, reads=reads)

    counts = Counters()

    def tell(outcomes: Sequence[Outcome]) -> None:
        counts.moved(outcomes)
        flows.told(outcomes)
        relay.told(outcomes)
        dispatcher.told(outcomes)
        due.told(outcomes)

    commits = Commits(
        store.commit,
        tell,
        p.health,
        lanes=c.commit_lanes,
        batch=c.commit_batch,
        capacity=c.waiting_limit,
    )
    due = DueTimer(store, commits)
    saves = SaveLanes(
        store,
        relay,
        p.health,
        lanes=c.save_lanes,
        batch=c.save_batch,
        capacity=c.waiting_limit,
        counters=counts,
    )
    agents = Agents(
        store,
        blobs,
        dispatcher,
        relay,
        p.health,
        engine=p.id,
        lease=c.lease,
        beat_every=c.beat_every,
        ensure_queue=broker.ensure_queue,
        image_grace=c.image_grace,
        counters=counts,
        flows=flows,
    )
    door = Door(answers, post_answers, p.id, store_down=p.health.down)
    agents.serve(door)
    Attempts(store, saves, commits, blobs, uploads, agents.heard).serve(door)

    async def info() -> Info:
        if not p.health.down():
            with contextlib.suppress(StoreDown, TimeoutError):
                async with asyncio.timeout(1):
                    return p.info(await store.now())
        # Who asks in an outage must hear that there is one.
        return p.info(p.clock.now())

    def store_down() -> str:
        return p.health.down_reason if p.health.down() else ""

    forks = Forks(store, blobs, dispatcher, relay)
    board = Board(work)
    verbs = Verbs(store, commits, dispatcher, ticks, forks, board)
    jobs = Jobs(store, forks, commits, post_work, c.lease)
    logbook = Logbook(work)
    table = verbs.table() | ReadVerbs(store, ticks, info, board).table()
    table |= BlobVerbs(blobs, uploads).table() | JobVerbs(store, blobs, jobs).table()
    table |= {"logs": logbook.logs, "spans": logbook.spans, "metrics": board.metrics}
    table |= Bundles(store, blobs, dispatcher, relay).table()
    theirs = {} if p.sites is None else ReadVerbs(p.sites, ticks, info, board).table()
    hub = Hub(work, p.sites, c.sites, p.bodies, p.clock.now)
    table = hub.over(table, theirs)
    control = Control(
        answers,
        post_answers,
        table,
        p.id,
        workers=c.api_workers,
        store_down=store_down,
        counters=counts,
    )
    recorder = Recorder(store, blobs, dispatcher, relay, due.scheduled)
    Children(store, blobs, saves, recorder, p.clock.now).serve(door)
    intake = Intake(
        work,
        store,
        recorder,
        relay,
        post_answers,
        p.health,
        now=p.clock.now,
        durability=lambda: broker.durability,
        repair=broker.repair,
        batch=c.intake_batch,
        lanes=c.intake_lanes,
        counters=counts,
    )

    async def probe() -> None:
        p.clock.set(await store.now())

    backlog = Backlog(work, intake)
    export = OtlpExport(work, c, make_exporter) if c.otlp_endpoint else None

    def counters() -> dict[str, float]:
        counts["told_again"] = relay.again
        return {
            **counts,
            "recorded": intake.recorded,
            "rejected": intake.rejected,
            "malformed": intake.malformed,
            "dispatched": dispatcher.published,
            "claimed": agents.claimed,
            "events": relay.published,
            "events_left": relay.left,
            "due": due.moved,
            "api": control.served,
            "strikes": door.strikes + control.strikes,
            "dropped": post_work.dropped + post_answers.dropped,
            "tasks": len(asyncio.all_tasks()),
            "saves_waiting": saves.waiting,
            "commits_waiting": commits.waiting,
            "ingest_messages": backlog.waiting,
            "store_connections": store.use()[0],
            "spans_exported": export.exported if export else 0,
            "spans_refused": export.failed if export else 0,
            "unshipped": unshipped(store),
        }

    sweep = WorkSweep(
        work,
        dispatcher,
        store,
        work_created,
        lambda: broker.queues | ticks.states.keys(),
        broker.look,
    )
    broker.renewed = sweep.wake
    work.when_back(sweep.after_loss)
    p.health.on_back = sweep.after_loss
    watch = Watch(
        broker,
        store,
        lambda: broker.queues | ticks.states.keys(),
        c.watch_every,
        p.store_facts.problems,
    )
    relay.on_trouble = watch.wake
    me = p.id if "dispatch" in roles else ""

    def engine_lost() -> None:
        sweep.after_loss()
        ticks.stir()

    def beaten(engine: str, moves: int) -> None:
        if engine != p.id:
            p.company()
        ticks.heard(engine, moves)

    hints = Hints(work, answers, dispatcher, me, p.started, engine_lost, beaten)

    async def oldest_enqueue() -> datetime | None:
        return await streams.oldest(work, subjects.INGEST)

    # Leases end only where agents can renew them: the rescuer stays with the door (DECISIONS B1).
    rescuer = Rescuer(store, c.lease, lambda: reached(work, answers), tell, counts)
    pruner = Pruner(store, blobs, c.prune_every)
    sampler = Sampler(counts.kinds, flows.wait, flows.start, saves.timing, time.monotonic())

    def say() -> EngineBeat:
        now = datetime.now(UTC)
        sample = sampler.take(now, time.monotonic(), backlog.waiting, store.use())
        return p.beat(counters(), flows.moves, sample)

    beat = Beat(p.id, post_work, say)

    states = States(store)

    def families() -> list[Family]:
        return engine_families(
            {
                "engine": p.id,
                "version": __version__,
                "store": p.store_facts.kind,
                "roles": ",".join(c.roles),
            },
            counters(),
            {"save": saves.timing, "commit": commits.timing, "intake": recorder.timing},
            ready=p.started.is_set(),
            store_up=p.health.ready(),
            ends=counts.kinds,
            queues=ticks.states.values(),
            waits=flows.waits,
            start=flows.start,
            states=states.counts,
        )

    extra: list[tuple[str, Service]] = []
    if c.metrics_listen:
        extra.append(("", states))
        extra.append(("", Endpoint(c.metrics_listen, families)))
    if export is not None:
        extra.append(("", export))
    following = hub.services(post_answers, broker.replicas, c.prune_every)
    extra += [("upkeep", service) for service in following]
    extra += at_site(work, c, table, recorder, store, p.clock.now)
    # Stopped in reverse: first the doors, then what commits, last what tells of it.
    services: list[tuple[str, Service]] = [
        ("", post_work),
        ("", post_answers),
        ("", relay),
        ("", commits),
        ("agents", saves),
        ("dispatch", dispatcher),
        ("", Probe(p.health, probe)),
        ("", ticks),
        ("timers", due),
        ("timers", OverdueTimer(store, commits)),
        ("timers", jobs),
        ("agents", rescuer),
        ("upkeep", Sweeper(relay, store, counters=counts)),
        ("dispatch", sweep),
        ("", watch),
        ("upkeep", pruner),
        ("upkeep", Orphans(store, blobs, p.clock.now, oldest_enqueue, p.store_facts.identity)),
        ("", beat),
        ("", digests),
        ("intake", intake),
        ("intake", backlog),
        ("agents", door),
        ("api", board),
        ("api", control),
        ("", hints),
        *extra,
    ]
    chosen = [service for need, service in services if not need or roles & set(need.split())]
    for service in chosen:
        if edge and isinstance(service, Ticker):
            service.gathered = True
    return chosen
