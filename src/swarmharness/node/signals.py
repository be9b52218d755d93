"""Runs an async function so that a signal to end stops it in order, and tells which one it was; not for Ctrl-C.

A node that is told to end takes leave of its peers, a job of its node. `nohup` has SIGHUP ignored, and it stays so.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from swarmharness.errors import TerminatedError

T = TypeVar("T")


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals, other than Ctrl-C's, by which this process is told to end."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM,) if ignored else (signal.SIGTERM, signal.SIGHUP)


def run_until_told(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end; a signal to end cancels it, and once it has stopped raises TerminatedError."""
    told: list[int] = []
    results: list[T] = []

    async def run() -> None:
        with trio.open_signal_receiver(*ending_signals()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_on, signals, nursery.cancel_scope, told)
                results.append(await function())
                nursery.cancel_scope.cancel()

    trio.run(run)
    if told:
        raise TerminatedError(told[0])
    return results[0]


async def _cancel_on(signals: AsyncIterator[int], scope: trio.CancelScope, told: list[int]) -> None:
    async for number in signals:
        told.append(number)
        scope.cancel()
