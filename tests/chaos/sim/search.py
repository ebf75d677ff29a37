"""Many seeds in a few processes."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from chaos.sim.history import run_seed

CHUNK = 500


def search(start: int, count: int, processes: int = 2) -> Counter[str]:
    """What `count` seeds from `start` on reached; raises Failure for the first that broke."""
    starts = range(start, start + count, CHUNK)
    sizes = [min(CHUNK, start + count - s) for s in starts]
    reached: Counter[str] = Counter()
    if processes == 1:
        for first, size in zip(starts, sizes, strict=True):
            reached += chunk(first, size)
        return reached
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            for part in pool.map(chunk, starts, sizes):
                reached += part
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return reached


def chunk(start: int, count: int) -> Counter[str]:
    """The same in this process."""
    reached: Counter[str] = Counter()
    for seed in range(start, start + count):
        reached.update(run_seed(seed))
    return reached
