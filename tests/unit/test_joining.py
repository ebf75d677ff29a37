"""`headway edge join`: the leaf node's configuration, and the nats.conf that includes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headway_ops.edge import joining
from headway_ops.edge.leaf import BadJoin, account_of, domain_of, leaf_conf, url_of
from headway_ops.say import Fail

if TYPE_CHECKING:
    from pathlib import Path


SITE_CONF = """
server_name: "berlin"
jetstream {
  store_dir: "/x"   # domain: paris
  domain: "berlin"
}
accounts {
  SYS {}
  # engines and streams
  "HW": {
    jetstream: { max_file: 1 }
    users: []
  }
  "HW.ann": {
    users: []
  }
}
"""


def test_the_leaf_keeps_our_subjects_on_their_side() -> None:
    text = leaf_conf("hub.example.org", "berlin", credentials="/etc/b.creds", ca="/etc/ca.pem")
    assert 'deny_exports: ["hw.>", "down.>"]' in text
    assert 'deny_imports: ["hw.>", "down.>"]' in text
    assert 'url: "nats-leaf://hub.example.org:7422"' in text
    assert 'credentials: "/etc/b.creds"' in text


@pytest.mark.parametrize(
    ("hub", "url"),
    [
        ("hub:7000", "nats-leaf://hub:7000"),
        ("tls://u:p@hub", "tls://u:p@hub:7422"),
        ("[::1]:7422", "nats-leaf://[::1]:7422"),
    ],
)
def test_a_hub_is_a_host_or_a_url(hub: str, url: str) -> None:
    assert url_of(hub) == url


@pytest.mark.parametrize("hub", ["", "http://hub", "hub:99999", "hub:x"])
def test_no_other_address_is_taken(hub: str) -> None:
    with pytest.raises(BadJoin, match="no address of a hub"):
        url_of(hub)
    with pytest.raises(BadJoin, match="--site"):
        leaf_conf("hub", "Berlin.1")


def test_the_link_is_bound_to_the_account_that_has_the_streams() -> None:
    assert account_of(SITE_CONF) == "HW"
    assert account_of("jetstream { domain: x }\n") == ""
    assert domain_of(SITE_CONF) == "berlin"
    assert domain_of("jetstream { store_dir: x }\n") == ""
    assert '\n    account: "HW"\n' in leaf_conf("hub", "berlin", account="HW")
    assert "account" not in leaf_conf("hub", "berlin")
    two = SITE_CONF.replace('"HW.ann": {', '"HW.ann": {\n    jetstream: enabled')
    with pytest.raises(BadJoin, match=r"HW, HW\.ann; name it by --account"):
        account_of(two)
    with pytest.raises(BadJoin, match="none has `jetstream`"):
        account_of("accounts {\n  A {}\n}\n")


def test_joining_writes_the_file_and_includes_it_once(tmp_path: Path) -> None:
    conf = tmp_path / "etc" / "nats.conf"
    conf.parent.mkdir()
    conf.write_text(SITE_CONF.rstrip("\n"))
    seed = tmp_path / "site.seed"
    seed.write_text("SUABC\n")
    ask = joining.Ask("hub", "berlin", credentials=str(seed), conf=str(conf))
    for _ in range(2):
        joining.join(ask, as_json=True)
    assert conf.read_text() == SITE_CONF + 'include "hub.conf"\n'
    made = conf.with_name("hub.conf")
    assert made.stat().st_mode & 0o777 == 0o600
    assert 'account: "HW"' in made.read_text()
    with pytest.raises(Fail, match=r"by its JetStream domain, and .* says `domain: berlin`"):
        joining.join(joining.Ask("hub", "oslo", conf=str(conf)), as_json=True)
    with pytest.raises(Fail, match="there is no such file"):
        joining.join(joining.Ask("hub", "oslo", conf=str(tmp_path / "none")), as_json=True)


def test_a_nats_conf_beside_the_file_says_the_account_and_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "nats.conf").write_text(SITE_CONF)
    joining.join(joining.Ask("hub", "berlin", out=str(tmp_path / "h.conf")), as_json=True)
    assert 'account: "HW"' in (tmp_path / "h.conf").read_text()
    assert (tmp_path / "nats.conf").read_text() == SITE_CONF
