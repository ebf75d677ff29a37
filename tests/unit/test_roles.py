"""Names of roles are checked, and roles that run nowhere are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway_engine.config import BadConfig, Config, load_config
from headway_engine.roles import ALL, check_roles, missing_roles
from headway_ops.say import Fail
from headway_ops.serving import with_roles

if TYPE_CHECKING:
    from pathlib import Path


def test_an_engine_has_all_roles_unless_told() -> None:
    assert Config().engine.roles == ALL
    assert with_roles(Config(), "").engine.roles == ALL
    assert with_roles(Config(), "api, intake,api").engine.roles == ("api", "intake")


def test_an_unknown_role_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(Fail, match=r"--roles: no such role 'dispach': did you mean 'dispatch'"):
        with_roles(Config(), "dispach")
    with pytest.raises(Fail, match=r"name at least one of intake"):
        with_roles(Config(), " , ")
    with pytest.raises(ValueError, match=r"there are: agents, api, dispatch"):
        check_roles(["zzz"])


def test_roles_in_the_file_and_the_environment_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "headway.toml"
    path.write_text('[engine]\nroles = ["intake", "x"]\n')
    with pytest.raises(BadConfig, match=r"headway.toml: \[engine\].*no such role 'x'"):
        load_config(path, {})
    found = load_config(path, {"HEADWAY_ENGINE_ROLES": "api,timers"})
    assert found.engine.roles == ("api", "timers")


def test_missing_roles_are_those_that_no_engine_has() -> None:
    assert missing_roles([]) == list(ALL)
    assert missing_roles([()]) == []
    assert missing_roles([("intake", "api"), ("dispatch", "agents", "timers")]) == ["upkeep"]
