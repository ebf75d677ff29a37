"""@task: policy, payload, registry, options; and calling a task plainly."""

from __future__ import annotations

import ast
import inspect
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace  # noqa: TC003 - looked up at run time
from typing import TYPE_CHECKING, Any, assert_type

import msgspec
import pytest

from headway import (
    BadName,
    BadPayload,
    BadPolicy,
    BadTask,
    NotInRun,
    Retry,
    SyncInLoop,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    sync,
    task,
    token,
)
from headway import tasks as tasks_module
from headway.payloads import Signature

if TYPE_CHECKING:
    from collections.abc import Iterator


class Options(msgspec.Struct):
    """What a task may take."""

    depth: int
    tags: list[str] = []


pytestmark = pytest.mark.usefixtures("empty_registry")


def made() -> Any:
    @task(
        retry=Retry(5, factor=3, min_delay="2s", max_delay="5m", retry_on=(OSError,)),
        timeout="30m",
        memory="2g",
        cpus=0.5,
        queue="agents",
        isolation="shared",
        env=["HOME_URL"],
        secrets=["API_KEY"],
        grace=3,
    )
    async def deep_research(topic: str, options: Options | None = None, limit: int = 3) -> str:
        """Finds things out."""
        return f"{topic} {options} {limit}"

    return deep_research


def test_the_policy_becomes_the_registered_spec() -> None:
    spec = made().spec()
    assert (spec.task, spec.queue, spec.timeout, spec.memory) == (
        "deep-research",
        "agents",
        1800,
        2 * 1024**3,
    )
    assert (spec.max_attempts, spec.factor, spec.min_delay, spec.max_delay) == (5, 3, 2, 300)
    assert (spec.isolation, spec.env, spec.secrets) == ("shared", ("HOME_URL",), ("API_KEY",))
    assert spec.retry_timeout  # TimeoutError is an OSError
    assert spec.doc == "Finds things out."
    assert spec.module.startswith("test_tasks:") or spec.module.endswith("deep_research")
    assert set(msgspec.json.decode(spec.payload_schema)["$defs"]) == {"Options", "Payload"}
    assert len(spec.schema_hash) == 16


def test_the_defaults_are_those_that_are_promised() -> None:
    @task
    async def small() -> None: ...

    spec = small.spec()
    assert (spec.max_attempts, spec.factor, spec.min_delay, spec.max_delay, spec.jitter) == (
        3,
        2,
        1,
        60,
        0.1,
    )
    assert (spec.timeout, spec.memory, spec.cpus, spec.pids) == (3600, 512 * 1024**2, 1, 64)
    assert (spec.queue, spec.isolation, spec.network) == ("default", "run", "none")


async def test_a_task_is_still_its_function() -> None:
    assert await made()("tides") == "tides None 3"

    @task
    def double(x: int) -> int:
        return 2 * x

    assert_type(double(4), int)
    assert double(4) == 8


def test_the_payload_is_an_object_of_the_given_parameters() -> None:
    research = made()
    item = research.options().item(("tides",), {"options": Options(2)})
    assert msgspec.json.decode(item.payload) == {
        "topic": "tides",
        "options": {"depth": 2, "tags": []},
    }
    assert item.schema == research.spec().schema_hash
    args, kwargs = research.signature.arguments(bytes(item.payload))
    assert (args, kwargs) == ((), {"topic": "tides", "options": Options(2)})


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 2, 3), {}),
        ((), {"a": 1, "b": 2, "c": 3}),
        ((), {"c": 3, "b": 2, "a": 1}),
        ((1,), {"c": 3, "b": 2}),
        ((1, 2), {}),
        ((), {"b": 2, "a": 1}),
    ],
    ids=str,
)
def test_however_arguments_are_given_the_payload_is_in_the_order_of_the_parameters(
    args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    def by_either(a: int, b: int, c: int = 9) -> None: ...

    bound = inspect.signature(by_either).bind(*args, **kwargs).arguments
    expected = msgspec.json.encode(bound)
    assert Signature(by_either, "either").payload(args, kwargs) == expected


def test_arguments_by_place_alone_or_by_name_alone_stay_so() -> None:
    def strict(a: int, /, b: int, *, c: int) -> None: ...

    signature = Signature(strict, "strict")
    assert signature.payload((1, 2), {"c": 3}) == b'{"a":1,"b":2,"c":3}'
    assert signature.payload((1,), {"b": 2, "c": 3}) == b'{"a":1,"b":2,"c":3}'
    for args, kwargs in (((1, 2, 3), {}), ((), {"a": 1, "b": 2, "c": 3}), ((1, 2), {})):
        with pytest.raises(BadPayload, match="strict"):
            signature.payload(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1,), {}, r"\$\.topic"),
        (("t",), {"options": Options(2, ["a", 3])}, r"\$\.options\.tags\[1\]"),  # type: ignore[list-item]
        (("t",), {"limit": "x"}, r"\$\.limit"),
        ((), {}, "topic"),
        (("t",), {"depht": 1}, "depht"),
        (("t",), {"options": object()}, "cannot be written as JSON"),
    ],
)
async def test_a_bad_payload_is_refused_at_enqueue_with_its_path(
    args: tuple[Any, ...], kwargs: dict[str, Any], path: str
) -> None:
    with pytest.raises(BadPayload, match=path):
        await made().enqueue(*args, **kwargs)


