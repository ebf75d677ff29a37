"""What a check expects of a fork: a small expression over two runs, evaluated without `eval`.

Bare names speak of the fork (`status == 'succeeded'`), `fork.x` and `original.x` of either.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.replays.runs import RunView

NAMES = ("status", "error_class", "error", "duration", "checkpoints", "attempts", "cost_usd",
         "task", "queue", "version")  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_MATH: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


class BadExpectation(HeadwayError):
    """An expectation cannot be read."""

    code = "bad_request"


class Unknown(Exception):
    """A value that the expectation needs is not known of one of the runs."""


def check_expression(text: str) -> None:
    """Raise BadExpectation, with the column, unless `holds` can evaluate it."""
    _parsed(text)


def holds(text: str, original: RunView, fork: RunView) -> bool:
    """True if it is as expected. Raises Unknown, BadExpectation."""
    try:
        return bool(_value(_parsed(text), original, fork))
    except (TypeError, ZeroDivisionError) as e:
        raise Unknown(str(e)) from None


def _parsed(text: str) -> ast.expr:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as e:
        raise BadExpectation(f"expect {text!r}: {getattr(e, 'msg', None) or e}") from None
    for node in ast.walk(tree):
        _allowed(node, text)
    return tree


def _allowed(node: ast.AST, text: str) -> None:
    match node:
        case ast.Name(id=name):
            if name in ("original", "fork", *NAMES):
                return
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            if owner in ("original", "fork") and name in NAMES:
                return
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return
        case (
            ast.BoolOp() | ast.UnaryOp() | ast.Compare() | ast.BinOp() | ast.Tuple() | ast.List()
            | ast.boolop() | ast.unaryop() | ast.cmpop() | ast.operator() | ast.Load()
        ):  # fmt: skip
            bad = isinstance(node, ast.operator) and type(node) not in _MATH
            if not bad and not (isinstance(node, ast.cmpop) and type(node) not in _COMPARE):
                return
        case _:
            pass
    column = getattr(node, "col_offset", -1) + 1
    where = f" (at column {column})" if column else ""
    raise BadExpectation(
        f"expect {text!r}{where}: expected comparisons of {', '.join(NAMES)} of the fork, or of"
        " original.NAME"
    )


def _value(node: ast.expr, original: RunView, fork: RunView) -> Any:
    def get(run: RunView, name: str) -> Any:
        value = getattr(run, name)
        if value is None:
            raise Unknown(f"{name} of run {run.id} is not known")
        return value

    def of(one: ast.expr) -> Any:
        return _value(one, original, fork)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in NAMES:
            return get(fork, name)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return get(original if owner == "original" else fork, name)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [of(p) for p in parts]
        case ast.BoolOp(op=op, values=parts):
            return (
                any(of(p) for p in parts) if isinstance(op, ast.Or) else all(of(p) for p in parts)
            )
        case ast.UnaryOp(op=op, operand=one):
            value = of(one)
            return not value if isinstance(op, ast.Not) else -value
        case ast.BinOp(left=left, op=op, right=right):
            return _MATH[type(op)](of(left), of(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [of(left), *(of(o) for o in others)]
            return all(
                _COMPARE[type(op)](a, b) for op, a, b in zip(ops, values, values[1:], strict=False)
            )
        case _:
            raise BadExpectation(f"expected a value, not {ast.unparse(node)!r}")
