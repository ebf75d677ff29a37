"""Docker networks of runners: two that agents make and share, and those that operators named.

Names are not unique in Docker, so each is looked up once and used by its id. Our own may go away at
any time (`docker network prune` removes what no container uses just now): then they are made again,
with the same addresses, since an agent listens on one of them.
"""

from __future__ import annotations

import threading
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from headway_engine.runtime import CannotStart

LABEL = "headway.network"
CHANNEL = "channel"
"""The policy of a network that leads to the host itself and nowhere else."""
EGRESS = "egress"
"""The policy of a network that leads to the outside."""
NAMES = {EGRESS: "headway-egress", CHANNEL: "headway-channel"}


class Networks:
    """The networks that one runtime uses. Called from its threads; `client` is docker-py's."""

    def __init__(self, names: dict[str, str] = NAMES) -> None:
        """`names`: policy to name, of those that agents make."""
        self._names = names
        self._ids: dict[str, str] = {}
        self._dead_ends: set[str] = set()
        self._addresses: dict[str, list[dict[str, str]]] = {}
        self._making = threading.Lock()

    def of(self, client: Any, policy: str, instead: str = "") -> str:
        """The mode or id for a policy; `instead` stands in for `none`. Raises CannotStart."""
        if policy in ("", "none"):
            if not instead:
                return "none"
            policy = instead
        if policy in self._names:
            return self._own(client, policy)
        if found := self._ids.get(policy):
            return found
        match = _named(client, policy)
        if match is None:
            raise CannotStart(f"network {policy[:80]!r} does not exist on this host")
        ident = self._ids[policy] = str(match["Id"])
        if match.get("Internal"):
            self._dead_ends.add(ident)
        return ident

    def lead_to_agent(self, client: Any, container: str, network: str) -> None:
        """A named network that leads nowhere does not lead to the agent either: one more does."""
        if network in self._dead_ends:
            client.connect_container_to_network(container, self._own(client, CHANNEL))

    def gateway(self, client: Any) -> str:
        """The host's address in the network of the channel; empty = it has none."""
        self._own(client, CHANNEL)
        rows = self._addresses.get(CHANNEL, [])
        return next((row["Gateway"].partition("/")[0] for row in rows if row.get("Gateway")), "")

    def forget(self) -> None:
        """Something is not there any more: look for all of them again."""
        self._ids.clear()

    def _own(self, client: Any, policy: str) -> str:
        with self._making:
            if found := self._ids.get(policy):
                return found
            match = _named(client, self._names[policy]) or self._make(client, policy)
            ident = self._ids[policy] = str(match["Id"])
            details: dict[str, Any] = client.inspect_network(ident)
            self._addresses[policy] = details.get("IPAM", {}).get("Config") or []
            return ident

    def _make(self, client: Any, policy: str) -> dict[str, Any]:
        pools = [
            IPAMPool(subnet=row["Subnet"], gateway=row["Gateway"])
            for row in self._addresses.get(policy, [])
            if row.get("Subnet") and row.get("Gateway")
        ]
        try:
            return client.create_network(
                self._names[policy],
                driver="bridge",
                ipam=IPAMConfig(pool_configs=pools) if pools else None,
                internal=policy == CHANNEL,
                options={"com.docker.network.bridge.enable_icc": "false"},
                labels={LABEL: policy},
                check_duplicate=True,
            )
        except APIError as e:
            # Another agent was faster.
            if e.status_code == 409 and (match := _named(client, self._names[policy])) is not None:
                return match
            raise


def is_missing(error: APIError) -> bool:
    """Does Docker miss a network (and not an image, or the container)?"""
    return isinstance(error, NotFound) and "network" in str(error.explanation or "").lower()


def _named(client: Any, name: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = client.networks(names=[name])
    return next((r for r in rows if r["Name"] == name), None)
