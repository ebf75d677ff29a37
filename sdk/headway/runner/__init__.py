"""The process inside the container, step by step.

1. `main` reads `HEADWAY_CHANNEL`, connects (`calls`), says hello and waits for the `env` frame.
2. It sets the environment, takes file descriptors 1 and 2 (`output`), imports the user's modules
   and says `ready`. Payload, state and marks come only then, in `run`.
3. `attempt` executes one run and turns its end into `done` or `fail`; `calls` carries every
   request, keeps it until the store's answer and sends it again after a redial.
4. Isolation `run`: one run, then the process ends. `shared`: many runs at once, until `bye`.

`watch` is the one thread beside user code: it answers pings and enforces the end of a cancel while
user code blocks the loop.
"""

from __future__ import annotations
