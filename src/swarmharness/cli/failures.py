"""Turns an exception into one line on standard error and an exit status; it never hides an unexpected one."""

from __future__ import annotations

import logging
import sys
import traceback

from swarmharness.errors import ErrorKind, MistakesError, SwarmError, leaf

INTERRUPTED = 130
_LOG = logging.getLogger("swarmharness")


def report(error: BaseException) -> int:
    """Print one line about an exception, and return the exit status; with --verbose also the trace."""
    cause = leaf(error)
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
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
    print(f"error: internal error: {type(cause).__name__}: {_one_line(str(cause))}", file=sys.stderr)
    if not verbose:
        print("to see where it arose, run again with --verbose: `swarmharness --verbose …`", file=sys.stderr)
    return int(ErrorKind.INTERNAL)


def _one_line(text: str) -> str:
    return " ".join(text.split())