@pytest.mark.parametrize(
    "policy",
    [
        {"memory": "-1"},
        {"memory": "2 parsecs"},
        {"memory": 1024},
        {"timeout": "soon"},
        {"timeout": 0},
        {"timeout": -1},
        {"cpus": 0},
        {"pids": 1},
        {"isolation": "vm"},
        {"keep_checkpoints": 0},
        {"env": "HOME"},
        {"secrets": ["A=B"]},
        {"network": ""},
    ],
)
def test_a_bad_policy_says_what_was_expected(policy: dict[str, Any]) -> None:
    with pytest.raises(BadPolicy, match=f"{next(iter(policy))}=.*expected"):
        task(**policy)(lambda_like)


def lambda_like() -> None: ...


@pytest.mark.parametrize("policy", [{"id": "Bad Name"}, {"id": ""}, {"queue": "a.b"}])
def test_a_bad_name_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(BadName):
        task(**policy)(lambda_like)


def test_a_duplicate_id_names_both_places() -> None:
    @task(id="same")
    async def one() -> None: ...

    with pytest.raises(BadTask, match=r"test_tasks.py:\d+ and .*test_tasks.py:\d+"):

        @task(id="same")
        async def two() -> None: ...


def test_the_same_definition_twice_is_one_task() -> None:
    made()
    made()
    assert list(tasks_module.registry()) == ["deep-research"]


def test_functions_that_cannot_be_tasks_are_refused() -> None:
    with pytest.raises(BadTask, match=r"\*\*extra"):

        @task
        async def loose(**extra: int) -> None: ...

    with pytest.raises(BadTask, match="generator"):

        @task
        def gen() -> Iterator[int]:
            yield 1

    @task
    async def odd(x: SimpleNamespace) -> None: ...

    with pytest.raises(BadTask, match="no JSON form"):
        odd.spec()


def test_options_become_fields_of_the_enqueue() -> None:
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    item = (
        made()
        .options(
            key="t-42",
            key_ttl="2h",
            key_scope="parent",
            keep_key=True,
            priority=5,
            delay="10m",
            at=at,
            ttl=timedelta(minutes=1),
            deadline="1d",
            tags=["demo"],
            queue="other",
            limit_key="tenant",
            version="v1",
        )
        .item(("t",), {})
    )
    assert (item.key, item.key_ttl, item.key_scope, item.keep_key) == ("t-42", 7200, "parent", True)
    assert (item.priority, item.delay, item.at, item.ttl) == (5, 600, at, 60)
    assert (item.deadline, item.tags, item.queue) == (86400, ("demo",), "other")
    assert (item.limit_key, item.version) == ("tenant", "v1")


@pytest.mark.parametrize(
    "options",
    [
        {"key": ""},
        {"key": "a\x00b"},
        {"key": "\ud800"},
        {"key": "x" * 257},
        {"tags": ["x"] * 33},
        {"tags": ""},
        {"tags": ["x", "  "]},
        {"priority": 1001},
        {"delay": -1},
        {"at": datetime(2030, 1, 1)},
        {"key_scope": "galaxy"},
        {"queue": "a b"},
    ],
)
def test_bad_options_are_refused_before_anything_is_sent(options: dict[str, Any]) -> None:
    with pytest.raises((BadPolicy, BadName)):
        made().options(**options)


async def test_verbs_outside_of_a_run_say_so() -> None:
    for call in (
        checkpoint("c", 1),
        resume(1, int),
        step("s", str),
        once("o", str),
        sleep(1),
    ):
        with pytest.raises(NotInRun, match=r"headway\.testing"):
            await call
    with pytest.raises(NotInRun):
        attempt()
    with pytest.raises(NotInRun):
        token()


async def test_a_blocking_verb_under_a_running_loop_raises_at_once() -> None:
    for call in (
        lambda: sync.checkpoint("c", 1),
        lambda: sync.step("s", str),
        lambda: sync.sleep(1),
        lambda: sync.enqueue(made(), "t"),
    ):
        with pytest.raises(SyncInLoop):
            call()


def test_a_blocking_verb_outside_of_a_run_says_so() -> None:
    with pytest.raises(NotInRun):
        sync.checkpoint("c", 1)


async def test_a_key_for_calls_inside_a_task_is_refused_outside_of_one() -> None:
    @task
    async def child() -> None: ...

    with pytest.raises(NotInRun, match="from inside a task"):
        await child.options(step="a").enqueue()


def test_types_of_the_public_verbs() -> None:
    """Checked by pyright and mypy; here only that the examples parse."""

    async def text(n: int) -> str:
        return str(n)

    def plain(n: int, m: str) -> float:
        return n + len(m)

    async def body() -> None:
        assert_type(await step("a", text, 1), str)
        assert_type(await step("b", plain, 1, "x"), float)
        assert_type(await once("c", text, 1, on_ambiguous="rerun"), str)
        assert_type(await resume(Options(1)), Options)
        assert_type(await resume(None, type=Options), Options | None)

    assert ast.parse("body")
    assert body


def test_a_declared_state_is_registered_with_its_schema() -> None:
    class Notes(msgspec.Struct):
        model: str

    @task(id="stateful", state=Notes)
    async def stateful() -> None: ...

    schema = msgspec.json.decode(bytes(stateful.spec().state_schema))
    assert "model" in str(schema)
    # What has none is left out: it must still be JSON.
    sent = msgspec.json.decode(msgspec.json.encode(made().spec()))
    assert "state_schema" not in sent

    @task(id="odd-state", state=object())
    async def odd() -> None: ...

    with pytest.raises(BadTask, match="odd-state"):
        odd.spec()
