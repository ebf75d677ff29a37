"""The engine: the process that decides, and the agent that runs what was decided.

The path of one run, module by module:

1. `intake`     takes enqueue requests off INGEST, answers, acks; `recorder` checks and commits them
                (`checks`, `newruns`), as it does for what tasks enqueue (`children`).
2. `dispatch`   gives due runs to WORK, as many as live agents have slots free (`credits`).
3. `claims`     an agent asks for them (`door`): the epoch goes up, a lease covers the attempt.
4. `saves`      what the attempt says: checkpoints, steps, once marks, and reports (`reports`).
5. `commits`    group commit: what arrived together is one `store.commit`, decided by `lifecycle`.
6. `relay`      after the commit: events to RUNS, the end to the caller, stops to agents (`post`).
7. `timers`, `rescuer`, `pruner`: what is due, whose lease is over, what is past retention.
8. `control`    the api of clients and consoles (`verbs`, `readverbs`, `why`; `microservice`).

A hub follows its `sites` beside all that.

Ports: `store`, `blobs`, `runtime`. `assembly` and `assembly_agent` alone know their adapters;
`wiring` says which service gets what. Each service keeps the contract of `service`.
"""

from __future__ import annotations
