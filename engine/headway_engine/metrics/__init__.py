"""Numbers for Prometheus: measured all the time, gathered only when somebody scrapes.

`timing` measures, `families` names (pure), `endpoint` serves them over HTTP where the setting
`metrics_listen` says so. prometheus_client is imported only there.
"""

from __future__ import annotations
