"""Struct types made over for JSON Schema: msgspec cannot write the default of a raw JSON field."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

import msgspec


def twin(kind: Any, made: dict[type, Any]) -> Any:
    """The type with every Struct in it replaced by one whose raw fields are merely optional."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in made:
            made[kind] = _twin_struct(kind, made)
        return made[kind]
    return _inside(kind, typing.get_origin(kind), typing.get_args(kind), made)


def _inside(kind: Any, origin: Any, args: tuple[Any, ...], made: dict[type, Any]) -> Any:
    if not args or origin is typing.Literal:
        return kind
    if origin is Annotated:
        return Annotated[(twin(args[0], made), *kind.__metadata__)]  # pyright: ignore[reportInvalidTypeForm]  # made at run time
    inner = [twin(a, made) for a in args]
    if origin in (types.UnionType, typing.Union):
        union: Any = inner[0]
        for other in inner[1:]:
            union = union | other
        return union
    return kind if inner == list(args) else origin[tuple(inner)]


def _twin_struct(kind: type[msgspec.Struct], made: dict[type, Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        entry: tuple[Any, ...] = (field.name, twin(hints[field.name], made))
        if field.default is not msgspec.NODEFAULT:
            raw = isinstance(field.default, msgspec.Raw)
            entry += (msgspec.UNSET if raw else field.default,)
        elif field.default_factory is not msgspec.NODEFAULT:
            entry += (msgspec.field(default_factory=field.default_factory),)
        fields.append(entry)
    config = kind.__struct_config__
    return msgspec.defstruct(
        kind.__name__,
        fields,
        namespace={"__doc__": kind.__doc__},
        tag=config.tag,
        tag_field=config.tag_field,
        forbid_unknown_fields=config.forbid_unknown_fields,
        kw_only=True,
    )
