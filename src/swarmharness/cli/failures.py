"""Turns an exception into one line on standard error and an exit status; it never hides an unexpected one."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback

from swarmharness.cli.streams import output_problem
from swarmharness.errors import ErrorKind, MistakesError, SwarmError, TerminatedError, leaf
from swarmharness.text_bytes import visible

INTERRUPTED = 130
SIGNALLED = 128
"""Plus the number of the signal, as shells have it."""
_BREAKS = re.compile(r"[^\S\r\n]*[\r\n]\s*")
_LOG = logging.getLogger("swarmharness")


def report(error: BaseException) -> int:
    """Print one line about an exception, and return the exit status; with --verbose also the trace."""
    cause = leaf(error)
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(cause, TerminatedError):
        return SIGNALLED + cause.signal_number
    if not isinstance(cause, Exception):
        raise error
    verbose = _LOG.isEnabledFor(logging.DEBUG)
    if verbose:
        traceback.print_exception(error)
    if isinstance(cause, MistakesError) and len(cause.mistakes) > 1:
        print(f"error: {_one_line(cause.where)} has {len(cause.mistakes)} mistakes:", file=sys.stderr)
        for mistake in cause.mistakes:
            print(f"  {_one_line(mistake)}", file=sys.stderr)
        return int(cause.kind)
    if isinstance(cause, SwarmError):
        print(f"error: {_one_line(str(cause))}", file=sys.stderr)
        return int(cause.kind)
    known = _known(cause)
    if known is not None:
        print(f"error: {known[1]}", file=sys.stderr)
        return int(known[0])
    print(f"error: internal error: {type(cause).__name__}: {_one_line(str(cause))}", file=sys.stderr)
    if not verbose:
        print("to see where it arose, run again with --verbose: `swarmharness --verbose …`", file=sys.stderr)
    return int(ErrorKind.INTERNAL)


def _known(cause: Exception) -> tuple[ErrorKind, str] | None:
    """Return the kind and the sentence of what Python raises by itself and is no fault of the program."""
    if isinstance(cause, OSError) and (problem := output_problem(sys.stdout)):
        return ErrorKind.CONFIGURATION, f"the standard output takes nothing: {problem}"
    if isinstance(cause, OSError) and cause.filename is not None:
        return ErrorKind.CONFIGURATION, f"cannot use {os.fsdecode(cause.filename)}: {cause.strerror}"
    if isinstance(cause, MemoryError):
        limits = "a smaller input, or a higher limit (ulimit -v, the container's), helps"
        return ErrorKind.LIMIT, f"this machine has not enough free memory for that: {limits}"
    return None


def _one_line(text: str) -> str:
    """Return a message on one line; what a terminal does not show, such as a file's odd name, in backslashes."""
    return visible(_BREAKS.sub(" ", text.strip()))
