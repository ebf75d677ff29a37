"""headway.testing itself: retries, and the crash after every checkpoint."""

from __future__ import annotations

import pytest

from headway import (
    HeadwayError,
    Retry,
    RunFailed,
    StopRun,
    attempt,
    checkpoint,
    resume,
    sleep,
    sync,
    task,
    testing,
)
from support.kit import (
    State,
)

pytestmark = pytest.mark.usefixtures("empty_registry")


# --- the kit itself


async def test_retries_follow_the_policy() -> None:
    @task(retry=Retry(3, stop_on=(KeyError,)))
    async def flaky(kind: str) -> int:
        if kind == "key":
            raise KeyError(kind)
        if kind == "stop":
            raise StopRun("no")
        if attempt().attempt < 3 or kind == "always":
            raise ValueError("again")
        return attempt().attempt

    assert await testing.run(flaky, "some") == 3
    for kind, error in (("key", "KeyError"), ("stop", "StopRun"), ("always", "ValueError")):
        with pytest.raises(RunFailed, match=error):
            await testing.run(flaky, kind)


async def test_the_crash_test_finds_state_kept_outside_of_the_checkpoint() -> None:
    @task
    async def forgetful() -> int:
        state = await resume(State())
        total = 0
        while state.n < 3:
            state.n += 1
            total += state.n
            await checkpoint("c", state)
        return total

    with pytest.raises(AssertionError, match="after checkpoint 1"):
        await testing.crash_after_every_checkpoint(forgetful)


async def test_the_crash_test_works_for_plain_tasks() -> None:
    @task
    def plain(to: int) -> int:
        state = sync.resume(State())
        while state.n < to:
            state.n += 1
            sync.checkpoint(f"n{state.n}", state)
            sync.sleep("2m")
        return state.n

    report = await testing.crash_after_every_checkpoint(plain, 3)
    assert (report.result, report.checkpoints) == (3, ("n1", "n2", "n3"))


async def test_a_task_that_never_ends_is_reported() -> None:
    @task
    async def endless() -> None:
        await sleep("1h", f"nap-{attempt().epoch}")

    with pytest.raises(HeadwayError, match="did not end"):
        await testing.run(endless)
