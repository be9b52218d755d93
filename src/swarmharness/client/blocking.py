"""The API for programs without trio: the same methods as `Swarm`, which return when they are done."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from swarmharness.client.connecting import connect
from swarmharness.client.job_run import JobRun
from swarmharness.client.matching import InputWindow, named
from swarmharness.client.records import Credit, OnError, Peer, Result
from swarmharness.client.swarm import (
    MAP_WINDOW_ITEMS,
    WINDOW_ITEMS,
    Swarm,
    Verify,
    check_on_error,
    checked,
    job_params,
    lost_on_the_way,
)
from swarmharness.client.trio_thread import TrioThread
from swarmharness.errors import ConfigurationError, SwarmError

if TYPE_CHECKING:
    from swarmharness.client.values import Input


def connect_sync(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    join: str | Sequence[str] = (),
    config: str | os.PathLike[str] | None = None,
) -> SyncSwarm:
    """Return a swarm for a script, a notebook or a thread; the arguments and errors are those of `connect`.

    Use it in a `with` block, or call `close` at the end, which cancels what is still under way.
    """
    return SyncSwarm(TrioThread(functools.partial(connect, data_dir=data_dir, join=join, config=config)))


class SyncSwarm:
    """A connection to a swarm whose methods wait for their answers; `swarmharness.connect_sync` makes one.

    Several threads may use it at once, but each iterator of `stream` only in one. Ctrl-C during a call cancels the job.
    """

    def __init__(self, thread: TrioThread[Swarm]) -> None:
        self._thread = thread
        self._swarm = thread.connection
        self.close = weakref.finalize(self, thread.close)
        """Cancel what is under way and end the connection; also done when the object is dropped, and at exit."""

    def __enter__(self) -> SyncSwarm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        skill: str,
        input: Input,
        *,
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Result:
        """See `Swarm.submit`."""

        async def ask() -> Result:
            return await self._swarm.submit(
                skill,
                input,
                deadline_s=deadline_s,
                budget_microcredits=budget_microcredits,
                verify=verify,
                replicas=replicas,
                parameters=parameters,
            )

        return self._thread.call(ask)

    def map(
        self,
        skill: str,
        inputs: Iterable[Input],
        *,
        on_error: OnError = "raise",
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """See `Swarm.map`."""
        check_on_error(on_error)
        params = job_params(skill, deadline_s, budget_microcredits, verify, replicas, parameters)
        results: list[Result] = []
        try:
            results.extend(self._stream(params, inputs, MAP_WINDOW_ITEMS, "return"))
        except SwarmError as error:
            raise lost_on_the_way(error, results) from error
        return checked(results, on_error)

    def stream(
        self,
        skill: str,
        inputs: Iterable[Input],
        *,
        on_error: OnError = "raise",
        window: int = WINDOW_ITEMS,
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Iterator[Result]:
        """See `Swarm.stream`. `inputs` is read in the thread of the caller, while it asks for results."""
        check_on_error(on_error)
        if window < 1:
            raise ConfigurationError(f"window={window}: at least 1 input must be on its way")
        return self._stream(
            job_params(skill, deadline_s, budget_microcredits, verify, replicas, parameters), inputs, window, on_error
        )

    def peers(self) -> list[Peer]:
        """See `Swarm.peers`."""
        return self._thread.call(self._swarm.peers)

    def credit(self, peer: str | None = None) -> Credit:
        """See `Swarm.credit`."""
        return self._thread.call(self._swarm.credit, peer)

    def _stream(
        self, params: dict[str, object], inputs: Iterable[Input], window_items: int, on_error: OnError
    ) -> Iterator[Result]:
        run = self._thread.call(_open, self._swarm, params)
        try:
            assert run.kind is not None
            window = InputWindow(run.kind, window_items)
            values = iter(inputs)
            while not window.done:
                if not window.full and not window.input_ended:
                    self._read_one(values, window, run)
                result = window.result(run.answers, run.over)
                if result is not None:
                    if result.error is not None and on_error == "raise":
                        raise named(result) from result.error
                    yield result
                elif run.failure is not None:
                    raise run.failure
                elif window.full or (window.input_ended and not window.done):
                    self._thread.call(run.answered)
            if window.input_failure is not None:
                raise window.input_failure
        finally:
            self._thread.soon(run.give_up)

    def _read_one(self, values: Iterator[Input], window: InputWindow, run: JobRun) -> None:
        try:
            value = next(values)
        except StopIteration:
            window.end()
            run.end_input()
        except Exception as error:
            window.end(error)
            run.end_input()
        else:
            run.offer(window.take(value))
        self._thread.soon(run.wake, idempotent=True)


async def _open(swarm: Swarm, params: dict[str, object]) -> JobRun:
    """Start a job and wait until it takes items."""
    run = swarm.start_run(params)
    try:
        await run.opened()
    except BaseException:
        run.give_up()
        raise
    return run
