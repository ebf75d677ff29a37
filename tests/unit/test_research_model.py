"""The research example with a model: what it is asked, and what becomes of its answers."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="needs ops/examples/research/requirements.txt")


async def test_the_model_sees_the_notes_and_its_calls_become_moves(example: Any) -> None:
    function: Any = importlib.import_module("pydantic_ai.models.function")
    messages: Any = importlib.import_module("pydantic_ai.messages")
    tools, model = example("tools"), example("model")
    seen: list[Any] = []

    def answer(asked: Any, info: Any) -> Any:
        seen.append((asked, info))
        return messages.ModelResponse(
            parts=[
                messages.ToolCallPart("search", {"query": "tides"}),
                messages.ToolCallPart("open", '{"source": "heapq", "line": 1}'),
                messages.ToolCallPart("open", {"source": "heapq"}),  # a field is missing
            ]
        )

    notes = tools.Notes("When is high water?", queries=["water"])
    plan = await model.ask(function.FunctionModel(answer), notes)
    assert plan.moves == [tools.Search("tides"), tools.Open("heapq", 1)]
    ((asked, info),) = seen
    assert {t.name for t in info.function_tools} == {"search", "open", "take", "finish"}
    assert "When is high water?" in str(asked)
    assert "water" in str(asked)


async def test_a_model_that_calls_no_tool_is_done(example: Any) -> None:
    function: Any = importlib.import_module("pydantic_ai.models.function")
    messages: Any = importlib.import_module("pydantic_ai.messages")
    tools, model = example("tools"), example("model")

    def answer(_asked: Any, _info: Any) -> Any:
        return messages.ModelResponse(parts=[messages.TextPart("That is all.")])

    plan = await model.ask(function.FunctionModel(answer), tools.Notes("?"))
    assert plan.moves == [tools.Finish("That is all.")]


def test_a_tool_is_described_by_its_move(example: Any) -> None:
    (search, _, take, _) = example("model").TOOLS
    assert search.parameters_json_schema["required"] == ["query"]
    assert take.parameters_json_schema["properties"]["first"]["type"] == "integer"
    assert "tool" not in take.parameters_json_schema["properties"]
