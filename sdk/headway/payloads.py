"""A function's parameters as a payload: a JSON object of parameter name to value."""

from __future__ import annotations

import inspect
import sys
import typing
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from headway import codec
from headway.errors import BadPayload, BadTask, HeadwayError
from headway.wire import PAYLOAD_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ABSENT = object()


class Signature:
    """What one task takes and gives; annotations are looked at when they are first needed."""

    def __init__(self, fn: Callable[..., Any], task: str) -> None:
        self._fn, self._task = fn, task
        self._signature = inspect.signature(fn)
        self._what = f"the payload of task {task!r}"
        parameters = self._signature.parameters
        # All of them by name, or all by place; None where that cannot be.
        self._by_name, self._by_place = (
            None if any(p.kind is wrong for p in parameters.values()) else tuple(parameters)
            for wrong in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY)
        )
        for p in parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                star = "*" if p.kind is p.VAR_POSITIONAL else "**"
                raise BadTask(
                    f"task {task!r} takes {star}{p.name}: give each parameter its name, since the"
                    " payload is a JSON object of parameter names"
                )

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._fn, include_extras=True)
        except (NameError, TypeError, AttributeError) as e:
            raise BadTask(
                f"the annotations of task {self._task!r} cannot be resolved: {e}. Types that a"
                " task takes are imported at run time, not only under TYPE_CHECKING"
            ) from None

    @property
    def result_type(self) -> Any:
        """The return annotation; Any without one."""
        return self._hints.get("return", Any)

    @cached_property
    def _fields(self) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for p in self._signature.parameters.values():
            kind = self._hints.get(p.name, Any)
            if p.default is p.empty:
                fields.append((p.name, kind))
            else:
                # A stand-in: the function's own default is used, whatever its type.
                fields.append((p.name, kind, msgspec.field(default_factory=lambda: _ABSENT)))
        try:
            made = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=True)
            codec.schema_of(made)
        except (TypeError, HeadwayError) as e:
            raise BadTask(f"task {self._task!r} takes a type that has no JSON form: {e}") from None
        return made

    @cached_property
    def schema(self) -> bytes:
        """The payload's JSON Schema, canonical bytes."""
        return codec.schema_of(self._fields)

    @cached_property
    def schema_hash(self) -> str:
        """16 hex digits of the schema's SHA-256."""
        return codec.schema_hash(self._fields)

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The call as a checked payload; raises BadPayload (with the path) or TooLarge."""
        try:
            arguments = self._bound(args, kwargs)
        except TypeError as e:
            raise BadPayload(f"task {self._task!r}: {e}") from None
        try:
            body = codec.encode(arguments, self._what, PAYLOAD_LIMIT)
        except codec.NotEncodable as e:
            raise BadPayload(str(e)) from None
        self._decoded(body)
        return body

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments by parameter, in the parameters' order; raises TypeError."""
        # `bind` costs as much as all the rest: it is left out where nothing is to be sorted.
        if not args and tuple(kwargs) == self._by_name:
            return kwargs
        if not kwargs and len(args) == len(self._by_place or ()):
            return dict(zip(self._by_place or (), args, strict=True))
        return self._signature.bind(*args, **kwargs).arguments

    def arguments(self, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The payload as positional and keyword arguments; raises BadPayload."""
        values = self._decoded(body or b"{}")
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for p in self._signature.parameters.values():
            value = getattr(values, p.name)
            if value is _ABSENT:
                continue
            if p.kind is p.POSITIONAL_ONLY:
                args.append(value)
            else:
                kwargs[p.name] = value
        return tuple(args), kwargs

    def _decoded(self, body: bytes) -> msgspec.Struct:
        try:
            return codec.decode(self._fields, body)
        except codec.Misfit as e:
            raise BadPayload(f"task {self._task!r}: {e}") from None


def place(fn: Callable[..., Any]) -> tuple[str, int]:
    """File and line of a function."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("?", 0)


def import_name(fn: Callable[..., Any]) -> str:
    """`package.module:function`, also for a function of the script that runs as `__main__`."""
    module = fn.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = str(getattr(main, "__file__", "") or "")
        if spec is not None and spec.name:
            module = spec.name.removesuffix(".__main__")
        elif file:
            module = file.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py")
    return f"{module}:{fn.__qualname__}"
