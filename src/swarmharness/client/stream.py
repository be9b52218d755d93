"""The results of one job as an asynchronous iterator; it reads no input beyond its window."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from swarmharness.client.job_run import JobRun
from swarmharness.client.matching import InputWindow, named
from swarmharness.client.records import OnError, Progress, Result

if TYPE_CHECKING:
    from swarmharness.client.values import Input, Inputs

CLOSE_TIMEOUT_S = 2.0
STINT_S = 0.002
"""How long a plain iterable is read before others have their turn."""


class ResultStream(AsyncIterator[Result]):
    """`async for result in stream`. It opens its job when it is first asked, and cancels it when it is closed.

    It is closed by `aclose`, by leaving it as a context manager, at its end, after an error, and when it is dropped.
    Each `__anext__` raises what the program's own iterable raised, once all inputs before have had their results.
    """

    def __init__(
        self,
        run: JobRun,
        inputs: Inputs,
        nursery: trio.Nursery,
        token: trio.lowlevel.TrioToken,
        *,
        window_items: int,
        on_error: OnError,
    ) -> None:
        self._run = run
        self._inputs = inputs
        self._nursery = nursery
        self._token = token
        self._window_items = window_items
        self._on_error = on_error
        self._window: InputWindow | None = None
        self._reading = trio.CancelScope()
        self._finished = False

    @property
    def progress(self) -> Progress:
        """Where the job stands, by the node's last word."""
        return self._run.progress

    def __aiter__(self) -> ResultStream:
        return self

    async def __anext__(self) -> Result:
        if self._finished:
            raise StopAsyncIteration
        try:
            result = await self._next()
        except BaseException:
            self._finish()
            raise
        if result is None:
            self._finish()
            raise StopAsyncIteration
        if result.error is not None and self._on_error == "raise":
            self._finish()
            raise named(result) from result.error
        return result

    async def aclose(self) -> None:
        """Cancel what is left of the job."""
        self._finish()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> ResultStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()

    def __del__(self) -> None:
        if not self._finished:
            with suppress(trio.RunFinishedError):  # the collector may run in any thread, and at any time
                self._token.run_sync_soon(_give_up, self._run, self._reading)

    def _finish(self) -> None:
        self._finished = True
        _give_up(self._run, self._reading)

    async def _next(self) -> Result | None:
        """Return the next result; None at the end."""
        await trio.lowlevel.checkpoint()
        if self._window is None:
            self._window = await self._open()
        window, run = self._window, self._run
        while not window.done:
            was_roomy = window.roomy
            result = window.result(run.answers, run.over)
            if result is not None:
                if window.roomy and not was_roomy:
                    run.wake()
                return result
            if run.failure is not None:
                raise run.failure
            await run.changed()
        if window.input_failure is not None:
            raise window.input_failure
        return None

    async def _open(self) -> InputWindow:
        self._nursery.start_soon(self._run.run)
        window = InputWindow(await self._run.opened(), self._window_items)
        # The reader does not hold this object, or nobody would ever find it dropped.
        self._nursery.start_soon(_read, self._inputs, window, self._run, self._reading)
        return window


def _give_up(run: JobRun, reading: trio.CancelScope) -> None:
    reading.cancel()
    run.give_up()


async def _read(inputs: Inputs, window: InputWindow, run: JobRun, reading: trio.CancelScope) -> None:
    """Read inputs while the window has room, to their end; what the iterable raises is kept for its turn."""
    failure: Exception | None = None
    with reading:
        try:
            if isinstance(inputs, AsyncIterable):
                await _read_async(inputs, window, run)
            else:
                await _read_sync(inputs, window, run)
        except Exception as error:
            failure = error
    window.end(failure)
    run.end_input()
    run.wake()


async def _read_sync(inputs: Iterable[Input], window: InputWindow, run: JobRun) -> None:
    paused_at = trio.current_time()
    for value in inputs:
        _offer(value, window, run)
        if trio.current_time() - paused_at > STINT_S:
            await trio.lowlevel.checkpoint()
            paused_at = trio.current_time()
        if window.full:
            await _room(window, run)


async def _read_async(inputs: AsyncIterable[Input], window: InputWindow, run: JobRun) -> None:
    try:
        async for value in inputs:
            _offer(value, window, run)
            if window.full:
                await _room(window, run)
    finally:
        if isinstance(inputs, AsyncGenerator):  # in the task that ran it, as trio wants it
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
                await inputs.aclose()


async def _room(window: InputWindow, run: JobRun) -> None:
    while not window.roomy:
        await run.changed()
    await trio.lowlevel.checkpoint_if_cancelled()  # the result that made room may be the one after which it was left


def _offer(value: Input, window: InputWindow, run: JobRun) -> None:
    run.offer(window.take(value))
    run.wake()
