"""Keeps the calls that wait for one skill: who may join, what makes the next batch, whose output is whose; no I/O."""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from swarmharness.errors import InputError, RefusedError, SwarmError
from swarmharness.execution.batching import Waiting, admits, fill, share_us
from swarmharness.execution.items import ITEM_BYTES_MAX
from swarmharness.execution.ports import ItemOutput, Priority
from swarmharness.execution.skill import SkillManifest
from swarmharness.execution.worker_messages import BATCH_BYTES_MAX


@dataclass(eq=False, slots=True)
class Call:
    """One caller's items, from the queue to the answer."""

    items: tuple[bytes, ...]
    priority: Priority = ()
    parameters: bytes = b""
    outputs: list[ItemOutput] = field(default_factory=list)
    service_us: int = 0
    alone: bool = False
    """It shared a batch with which a worker was lost, so it is run by itself now."""
    gone: bool = False
    """The caller waits no longer."""
    error: SwarmError | None = None
    done: trio.Event = field(default_factory=trio.Event)

    @property
    def left(self) -> int:
        """How many items have no output yet."""
        return len(self.items) - len(self.outputs)

    def sizes_bytes(self, most: int) -> tuple[int, ...]:
        """Return the sizes of the next items without output, `most` of them and one to show that there are more."""
        at = len(self.outputs)
        return tuple(map(len, self.items[at : at + most + 1]))


def _priority(call: Call) -> Priority:
    return call.priority


@dataclass(frozen=True, slots=True)
class Batch:
    """What is run at once: how many items of which calls, all with the same parameters."""

    parts: tuple[tuple[Call, int], ...]

    @property
    def items(self) -> tuple[bytes, ...]:
        """The items, in the order of the parts."""
        return tuple(
            item for call, count in self.parts for item in call.items[len(call.outputs) : len(call.outputs) + count]
        )

    @property
    def parameters(self) -> bytes:
        """The parameters of every call."""
        return self.parts[0][0].parameters

    @property
    def size(self) -> int:
        """How many items."""
        return sum(count for _, count in self.parts)

    @property
    def waiting(self) -> list[Call]:
        """The calls for which somebody still waits."""
        return [call for call, _ in self.parts if not call.gone]


class CallQueue:
    """The smallest priority is served first, and within it who came first; a call keeps its place until it is answered.

    A batch that runs is not interrupted. Nobody is promoted for having waited: each call has its own deadline. A batch
    begins with the first call, and calls with other parameters than that are passed over.
    """

    def __init__(self, manifest: SkillManifest, *, items_max: int, bytes_max: int) -> None:
        self._manifest = manifest
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._calls: list[Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def queued_items(self) -> int:
        """Items that wait or run."""
        return sum(call.left for call in self._calls)

    def join(self, items: tuple[bytes, ...], priority: Priority = (), parameters: bytes = b"") -> Call:
        """Put a call into its place; InputError (no items, or one too large), RefusedError (the queue is full)."""
        name = self._manifest.name
        if not items:
            raise InputError(f"{name}: there are no items").for_peers()
        largest = max(map(len, items))
        if largest > ITEM_BYTES_MAX:
            problem = f"{name}: an item has {largest} bytes; at most {ITEM_BYTES_MAX} are allowed"
            raise InputError(problem).for_peers()
        if not self._manifest.batch_invariant and len(items) > self._manifest.batch_items:
            raise InputError(
                f"{name}: {len(items)} items, but results depend on the batch and one has at most "
                f"{self._manifest.batch_items}; send fewer items at once"
            ).for_peers()
        queued_bytes = sum(sum(map(len, call.items)) for call in self._calls)
        fits = admits(queued_bytes, sum(map(len, items)), most=self._bytes_max)
        if not fits or not admits(self.queued_items, len(items), most=self._items_max):
            raise RefusedError(f"the queue of {name} is full ({self.queued_items} items); try again later or elsewhere")
        call = Call(items, priority, parameters)
        insort_right(self._calls, call, key=_priority)
        return call

    def leave(self, call: Call) -> None:
        """Forget a call whose caller has gone, or has its answer."""
        call.gone = True
        if call in self._calls:
            self._calls.remove(call)

    def next_batch(self) -> Batch:
        """Return what to run now, by the policy in `batching`; it has no parts when nobody waits."""
        most = self._manifest.batch_items
        waiting = (Waiting(call.sizes_bytes(most), call.alone) for call in self._alike())
        taken = fill(waiting, batch_items=most, batch_bytes=BATCH_BYTES_MAX, merge=self._manifest.batch_invariant)
        return Batch(tuple(zip(self._alike(), taken, strict=False)))

    def _alike(self) -> Iterator[Call]:
        """Yield the first call and those with its parameters, in the order of the queue."""
        return (call for call in self._calls if call.parameters == self._calls[0].parameters)

    def answer(self, batch: Batch, outputs: tuple[ItemOutput, ...], service_us: int) -> None:
        """Give each call its outputs and its share of the time; wake those that are complete."""
        at = 0
        for call, count in batch.parts:
            call.outputs.extend(outputs[at : at + count])
            call.service_us += share_us(service_us, len(outputs), count)
            at += count
            if not call.left:
                self._finish(call, None)

    def fail(self, batch: Batch, error: SwarmError) -> None:
        """Blame the call that ran alone. If several did, none is blamed yet: each is run once more, by itself."""
        for call in batch.waiting:
            if len(batch.parts) == 1:
                self._finish(call, error)
            else:
                call.alone = True

    def fail_all(self, error: SwarmError) -> None:
        """Give every call this error: there is no worker for any."""
        for call in tuple(self._calls):
            self._finish(call, error)

    def _finish(self, call: Call, error: SwarmError | None) -> None:
        call.error = error
        if call in self._calls:
            self._calls.remove(call)
        call.done.set()
