"""Carries one job on a node: items in, answers out, cancelled when it is given up; it never looks into either.

It lives in the trio task that calls `run`. `offer`, `end_input` and `answers` may be used from one other thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import trio

from swarmharness.client.records import Progress, progress_of
from swarmharness.errors import (
    ConfigurationError,
    SwarmError,
    UnavailableError,
    error_from_kind,
)
from swarmharness.execution.ports import Item
from swarmharness.execution.skill import Kind
from swarmharness.node.control import Control, NodeLostError

FEED_ITEMS = 1024
FEED_BYTES = 4 * 2**20
OPEN_TIMEOUT_S = 20.0
POLL_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 2.0
FEED_TIMEOUT_S = 30 * 86_400.0
"""The node takes its time when it holds enough; the job's own deadline bounds the wait."""


class JobRun:
    """One job. Whatever becomes of it is in `over` and `failure`; `run` raises nothing of ours."""

    def __init__(self, control: Control, params: Mapping[str, Any], slots: trio.Semaphore) -> None:
        self._control = control
        self._params = dict(params)
        self._slots = slots
        self._unsent: deque[Item] = deque()
        self._input_ended = False
        self._refusal: SwarmError | None = None
        self._held: dict[str, Any] = {}
        """What names the job, and this program as its only reader, in every call."""
        self._scope = trio.CancelScope()
        self._changed = trio.Event()
        self.answers: deque[Mapping[str, Any]] = deque()
        """What the node answered and nobody took yet, in the order of the items."""
        self.kind: Kind | None = None
        """What kind of items the skill takes, once the job is open."""
        self.progress = Progress(0, 0, {}, 0)
        self.over: SwarmError | None = None
        """Once the node gives no more answers: what it would say about an item that has none."""
        self.failure: SwarmError | None = None
        """Why the job could not be opened, or was lost."""

    # -- any thread -------------------------------------------------------------------------------------------

    def offer(self, item: Item) -> None:
        """Queue an item, or why it cannot be used; call `wake` afterwards, in trio's thread."""
        if self.over is None:
            self._unsent.append(item)

    def end_input(self) -> None:
        """Say that no further item comes; call `wake` afterwards, in trio's thread."""
        self._input_ended = True

    # -- trio's thread ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have every waiter look again."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def give_up(self) -> None:
        """End the job, on the node too; nothing happens if it ended already."""
        self._scope.cancel()

    async def changed(self) -> None:
        """Wait until something else is known."""
        await self._changed.wait()

    async def opened(self) -> Kind:
        """Wait until the job is open, and return its kind; raises the error that kept it from opening."""
        while self.kind is None:
            if self.failure is not None:
                raise self.failure
            await self.changed()
        return self.kind

    async def answered(self) -> None:
        """Wait until an answer is there or no more can come; raises the error that the job was lost by."""
        while not self.answers and self.over is None:
            if self.failure is not None:
                raise self.failure
            await self.changed()

    async def run(self) -> None:
        """Work until every answer was taken over or the job was given up."""
        failure: SwarmError = UnavailableError("the job was given up: its stream or its connection was closed")
        try:
            with self._scope:
                async with self._slots:
                    await self._work()
        except SwarmError as error:
            failure = error
        finally:
            if self.over is None:
                self.failure = failure
            self.wake()

    async def _work(self) -> None:
        # Given up in the middle, the job would be left to the node, which has just begun it.
        with trio.CancelScope(shield=True):
            opened = await self._control.call("job.open", self._params, OPEN_TIMEOUT_S)
        self._held = {"job": opened["job"], "reader": opened["reader"]}
        lost: SwarmError | None = None
        try:
            self.kind = _kind(opened["kind"])
            self.wake()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed)
                try:
                    await self._take()
                except SwarmError as error:  # kept, because it would leave the nursery inside a group
                    lost = error.naming(opened["job"]) if isinstance(error, NodeLostError) else error
                nursery.cancel_scope.cancel()  # a job can end before its input does, at its deadline
        finally:
            if self.over is None:
                await self._cancel()
        if lost is not None:
            raise lost

    async def _cancel(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT_S):
            with suppress(SwarmError):  # what went wrong before says more
                await self._control.call("job.cancel", self._held, CANCEL_TIMEOUT_S)

    async def _feed(self) -> None:
        last = False
        while not last:
            while not self._unsent and not self._input_ended:
                await self.changed()
            ended = self._input_ended  # looked at first: whatever was offered before it ended is then in the queue
            batch = self._next_batch()
            last = ended and not self._unsent
            if self._refusal is not None:
                continue  # answers are told apart by their order alone, so nothing may follow what was refused
            try:
                await self._send(batch, last=last)
            except SwarmError as error:
                self._refusal = error
                with suppress(SwarmError):  # then the job is over already
                    await self._send([], last=True)

    async def _send(self, batch: list[Item], *, last: bool) -> None:
        await self._control.call("job.feed", {**self._held, "items": batch, "last": last}, FEED_TIMEOUT_S)

    def _next_batch(self) -> list[Item]:
        batch: list[Item] = []
        size_bytes = 0
        while self._unsent and len(batch) < FEED_ITEMS and size_bytes < FEED_BYTES:
            item = self._unsent.popleft()
            batch.append(item)
            size_bytes += len(item)
        return batch

    async def _take(self) -> None:
        done = False
        while not done:
            answer = await self._control.call("job.results", self._held, POLL_TIMEOUT_S)
            results, done = answer["results"], answer["done"]
            self.progress = progress_of(answer["progress"])
            self.answers.extend(results)
            if results:
                self.wake()
        if answer["reason_kind"] is not None:
            # Inputs that come after the end are refused because of it, so the job's own reason says more.
            self.over = error_from_kind(answer["reason_kind"], answer["reason"])
        else:
            self.over = self._refusal or SwarmError("the job ended before its input did")
        self.wake()


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        raise ConfigurationError(f"this program's swarmharness is too old for the kind {name!r}: upgrade") from None
