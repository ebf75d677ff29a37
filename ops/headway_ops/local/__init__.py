"""Servers on this machine, from wheels: nats-server and Postgres 18."""

from __future__ import annotations
