"""Plans with a real model, through Pydantic AI: one request a turn, the same tools.

The notes are the model's memory: each turn it sees all of them anew, so the saved state holds no
provider's message format, and another model can go on with a run that this one began.
"""
# Pydantic AI comes with requirements.txt of this example; a checkout without it cannot see types.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import os
from typing import Any

import msgspec
from planner import Plan
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition
from tools import Finish, Move, Notes, Open, Search, Take

MODEL = os.environ.get("RESEARCH_MODEL", "anthropic:claude-sonnet-4-6")
INSTRUCTIONS = """\
You research a question in a corpus: the documentation strings of Python's standard library and the
READMEs of installed packages. Call one or more tools. Search with a few words, open what looks
right, take the lines that answer the question (only from pages that are open now: they are closed
after this turn), and finish when the quotes answer it. Do not search for the same words twice."""


def tool_definition(kind: type[Any]) -> ToolDefinition:
    """A move's Struct as a tool: its docstring is the description, its fields the parameters."""
    (schema,), components = msgspec.json.schema_components([kind])
    name = schema["$ref"].rsplit("/", 1)[1]
    fields = {k: v for k, v in components[name]["properties"].items() if k != "tool"}
    parameters = {"type": "object", "properties": fields, "required": list(fields)}
    tag = str(msgspec.inspect.type_info(kind).tag)  # pyright: ignore[reportAttributeAccessIssue]
    return ToolDefinition(name=tag, description=kind.__doc__, parameters_json_schema=parameters)


TOOLS = [tool_definition(kind) for kind in (Search, Open, Take, Finish)]


def prompt(notes: Notes) -> str:
    """Everything that the agent knows, as text."""
    parts = [f"Question: {notes.question}", f"Searched so far: {notes.queries or 'nothing'}"]
    parts += [f"Hit: {h.source} line {h.line} ({h.title}): {h.beginning}" for h in notes.hits[:12]]
    for page in notes.desk:
        body = "\n".join(f"{page.first + i}: {line}" for i, line in enumerate(page.lines))
        parts.append(f"Open page of {page.source} ({page.title}):\n{body}")
    parts += [f"Quote taken ({q.source}:{q.line}):\n{q.text}" for q in notes.quotes]
    parts += [f"Did not work: {t}" for t in notes.trouble[-3:]]
    return "\n\n".join(parts)


async def plan_with_model(notes: Notes) -> Plan:
    """The planner of the task, with the model that the environment names."""
    return await ask(MODEL, notes)


async def ask(model: Any, notes: Notes) -> Plan:
    """Ask a model (a name, or a model object of Pydantic AI) for the next moves.

    Raises what the provider raises: the run is then retried.

    A model that calls no tool has nothing more to do. Calls that do not fit a tool are dropped.
    """
    response = await model_request(
        model,
        [ModelRequest.user_text_prompt(prompt(notes), instructions=INSTRUCTIONS)],
        model_request_parameters=ModelRequestParameters(function_tools=TOOLS),
    )
    moves: list[Move] = []
    for call in response.tool_calls:
        try:
            moves.append(msgspec.convert({**call.args_as_dict(), "tool": call.tool_name}, Move))
        except (ValueError, TypeError):  # msgspec.ValidationError is a ValueError
            continue
    if not response.tool_calls:
        moves.append(Finish(response.text or "the model called no tool"))
    return Plan((response.text or "model's choice")[:200], moves)
