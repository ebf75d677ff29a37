"""Checks of what clients send: pure, one item at a time, with errors that say what to do.

Our SDK checks payloads against the task's types and stamps the schema's hash; here only unstamped
or foreign ones are looked at again (DECISIONS C6): the JSON Schema's required and unknown names,
basic types, ranges and sizes, to the depth that the schema gives.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec

from headway.errors import HeadwayError
from headway.ids import time_of
from headway.tags import flaw_of_tags
from headway.wire import PAYLOAD_LIMIT, clean_text, flaw_of_body

if TYPE_CHECKING:
    from datetime import datetime

    from headway.wire.enqueue import EnqueueItem
    from headway.wire.fleet import TaskSpec

MAX_SKEW_MS = 3_600_000
"""A run id made further from its INGEST time than this is refused (DECISIONS H1)."""
MAX_DEPTH = 64
STEPS = 100_000
"""Checks of one payload, besides two for each of its bytes."""


class Unfit(HeadwayError):
    """An enqueue that is refused; `code` and the message go to the caller."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def check_item(item: EnqueueItem, ns: str, ingest: datetime | None) -> None:
    """What can be said without the store; raises Unfit.

    `ingest`: when JetStream stored it; None for an id that was not made by a clock (a child's).
    """
    key, version = item.key or "", item.version or ""
    # One look at all of them together: nearly always that is all it takes.
    together = f"{key}{item.limit_key}{version}{item.trace}{item.schema}"
    if not together.isprintable():
        for what, text in (
            ("key", key),
            ("limit_key", item.limit_key),
            ("version", version),
            ("trace", item.trace),
            ("schema", item.schema),
        ):
            if not clean_text(text):
                raise Unfit("bad_request", f"{what}: NUL and lone surrogates cannot be stored")
    if item.tags and (flaw := flaw_of_tags(item.tags)):
        raise Unfit("bad_request", f"tags: {flaw}")
    if item.key == "":
        raise Unfit("bad_request", "key: an empty key is no key; leave it out")
    if item.key is not None and item.key_scope == "parent" and item.parent is None:
        raise Unfit("bad_request", "key_scope=parent needs a parent run")
    if item.at is not None and item.at.tzinfo is None:
        raise Unfit("bad_request", "at: a time needs its offset, such as 2030-01-01T00:00:00Z")
    if ingest is not None and abs(time_of(item.run) - ingest.timestamp() * 1000) > MAX_SKEW_MS:
        raise Unfit(
            "bad_id",
            f"run id {item.run} was made more than an hour away from its arrival:"
            " check the clock of the sender, or make the id when you enqueue",
        )
    ref = item.payload_ref
    if ref is not None:
        if ref.key != f"{ns}/{item.run}/{ref.sha256}":
            raise Unfit("bad_request", "payload_ref: not a blob of this run")
        if not 0 <= ref.size <= PAYLOAD_LIMIT:
            raise Unfit("too_large", f"payload: {ref.size:,} bytes, at most {PAYLOAD_LIMIT:,}")
    elif body := bytes(item.payload):
        if body[:1] != b"{" and body.lstrip()[:1] != b"{":
            raise Unfit("bad_payload", "payload: expected a JSON object of parameter name to value")
        if flaw := flaw_of_body(body):
            raise Unfit("bad_payload", f"payload: {flaw}")


def no_task(task: str, ns: str, version: str | None) -> Unfit:
    """The refusal of a task that nobody has deployed."""
    if version:
        return Unfit(
            "unknown_task",
            f"task {task!r} has no version {version!r} in namespace {ns!r}:"
            " `headway deployments` lists what there is",
        )
    return Unfit(
        "unknown_task",
        f"no task {task!r} is deployed in namespace {ns!r}: deploy it with `headway deploy`"
        " (or `headway up --tasks FILE` while developing)",
    )


def needs_check(item: EnqueueItem, spec: TaskSpec) -> bool:
    """True if nobody has checked this payload against the schema that is current now."""
    return not spec.schema_hash or item.schema != spec.schema_hash


def check_state(body: bytes, schema: bytes) -> None:
    """A state against the task's JSON Schema; raises Unfit (`bad_state`) like `check_payload`.

    Here a field that the schema does not name is refused as well: it would be dropped silently.
    """
    try:
        _check_body(body, schema, "state", strict=True)
    except Unfit as e:
        message = str(e).replace("no such parameter", "no such field")
        raise Unfit("bad_state", message) from None


def check_payload(body: bytes, schema: bytes) -> None:
    """The payload against the task's JSON Schema; raises Unfit with the path of the bad field.

    A keyword that is not looked at here (a pattern could run for ever on somebody's text), and a
    schema that makes no sense or has no end, allow everything: the runner decodes strictly later.
    """
    _check_body(body, schema, "payload")


