"""User values to JSON bytes and back: msgspec types, and pydantic models where pydantic is loaded.

Everything that JSON text can hold survives exactly (two surrogates that make a pair become their
character: JSON cannot tell them apart). msgspec refuses or changes a few values: lone
surrogates, integers beyond 64 bits, NaN and infinities. A body with one of these is written as
`{"$headway-json": "<the JSON text>"}`: its text, ASCII only, as one string. Every JSON parser on
the way can carry that, and `decode` opens it again.
"""

from __future__ import annotations

import json
import math
import re
import sys
from hashlib import sha256
from typing import Any, TypeVar, cast, overload

import msgspec

from headway.errors import HeadwayError, NotEncodable, TooLarge
from headway.wire import DEPTH_LIMIT, too_deep

T = TypeVar("T")

_WRAP = b'{"$headway-json":'
_WRAP_KEY = "$headway-json"


class Misfit(HeadwayError):
    """JSON that does not fit the type; the message holds the path of the bad field."""

    code = "misfit"


# --- pydantic, only if the task's own code has loaded it


def _base_model() -> Any:
    module = sys.modules.get("pydantic")
    return None if module is None else getattr(module, "BaseModel", None)


def is_model(kind: Any) -> bool:
    """True for a pydantic v2 model class."""
    base = _base_model()
    return base is not None and isinstance(kind, type) and issubclass(kind, base)


def _enc_hook(value: Any) -> Any:
    base = _base_model()
    if base is not None and isinstance(value, base):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"objects of type {type(value).__qualname__} are not supported")


def _plain_hook(value: Any) -> Any:
    base = _base_model()
    if base is not None and isinstance(value, base):
        # mode="json" refuses lone surrogates; to_builtins turns the rest into JSON types.
        return value.model_dump(mode="python")
    raise NotImplementedError(f"objects of type {type(value).__qualname__} are not supported")


def _dec_hook(kind: type, value: Any) -> Any:
    if is_model(kind):
        return cast("Any", kind).model_validate(value)
    raise NotImplementedError(f"type {kind!r} is not supported")


def _schema_hook(kind: type) -> dict[str, Any]:
    if is_model(kind):
        return cast("dict[str, Any]", cast("Any", kind).model_json_schema())
    raise NotImplementedError(f"type {kind!r} is not supported")


# --- encode

_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: Any, what: str = "the value", limit: int | None = None) -> bytes:
    """The value as JSON bytes.

    Raises NotEncodable (the type cannot be written as JSON) or TooLarge (over `limit` bytes); both
    name `what`.
    """
    try:
        body = _encoder.encode(value)
        if body.startswith(_WRAP) or (b"null" in body and _not_finite(_plain(value))):
            body = _wrapped(value)
    except (UnicodeEncodeError, OverflowError):
        body = _wrapped_or_refused(value, what)
    except (TypeError, ValueError, NotImplementedError, RecursionError, msgspec.MsgspecError) as e:
        if "surrogate" not in str(e):
            raise NotEncodable(f"{what} cannot be written as JSON: {e}") from None
        body = _wrapped_or_refused(value, what)
    if limit is not None and len(body) > limit:
        raise TooLarge(what, len(body), limit)
    if too_deep(body):
        raise NotEncodable(f"{what} is nested deeper than {DEPTH_LIMIT} levels")
    return body


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_hook)


def _wrapped(value: Any) -> bytes:
    text = json.dumps(_plain(value), separators=(",", ":"))
    return _encoder.encode({_WRAP_KEY: text})


def _wrapped_or_refused(value: Any, what: str) -> bytes:
    try:
        return _wrapped(value)
    except (TypeError, ValueError, NotImplementedError, RecursionError, OverflowError) as e:
        raise NotEncodable(f"{what} cannot be written as JSON: {e}") from None


def _not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_not_finite, cast("dict[str, Any]", value).values()))
    if isinstance(value, (list, tuple)):
        return any(map(_not_finite, cast("list[Any]", value)))
    return False


# --- decode

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    try:
        found = _decoders.get(kind)
    except TypeError:  # not hashable: Annotated[int, [..]]
        return msgspec.json.Decoder(kind, dec_hook=_dec_hook)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind, dec_hook=_dec_hook)
    return found


Body = bytes | bytearray | memoryview | msgspec.Raw


