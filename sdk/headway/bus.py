"""The NATS layer: connections, requests with typed errors, acknowledged publishes.

`pull.py` holds the pull loop, `history.py` the reads of stored messages, `fencing.py` conditional
writes, `keys.py` keys with a time to live, `fastnats.py` what makes nats-py fast, `steadynats.py`
what it gets wrong when a connection breaks. These (and the client) are the only users of nats-py in
the SDK; engine, agent and TUI share them.

A timeout here always means *unknown*: the message may have been stored, and one that was written
while disconnected is sent after a reconnect. Repeat only what the receiver recognises as the same.
"""

# ruff: noqa: ASYNC109 - a timeout here ends in a typed error that says what was asked of whom.
from __future__ import annotations

import asyncio
import itertools
import logging
import re
import ssl
from typing import TYPE_CHECKING, Any, cast

import msgspec

from headway import nkeys, subjects
from headway.errors import HeadwayError, NotAllowed, NotReachable, QueueFull, TooLarge
from headway.fastnats import FastClient
from headway.natspy import nats_errors, with_websockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

    from headway.config import Settings

log = logging.getLogger("headway.bus")

PING_INTERVAL = 10
"""Seconds between pings; two missed ones end a half-open connection."""
RECONNECT_WAIT = 0.1
"""Seconds between attempts at one server."""
PENDING_SIZE = 16 * 1024 * 1024
"""Bytes that may wait for the socket before a publish waits too; also the buffer while away."""

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"

_DENIALS = ("authorization violation", "authentication")
_NO_RIGHT = re.compile(r"permissions violation for publish to \"?([^\"\s]+)", re.IGNORECASE)
_NO_EAR = re.compile(r"permissions violation for subscription to \"?([^\"\s]+)", re.IGNORECASE)
_STORE_FULL = 10077
_WRONG_LAST = 10071


class JetStreamRefused(HeadwayError):
    """JetStream refused a request; `err_code` says why."""

    code = "jetstream_refused"

    def __init__(self, what: str, status: int, err_code: int, description: str) -> None:
        self.status, self.err_code, self.description = status, err_code, description
        super().__init__(f"{what}: {description} ({status}, {err_code})")


_LAST = re.compile(r"wrong last sequence: (\d+)")