def _check_body(body: bytes, schema: bytes, what: str, *, strict: bool = False) -> None:
    if not schema:
        return
    try:
        value: Any = msgspec.json.decode(body or b"{}")
        root: dict[str, Any] = msgspec.json.decode(schema, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Unfit("bad_payload", f"{what}: {e}"[:300]) from None
    # Schemas come from whoever deploys: one that is none must not end the intake of all.
    with suppress(_Endless, TypeError, ValueError, KeyError, AttributeError, RecursionError):
        _check(value, root, _Root(root, STEPS + 2 * len(body), strict=strict), what, 0)


class _Endless(Exception):
    """Alternatives that refer to each other: more steps than any payload needs."""


class _Root:
    """The whole schema, for references; how many steps are left; whether it names all there is."""

    __slots__ = ("left", "schema", "strict")

    def __init__(self, schema: dict[str, Any], left: int, *, strict: bool) -> None:
        self.schema, self.left, self.strict = schema, left, strict


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_WORDS = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _fail(path: str, message: str) -> Unfit:
    return Unfit("bad_payload", f"{path}: {message}")


def _check(value: Any, schema: Any, root: _Root, path: str, depth: int) -> None:
    root.left -= 1
    if root.left < 0:
        raise _Endless
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        if schema is False:
            raise _fail(path, "nothing is allowed here")
        return
    rules = cast("dict[str, Any]", schema)
    if isinstance(ref := rules.get("$ref"), str):
        _check(value, _resolve(ref, root.schema), root, path, depth + 1)
        return
    for word in ("anyOf", "oneOf"):
        if isinstance(options := rules.get(word), list):
            _any_of(value, cast("list[Any]", options), root, path, depth)
    if isinstance(allowed := rules.get("enum"), list) and value not in allowed:
        raise _fail(path, f"expected one of {str(cast('list[Any]', allowed))[:200]}")
    if "const" in rules and value != rules["const"]:
        raise _fail(path, f"expected {rules['const']!r}")
    kinds = rules.get("type")
    if kinds is not None:
        names = cast("list[str]", kinds if isinstance(kinds, list) else [kinds])
        if not any(_is(value, kind) for kind in names):
            got = _WORDS.get(cast("type[Any]", type(value)), "?")
            raise _fail(path, f"expected {' or '.join(names)}, got {got}")
    if isinstance(value, dict):
        _object(cast("dict[str, Any]", value), rules, root, path, depth)
    elif isinstance(value, list):
        _array(cast("list[Any]", value), rules, root, path, depth)
    else:
        _limits(value, rules, path)


def _resolve(ref: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in ref.removeprefix("#/").split("/"):
        if not isinstance(node, dict):
            return True
        node = cast("dict[str, Any]", node).get(part.replace("~1", "/").replace("~0", "~"), True)
    return node


def _any_of(value: Any, options: list[Any], root: _Root, path: str, depth: int) -> None:
    first: Unfit | None = None
    for option in options:
        try:
            _check(value, option, root, path, depth + 1)
        except Unfit as e:
            first = first or e
        else:
            return
    if first is not None:
        raise (
            first if len(options) == 1 else _fail(path, f"fits none of the allowed types ({first})")
        )


def _object(
    value: dict[str, Any], rules: dict[str, Any], root: _Root, path: str, depth: int
) -> None:
    known = cast("dict[str, Any]", rules.get("properties") or {})
    missing = [str(k) for k in rules.get("required") or () if k not in value]
    if missing:
        raise _fail(path, f"missing {', '.join(missing)}")
    extra = rules.get("additionalProperties", not (root.strict and known))
    for key, inner in value.items():
        where = f"{path}.{key[:80]}"
        if key in known:
            _check(inner, known[key], root, where, depth + 1)
        elif extra is False:
            names = ", ".join(sorted(known)) or "none"
            raise _fail(where, f"no such parameter (known: {names})")
        else:
            _check(inner, extra, root, where, depth + 1)


def _array(value: list[Any], rules: dict[str, Any], root: _Root, path: str, depth: int) -> None:
    low, high = rules.get("minItems", 0), rules.get("maxItems")
    if len(value) < low or (high is not None and len(value) > high):
        raise _fail(
            path, f"{len(value)} items, expected {low} to {high if high is not None else '...'}"
        )
    first = cast("list[Any]", rules.get("prefixItems") or [])
    rest = rules.get("items", True)
    for i, inner in enumerate(value):
        _check(inner, first[i] if i < len(first) else rest, root, f"{path}[{i}]", depth + 1)


def _limits(value: Any, rules: dict[str, Any], path: str) -> None:
    if isinstance(value, str):
        low, high = rules.get("minLength", 0), rules.get("maxLength")
        if len(value) < low or (high is not None and len(value) > high):
            raise _fail(path, f"{len(value)} characters, expected {low} to {high or '...'}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = rules.get("minimum"), rules.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            raise _fail(path, f"{value} is not between {low} and {high}")
