"""The three descriptors that a command is started with: closed ones, full ones, gone readers."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def fill() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed (`>&-`, some supervisors).

    Else the next socket would get that number, and whatever is printed there would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 for good


def let_go(stream: TextIO) -> None:
    """What is still printed there, by Python at its end too, goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def finish() -> OSError | None:
    """Write out what is buffered. Gives what went wrong with stdout, except that nobody reads it.

    Left to Python it would be told as an ignored exception, with exit code 120.
    """
    trouble: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            let_go(stream)
        except OSError as e:
            let_go(stream)
            trouble = e if stream is sys.stdout else trouble
    return trouble