class WrongLast(JetStreamRefused):
    """A compare-and-set publish lost: somebody else has written in between."""

    code = "wrong_last"

    @property
    def last(self) -> int:
        """What the last sequence really is; 0 = nothing is there; -1 = the server did not say."""
        found = _LAST.search(self.description)
        return int(found[1]) if found else -1


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct, omit_defaults=True):
    """JetStream has stored a message. `duplicate` never counts as stored by us."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    domain: str = ""


class _PubAnswer(PubAck, omit_defaults=True):
    error: _ApiError | None = None


_pub_answer = msgspec.json.Decoder(_PubAnswer)


class Connection(FastClient):
    """A NATS connection that tells any number of listeners when it breaks and when it is back."""

    def __init__(self, shown_url: str) -> None:
        super().__init__()
        self.shown_url = shown_url
        """The servers without secrets, for messages."""
        self.settings: Settings | None = None
        """How it was made: for a process that needs one of its own."""
        self.reconnect_hooks: dict[int, Callable[[], None]] = {}
        self.disconnect_hooks: dict[int, Callable[[], None]] = {}
        self.attempts: set[asyncio.Timeout] = set()
        """Requests that end at a reconnect, to be made again (`ask(again=True)`)."""
        self.denied = ""
        """What the server said when it did not take our credentials, or we not its certificate."""
        self.unheard: dict[str, None] = {}
        """Subjects that the server does not let us hear, the last one last."""
        self.first: asyncio.Timeout | None = None
        """Set while the first connection is being made."""
        self.principal = ""
        """Who we are to the server, for messages."""
        self._hook_ids = itertools.count()
        self._quiet = False

    @property
    def server_id(self) -> str:
        """Of the server process that this connection is to; another one after its restart."""
        return str(cast("Any", self)._server_info.get("server_id", ""))

    def when_back(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call `hook` after each reconnect; returns what takes it off again."""
        key = next(self._hook_ids)
        self.reconnect_hooks[key] = hook
        return lambda: void(self.reconnect_hooks.pop(key, None))

    def when_away(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call `hook` at each disconnect; returns what takes it off again."""
        key = next(self._hook_ids)
        self.disconnect_hooks[key] = hook
        return lambda: void(self.disconnect_hooks.pop(key, None))

    async def note_error(self, error: Exception) -> None:
        """nats-py's error callback: a refused permission is heard here and nowhere else.

        Raises CancelledError for the first connection whose time is over: Python 3.11's `wait_for`
        loses the end of the time if a refusal comes with it, and nats-py would try for ever.
        """
        if self.first is not None and self.first.expired():
            raise asyncio.CancelledError
        if isinstance(error, ssl.SSLError) or any(w in str(error).lower() for w in _DENIALS):
            self.denied = str(error)
            if self.first is not None:
                # Asking again would be answered the same: whoever waits should hear it now.
                self.first.reschedule(asyncio.get_running_loop().time())
        if (refused := _NO_RIGHT.search(str(error))) is not None:
            self.refuse(refused[1], lambda subject: NotAllowed(subject, self.principal))
        if (deaf := _NO_EAR.search(str(error))) is not None:
            self.unheard[deaf[1]] = None
        # While the server is away every attempt fails; one line says it.
        repeated = isinstance(error, OSError) or not self.is_connected
        level = logging.DEBUG if self._quiet and repeated else logging.WARNING
        self._quiet = self._quiet or repeated
        log.log(level, "nats %s: %s: %s", self.shown_url, type(error).__name__, error)

    async def note_disconnected(self) -> None:
        """nats-py's callback when the connection broke."""
        if not self.is_closed:
            log.warning("nats %s: connection lost, trying again", self.shown_url)
        for hook in list(self.disconnect_hooks.values()):
            hook()

    async def note_reconnected(self) -> None:
        """nats-py's callback when the connection stands again and is subscribed again."""
        self._quiet = False
        log.info("nats %s: connected again", self.shown_url)
        now = asyncio.get_running_loop().time()
        for attempt in self.attempts:
            attempt.reschedule(now)
        for hook in list(self.reconnect_hooks.values()):
            hook()


def void(_: object) -> None:
    """Drop a value: for lambdas that must return nothing."""


async def connect(
    settings: Settings,
    *,
    kind: str,
    ident: str | tuple[str, ...],
    on_reconnect: Callable[[], None] | None = None,
    on_disconnect: Callable[[], None] | None = None,
) -> Connection:
    """A connection that reconnects forever; raises NotReachable if the first one does not stand.

    `kind` and `ident` name the principal (`subjects.inbox_prefix`): its answers come under its own
    inbox prefix, so that permissions can keep others out. The hooks run in the event loop and must
    only set flags or events. Raises BadCredentials for a file that cannot be used.
    """
    nc = Connection(settings.shown_url)
    nc.settings = settings
    who = (ident,) if isinstance(ident, str) else ident
    nc.principal = f"{'user' if kind == 'client' else kind} {'/'.join(who)}"
    if on_reconnect is not None:
        nc.when_back(on_reconnect)
    if on_disconnect is not None:
        nc.when_away(on_disconnect)
    options: dict[str, Any] = {}
    if settings.credentials:
        options |= _identify(nc, settings.credentials)
    if settings.tls_ca or any(u.startswith("tls://") for u in settings.urls):
        options["tls"] = ssl.create_default_context(cafile=settings.tls_ca or None)
    if any(u.startswith(("ws://", "wss://")) for u in settings.urls):
        with_websockets()
    try:
        # nats-py tries forever when it may reconnect forever: the first time is bounded here.
        async with asyncio.timeout(settings.connect_timeout) as nc.first:
            await nc.connect(
                settings.urls,
                name=f"headway-{kind}-{'-'.join(who)}",
                inbox_prefix=subjects.inbox_prefix(kind, *who),
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT,  # pyright: ignore[reportArgumentType]  # a float works
                connect_timeout=max(1, round(settings.connect_timeout)),
                ping_interval=PING_INTERVAL,
                max_outstanding_pings=2,
                pending_size=PENDING_SIZE,
                error_cb=nc.note_error,
                disconnected_cb=nc.note_disconnected,
                reconnected_cb=nc.note_reconnected,
                **options,
            )
    except (TimeoutError, OSError, nats_errors.Error) as e:
        await _abandon(nc)
        why = f" ({type(e).__name__}: {e})" if str(e) else ""
        if "certificate" in nc.denied.lower():
            raise NotReachable(
                f"NATS at {settings.shown_url}: its TLS certificate is not trusted ({nc.denied}):"
                " give the certificate of its CA in HEADWAY_TLS_CA (engine and agent:"
                " HEADWAY_NATS_TLS_CA)"
            ) from None
        if nc.denied:
            raise NotReachable(
                f"NATS at {settings.shown_url} does not let us in ({nc.denied}): look at user and"
                " password in HEADWAY_NATS_URL, or at HEADWAY_CREDENTIALS (engine and agent:"
                " HEADWAY_NATS_CREDENTIALS)"
            ) from None
        raise NotReachable(
            f"NATS is not reachable at {settings.shown_url}{why}:"
            " start it with `headway up`, or set HEADWAY_NATS_URL"
        ) from None
    finally:
        nc.first = None
    nc._quiet = False  # pyright: ignore[reportPrivateUsage]
    return nc


def _identify(nc: Connection, path: str) -> dict[str, Any]:
    """nats-py's options for a credentials file; it is read anew at each reconnect."""
    latest = nkeys.read(path)

    def sign(nonce: str) -> bytes:
        nonlocal latest
        try:
            latest = nkeys.read(path)
        except nkeys.BadCredentials as e:
            log.warning("the last credentials are kept: %s", e)
        _show(latest)
        return latest.answer(nonce)

    def _show(held: nkeys.Credentials) -> None:
        # nats-py takes a public key only together with a seed, for which it needs more packages.
        nc._public_nkey = held.key.public  # pyright: ignore[reportPrivateUsage]

    # Without this word of ours nats-py does not look at the callbacks.
    nc._auth_configured = True  # pyright: ignore[reportPrivateUsage]
    _show(latest)
    options: dict[str, Any] = {"signature_cb": sign}
    if latest.jwt:
        options["user_jwt_cb"] = lambda: latest.jwt.encode()
    return options


async def _abandon(nc: Connection) -> None:
    transport: Any = cast("Any", nc)._transport
    try:
        await nc.close()
        writer = getattr(transport, "_io_writer", None)
        if writer is not None:
            # What was cut short between its handshake and its first word, nats-py forgets.
            writer.transport.abort()
            await asyncio.sleep(0)  # the loop's turn in which the socket is closed
    except Exception as e:  # a half-made connection may fail anywhere while it closes
        log.debug("closing an unfinished connection: %s", e)


def no_answer(nc: NatsClient, what: str, timeout: float) -> NotReachable:
    """The error for a request that nobody answered in time."""
    url = getattr(nc, "shown_url", "")
    link = "" if nc.is_connected else " (the connection is down)"
    return NotReachable(
        f"no answer to {what} from NATS at {url} within {max(timeout, 0.1):.1f} s{link}:"
        " is the engine running? See `headway doctor`"
    )


async def ask(
    nc: NatsClient,
    subject: str,
    body: bytes = b"",
    *,
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
    again: bool = False,
) -> Msg:
    """One request, one answer; NotReachable if nobody listens or nobody answers in time.

    nats-py lets a request wait its whole timeout although its connection broke. With `again` it is
    made anew right after the reconnect: for requests that the receiver recognises as the same.
    """
    if not again or not isinstance(nc, Connection):
        return await _ask_once(nc, subject, body, timeout, headers)
    loop = asyncio.get_running_loop()
    deadline, came_back = loop.time() + timeout, False
    while True:
        attempt = asyncio.timeout(None)
        try:
            async with attempt:
                nc.attempts.add(attempt)
                rest = max(0.01, deadline - loop.time())
                return await _ask_once(nc, subject, body, rest, headers)
        except TimeoutError:
            came_back = True
        except NotReachable:
            # Whoever answers may need a moment longer than we did to be back.
            if not came_back or loop.time() + 0.05 > deadline:
                raise
            await asyncio.sleep(0.05)
        finally:
            nc.attempts.discard(attempt)


async def _ask_once(
    nc: NatsClient, subject: str, body: bytes, timeout: float, headers: Mapping[str, str] | None
) -> Msg:
    try:
        # publish() writes into the header dictionary it is given: it gets a copy.
        return await nc.request(
            subject, body, timeout=timeout, headers=dict(headers) if headers else None
        )
    except nats_errors.NoRespondersError:
        raise NotReachable(
            f"nobody answers {subject} on NATS at {getattr(nc, 'shown_url', '')}:"
            " is the engine running? See `headway doctor`"
        ) from None
    except (TimeoutError, nats_errors.TimeoutError):
        raise no_answer(nc, subject, timeout) from None
    except nats_errors.MaxPayloadError:
        raise TooLarge(
            f"a request on {subject}", len(body), nc.max_payload,
            "send less at once, or raise `max_payload` of nats-server",
        ) from None  # fmt: skip
    except (
        nats_errors.ConnectionClosedError,
        nats_errors.ConnectionDrainingError,
        nats_errors.OutboundBufferLimitError,
    ) as e:
        raise NotReachable(f"NATS at {getattr(nc, 'shown_url', '')}: {e}") from None


async def jsapi(
    nc: NatsClient, verb: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0
) -> dict[str, Any]:
    """A JetStream API call: `jsapi(nc, "STREAM.INFO.RUNS")`. Raises JetStreamRefused."""
    answer = await ask(
        nc, f"$JS.API.{verb}", msgspec.json.encode(body) if body else b"", timeout=timeout
    )
    data: dict[str, Any] = msgspec.json.decode(answer.data, type=dict[str, Any])
    error = data.get("error")
    if error:
        raise JetStreamRefused(
            verb, error.get("code", 0), error.get("err_code", 0), error.get("description", "")
        )
    return data


async def publish_acked(
    nc: NatsClient,
    subject: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
    *,
    again: bool = False,
) -> PubAck:
    """Publish to a stream and wait for its word.

    Raises QueueFull (the stream is full, nothing was stored), WrongLast (compare-and-set lost),
    JetStreamRefused (anything else it said), NotReachable (no stream, no server, or no answer in
    time: then the message may still have been stored). `again` as in `ask`.
    """
    msg = await ask(nc, subject, body, timeout=timeout, headers=headers, again=again)
    return pub_ack(subject, msg.data)


async def publish_batch_acked(
    nc: NatsClient, messages: Sequence[tuple[str, bytes]], timeout: float = 5.0
) -> PubAck | None:
    """Publish many to one stream for one round trip: only the last one asks for its ack.

    One connection keeps the order, so the ack of the last says that all before it were handled. Use
    it for streams that refuse no single message (`discard: old`), one stream per call. After
    NotReachable any of them may have been stored: repeat all. Empty = None.
    """
    if not messages:
        return None
    # The last may go out on a new connection, while those before it were lost with the old one.
    life = nc.stats["reconnects"]
    try:
        await publish_all(nc, itertools.islice(messages, len(messages) - 1))
    except nats_errors.Error as e:
        raise NotReachable(f"NATS at {getattr(nc, 'shown_url', '')}: {e}") from None
    subject, body = messages[-1]
    ack = await publish_acked(nc, subject, body, timeout=timeout)
    if nc.stats["reconnects"] != life:
        raise NotReachable(f"the connection to {getattr(nc, 'shown_url', '')} broke meanwhile")
    return ack


def pub_ack(subject: str, data: bytes) -> PubAck:
    """What JetStream said to a publish; raises as `publish_acked`."""
    answer = _pub_answer.decode(data)
    e = answer.error
    if e is None:
        return answer
    if e.err_code == _STORE_FULL:
        raise QueueFull
    kind = WrongLast if e.err_code == _WRONG_LAST else JetStreamRefused
    raise kind(f"publish on {subject}", e.code, e.err_code, e.description)


def expect_last(seq: int, over: str) -> dict[str, str]:
    """Headers of a compare-and-set: the last message under the filter `over` has this sequence."""
    return {EXPECTED_LAST: str(seq), EXPECTED_LAST_SUBJECT: over}


async def publish_all(nc: NatsClient, messages: Iterable[tuple[str, bytes]]) -> None:
    """Publish many without asking for acks (logs, beats, answers)."""
    if isinstance(nc, Connection):
        await nc.publish_many(messages)
        return
    for subject, body in messages:
        await nc.publish(subject, body)
