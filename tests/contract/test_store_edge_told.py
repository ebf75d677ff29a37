"""What an edge's store says of itself to whoever asks: `headway doctor` shows it."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from headway_engine.ownwords import told_of
from headway_engine.store.edge import journal
from support.factories import an_enqueue

if TYPE_CHECKING:
    import pytest

    from support.stores import EdgeKit


async def test_how_far_its_lists_are_is_told_while_they_lack_much(
    edge_kit: EdgeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    fill = journal.Journal._fill  # pyright: ignore[reportPrivateUsage]

    async def held(self: journal.Journal) -> None:
        await gate.wait()
        await fill(self)

    monkeypatch.setattr(journal, "FEW", 0)
    monkeypatch.setattr(journal.Journal, "_fill", held)
    await edge_kit.enqueued(*(an_enqueue() for _ in range(3)))
    assert told_of(edge_kit.edge) == {}
    last = edge_kit.edge.projection.watermark
    await edge_kit.edge.close()
    shutil.rmtree(edge_kit.folder / "e1")
    edge_kit.edge = edge_kit.store = store = await edge_kit.open("e1")
    assert told_of(store) == {"filling": {"at": 0, "of": last}}
    gate.set()
    await store.journal.whole()
    assert told_of(store) == {}
