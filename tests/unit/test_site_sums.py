"""Dead letters and use of a hub and its sites as one answer."""

from __future__ import annotations

from datetime import UTC, datetime

from headway.wire.runs import UsageRow
from headway.wire.steering import DeadClass, DeadPage
from headway_engine.sites.summing import OWN, summed, together
from headway_tui.model.dead import query_of, site_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def letters(count: int, site: str, failure: str = "ValueError") -> DeadClass:
    """Of one task."""
    return DeadClass(failure, "t", count, NOW, NOW, "sample", site=site)


def test_classes_of_two_owners_are_two() -> None:
    own = DeadPage([letters(2, OWN), letters(1, OWN, "OSError")], NOW, 3, 4)
    sites = DeadPage([letters(5, "berlin"), letters(2, "oslo")], NOW, 7, 1)
    page = together([own, sites], 3)
    assert [(c.count, c.site) for c in page.classes] == [(5, "berlin"), (2, OWN), (2, "oslo")]
    assert (page.total, page.more) == (10, 4 + 1 + 1)


def test_use_of_the_same_task_is_one_row() -> None:
    rows = [
        UsageRow("a", 1, 2, 10, 5, 0.5),
        UsageRow("b", 1, 1, 1, 1, 0.75),
        UsageRow("a", 3, 3, 20, 5, 0.5),
        UsageRow("c", 1, 1, 9, 9, 0.0),
    ]
    assert summed(rows, 2) == [UsageRow("a", 4, 5, 30, 10, 1.0), UsageRow("b", 1, 1, 1, 1, 0.75)]


def test_the_query_of_a_class_means_its_owner_s_runs() -> None:
    assert query_of(letters(1, "")) == "status:dead failure:ValueError task:t"
    assert query_of(letters(1, OWN)).endswith('task:t site:""')
    assert query_of(letters(1, "berlin")).endswith("task:t site:berlin")
    assert [site_of(letters(1, site)) for site in ("", OWN, "berlin")] == ["", "", "berlin"]
