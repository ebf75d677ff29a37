"""The api's verbs that look and change nothing: for viewers, and for read-only connections."""

from __future__ import annotations

READ_VERBS = (
    "agents", "blob-get", "bundle", "checkpoints", "commands", "dead", "deployments", "events",
    "facets", "info", "job", "jobs", "logs", "metrics", "plan-rows", "queues", "result", "run",
    "runs", "sites", "spans", "state", "tasks", "usage", "why",
)  # fmt: skip
