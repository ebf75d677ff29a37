r"""Texts of a user (paths above all) inside configuration files that we write; pure.

JSON's way of writing a string is nearly that of nats-server and of TOML. What differs: nats-server
knows no `\u....`, TOML no surrogate pairs, so everything that needs no escape stays as it is, and
files are written in UTF-8.
"""

from __future__ import annotations

import json

from headway_ops.say import Exit, Fail

_NATS = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def for_nats(value: str) -> str:
    """A string in a nats.conf. Raises Fail where the text is not UTF-8."""
    return '"' + "".join(_NATS.get(c) or _control(c) for c in _utf8(value)) + '"'


def for_toml(value: object) -> str:
    """A string, number, truth or list of them in TOML. Raises Fail where a text is not UTF-8."""
    return _utf8(json.dumps(value, ensure_ascii=False)).replace("\x7f", "\\u007f")


def _control(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 0x20 or c == "\x7f" else c


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        shown = value.encode("utf-8", "backslashreplace").decode()
        raise Fail(
            f"{shown[:300]}: not UTF-8, so it cannot stand in a settings file",
            "choose a name in UTF-8",
            Exit.USAGE,
        ) from None
    return value
