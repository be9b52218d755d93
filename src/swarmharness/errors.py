"""Defines every exception that this package raises on purpose, and the exit status of each; it never prints."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarmharness.client.records import Result


class ErrorKind(IntEnum):
    """What went wrong, as one vocabulary for exit statuses and for ERROR frames between peers."""

    INTERNAL = 1
    CONFIGURATION = 2
    INPUT = 3
    UNAVAILABLE = 4
    REFUSED = 5
    DEADLINE = 6
    PARTIAL = 7
    LIMIT = 8


class SwarmError(Exception):
    """The root of the tree. Its message is one line: what happened, and what the reader can do about it."""

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    public = ""
    """What another node is told of this error; see `public_text`."""

    def for_peers(self, text: str = "") -> Self:
        """Return this error, which tells other nodes `text`, or its message: neither has a path or quotes a library."""
        self.public = text or str(self)
        return self


class ConfigurationError(SwarmError):
    """A flag, a configuration key or the environment is wrong; the message names it and the allowed values."""

    kind = ErrorKind.CONFIGURATION


class InputError(SwarmError):
    """The caller's data cannot be processed: a bad image, tensor, model, skill manifest or file."""

    kind = ErrorKind.INPUT


class MistakesError(InputError):
    """What a person wrote has mistakes: all that were found, each with the place where it is."""

    def __init__(self, where: str, mistakes: Sequence[str] = ()) -> None:
        count = f"{len(mistakes)} mistakes: " if len(mistakes) > 1 else ""
        super().__init__(f"{where}: {count}{'; '.join(mistakes)}" if mistakes else where)
        self.where = where
        self.mistakes = tuple(mistakes)


class InputChangedError(InputError):
    """A job's input is not what it was when the job first read it; `index` is the first item that differs."""

    def __init__(self, message: str, index: int = -1) -> None:
        super().__init__(message)
        self.index = index


class DamagedFileError(InputError):
    """A file that this node keeps is damaged; the message names it and says what to do about it."""


class UnavailableError(SwarmError):
    """There is no node, peer or skill to do this; trying again later or elsewhere may help."""

    kind = ErrorKind.UNAVAILABLE


class RefusedError(SwarmError):
    """A peer, or this node, declined on purpose: not allowed, overloaded, or out of credit."""

    kind = ErrorKind.REFUSED


class NoCheckerError(UnavailableError):
    """Results are to be checked, and there is no second node that could: the job cannot go on."""


class BudgetError(RefusedError):
    """What a job may spend does not reach for another task."""


class DeadlineError(SwarmError):
    """The deadline passed before the answer came."""

    kind = ErrorKind.DEADLINE


class PartialResultError(SwarmError):
    """Some items were answered and kept, others were not; the message counts both."""

    kind = ErrorKind.PARTIAL

    def __init__(self, message: str, results: Sequence[Result] = ()) -> None:
        super().__init__(message)
        self.results = results
        """From the Python API: every result that there is, in input order, those with an error included."""


class ProtocolError(SwarmError):
    """The other side sent bytes that are not a valid message; nothing was changed because of them."""


class PeerLostError(UnavailableError):
    """The connection to a peer ended while a call was under way, or could not be made."""


class ModelFailureError(SwarmError):
    """A model crashed, or its worker process exceeded a limit, while it ran the caller's items."""

    kind = ErrorKind.LIMIT


class TerminatedError(BaseException):
    """A signal told the program to end, and what it was at was stopped in order; no part of the tree, like Ctrl-C."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"ended by signal {signal_number}")
        self.signal_number = signal_number


def leaf(error: BaseException) -> BaseException:
    """Return what an exception group is really about: an interruption, else one of ours, else its first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [leaf(inner) for inner in error.exceptions]
    for wanted in (KeyboardInterrupt, SwarmError):
        for found in leaves:
            if isinstance(found, wanted):
                return found
    return leaves[0]


def cause_text(error: BaseException) -> str:
    """Return what an exception, or what a group of them is really about, says; its type if it says nothing."""
    cause = leaf(error)
    return str(cause) or type(cause).__name__


def public_text(error: SwarmError) -> str:
    """Return what another node is told: vetted words only, since messages name paths and quote libraries.

    Refusals, protocol errors and deadlines are written for whoever asked. All others say so with `for_peers`, or only
    their kind is told.
    """
    if error.public:
        return error.public
    if isinstance(error, (RefusedError, ProtocolError, DeadlineError)):
        return str(error)
    return _PUBLIC[error.kind]


_PUBLIC = {
    ErrorKind.INTERNAL: "that node failed: its log says why",
    ErrorKind.CONFIGURATION: "that node is not set up for this: its log says why",
    ErrorKind.INPUT: "that node cannot use what it was sent: its log says why",
    ErrorKind.UNAVAILABLE: "that node cannot do this now: its log says why",
    ErrorKind.REFUSED: "that node refused",
    ErrorKind.DEADLINE: "that node took too long",
    ErrorKind.PARTIAL: "that node did only a part of it",
    ErrorKind.LIMIT: "the model failed on that node or exceeded a limit: its log says why",
}


def error_from_kind(kind: int, message: str) -> SwarmError:
    """Rebuild the exception that a peer reported as (kind, message); an unknown kind is an internal error."""
    return _BY_KIND.get(kind, SwarmError)(message)


_BY_KIND: dict[int, type[SwarmError]] = {
    cls.kind: cls
    for cls in (
        SwarmError,
        ConfigurationError,
        InputError,
        UnavailableError,
        RefusedError,
        DeadlineError,
        PartialResultError,
        ModelFailureError,
    )
}
