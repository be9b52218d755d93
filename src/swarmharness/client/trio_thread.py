"""Keeps one connection open in a trio loop in a thread of its own, for programs without trio; it knows no skill or job.

Ctrl-C never reaches that thread: it interrupts the caller, who then cancels what it waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

import trio

from swarmharness.errors import SwarmError, UnavailableError, leaf

CLOSE_TIMEOUT_S = 10.0

C = TypeVar("C")
T = TypeVar("T")


class TrioThread(Generic[C]):
    """`connection()` is entered in the thread when this object is made, and left by `close`.

    Making it raises whatever entering raises. Any number of threads may call it.
    """

    def __init__(self, connection: Callable[[], AbstractAsyncContextManager[C]]) -> None:
        self._connection = connection
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._lock = threading.Lock()
        self._waiting: set[SimpleQueue[BaseException | None]] = set()
        """One queue for each call under way: its end is put there."""
        self._ended = False
        self._unwanted = False
        started: SimpleQueue[C | BaseException] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(started,), name="swarmharness", daemon=True)
        self._thread.start()
        try:
            opened = started.get()
        except BaseException:  # Ctrl-C while it connects
            self._unwanted = True
            self.soon(self._scope.cancel)
            raise
        if isinstance(opened, BaseException):
            self._thread.join()
            raise opened
        self.connection: C = opened

    def call(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run an async function in the thread and return what it returns; an interruption here cancels it there."""
        if threading.current_thread() is self._thread:
            raise SwarmError("a callback of the swarm cannot wait for the swarm: use swarmharness.connect there")
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        values: list[T] = []
        scope = trio.CancelScope()

        async def run() -> None:
            end: BaseException = _closed()
            try:
                with scope:
                    values.append(await function(*arguments))
            except Exception as error:
                end = error
            finally:
                ended.put(None if values else end)

        with self._lock:
            if self._ended:
                raise _closed()
            self._waiting.add(ended)
        self.soon(self._start, run)
        try:
            failure = ended.get()
        except BaseException:
            self.soon(scope.cancel)
            raise
        finally:
            with self._lock:
                self._waiting.discard(ended)
        if failure is not None:
            raise failure
        return values[0]

    def soon(self, function: Callable[..., object], *arguments: object, idempotent: bool = False) -> None:
        """Have the thread call a function; nothing happens if it ended meanwhile."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function, *arguments, idempotent=idempotent)

    def close(self) -> None:
        """Leave the connection and wait until the thread ended; calls under way raise UnavailableError."""
        self.soon(self._scope.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _start(self, run: Callable[[], Awaitable[None]]) -> None:
        if self._nursery is not None:  # else the end is near, and wakes whoever waits
            self._nursery.start_soon(run)

    def _run(self, started: SimpleQueue[C | BaseException]) -> None:
        try:
            trio.run(self._serve, started)
        except BaseException as error:
            started.put(leaf(error))  # nobody looks there if it happened later; then `_waiting` is told
        finally:
            started.put(_closed())
            with self._lock:
                self._ended = True
                for ended in self._waiting:
                    ended.put(_closed())

    async def _serve(self, started: SimpleQueue[C | BaseException]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            if self._unwanted:
                return
            async with self._connection() as connection, trio.open_nursery() as nursery:
                self._nursery = nursery
                started.put(connection)
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery = None


def _closed() -> UnavailableError:
    return UnavailableError("this connection is closed: open another with swarmharness.connect_sync")
