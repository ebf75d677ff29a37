# trim_history.replay.py   per-run edit that a static patch cannot express
from __future__ import annotations

from headway.replays import Pace, Replay, Select, drop_run

select = Select('status:failed error:"context_length" task:research-agent since:1d', limit=2_000)
replay = Replay(from_="last", once="keep")
pace   = Pace(rate="10/s", max_in_flight=20, canary=5)

def edit(run, payload, state):                 # runs on the operator's machine while planning; its result is stored as data
    msgs = state["messages"]
    if len(msgs) < 8:
        return drop_run("history is short: another bug")     # shown in the plan with the reason
    state["messages"] = msgs[:2] + msgs[-6:]
    return payload, state

def check(original, fork):                     # runs when a fork ends; return None = fine
    if fork.status != "succeeded":
        return f"fork ended {fork.status}: {fork.error_class}"
