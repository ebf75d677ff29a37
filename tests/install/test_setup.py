from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "ops" / "setup"


@pytest.mark.parametrize(
    ("made", "wanted", "fits"),
    [
        ("17 4\ntest lint\n", [], True),  # made for ops/test, used by ops/demo
        ("17 4\ntest lint\n", ["lint", "test"], True),
        ("17 4\n\n", [], True),
        ("17 4\n\n", ["test"], False),
        ("17 4\ntest\n", ["test", "lint"], False),
        ("18 4\ntest lint\n", ["test"], False),  # pyproject or a locked version changed since
        (None, [], False),
    ],
)
def test_an_environment_with_more_groups_is_used_as_it_is(
    tmp_path: Path, made: str | None, wanted: list[str], fits: bool
) -> None:
    stamp = tmp_path / "stamp"
    if made is not None:
        stamp.write_text(made)
    call = 'set -euo pipefail; . "$0"; stamp_fits "$@"'
    done = subprocess.run(
        ["bash", "-c", call, str(SETUP), str(stamp), "17 4", *wanted],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0, done.stderr) == (fits, "")