@overload
def decode(kind: type[T], body: Body) -> T: ...
@overload
def decode(kind: Any, body: Body) -> Any: ...
def decode(kind: Any, body: Body) -> Any:
    """JSON bytes as a value of the type (`Any` works too); raises Misfit with the field's path."""
    raw = bytes(body)
    try:
        if raw.startswith(_WRAP):
            return convert(opened(raw), kind)
        return _decoder(kind).decode(raw)
    except msgspec.ValidationError as e:
        raise Misfit(str(e)) from None
    except msgspec.DecodeError as e:
        # A foreign writer may have left what msgspec refuses, a lone surrogate above all.
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            raise Misfit(f"not JSON: {e}") from None
        return convert(value, kind)
    except (UnicodeDecodeError, RecursionError) as e:
        raise Misfit(f"not JSON that can be read: {e}") from None


def convert(value: Any, kind: Any) -> Any:
    """JSON types (dict, list, str ...) as a value of the type; raises Misfit."""
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=_dec_hook)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as e:
        # A lone surrogate fits no type that is read from text, a time above all.
        raise Misfit(str(e)) from None


def opened(body: bytes) -> Any:
    """The JSON value in a body, whether wrapped or not; raises Misfit if it is not JSON."""
    try:
        value: Any = json.loads(body)
        if isinstance(value, dict):
            whole = cast("dict[str, Any]", value)
            inner = whole.get(_WRAP_KEY)
            if isinstance(inner, str) and len(whole) == 1:
                return json.loads(inner)
            return whole
        return value
    except (ValueError, RecursionError) as e:
        raise Misfit(f"not JSON: {e}") from None


def decode_strictly(kind: Any, body: bytes) -> Any:
    """As `decode`, but a field that the type does not know is a Misfit too.

    For bodies written under another schema: without this a renamed field would be dropped and its
    new name silently get its default.
    """
    value = decode(kind, body)
    lost = _lost("$", opened(body), _plain(value))
    if lost:
        raise Misfit(f"the type has no place for `{lost}`")
    return value


def _lost(path: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        rebuilt = cast("dict[str, Any]", after)
        for key, inner in cast("dict[str, Any]", before).items():
            if key not in rebuilt:
                return f"{path}.{key}"
            if found := _lost(f"{path}.{key}", inner, rebuilt[key]):
                return found
    elif isinstance(before, list) and isinstance(after, (list, tuple)):
        pairs = zip(cast("list[Any]", before), cast("list[Any]", after), strict=False)
        for i, (one, other) in enumerate(pairs):
            if found := _lost(f"{path}[{i}]", one, other):
                return found
    return ""


# --- schemas and hashes

_hashes: dict[Any, str] = {}


def schema_of(kind: Any) -> bytes:
    """The type's JSON Schema as canonical bytes; raises NotEncodable for a type with none."""
    try:
        schema = msgspec.json.schema(kind, schema_hook=_schema_hook)
    except (TypeError, NotImplementedError, RecursionError) as e:
        raise NotEncodable(f"{kind!r} has no JSON form: {e}") from None
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), default=str).encode()


def schema_hash(kind: Any) -> str:
    """16 hex digits of the SHA-256 of the type's canonical JSON Schema."""
    try:
        found = _hashes.get(kind)
    except TypeError:
        return sha256(schema_of(kind)).hexdigest()[:16]
    if found is None:
        found = _hashes[kind] = sha256(schema_of(kind)).hexdigest()[:16]
    return found


def payload_hash(raw: bytes) -> str:
    """SHA-256 (hex) of the canonical form of JSON: keys sorted, no spaces, no needless escapes.

    Two texts of the same value give the same hash. What is not JSON is hashed as it stands.
    """
    try:
        body = _plain_form(raw) or _canonical(raw)
    except (Misfit, ValueError, RecursionError):
        body = bytes(raw)
    return sha256(body).hexdigest()


def _canonical(raw: bytes) -> bytes:
    return json.dumps(opened(raw), sort_keys=True, separators=(",", ":")).encode()


# Fractions, exponents, escapes and long numbers, which the two libraries write differently; and
# wrapped bodies.
_NOT_PLAIN = re.compile(rb"[.\\]|[0-9][eE]|[0-9]{16}|" + re.escape(_WRAP_KEY.encode()))
_sorted = msgspec.json.Encoder(order="sorted")


def _plain_form(raw: bytes) -> bytes:
    """The canonical form of JSON that holds nothing special, five times as fast; else empty."""
    if not raw.isascii() or _NOT_PLAIN.search(raw):
        return b""
    try:
        return _sorted.encode(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, RecursionError):
        return b""
