"""Records what each task's choice saw and what came of it; it changes nothing about the task, and never waits.

The lowest layer above `RoutedTasks`: every copy of a task that is sent has a record of its own.
"""

from __future__ import annotations

from swarmharness.errors import PeerLostError, ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.ports import Clock
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.decisions import SHOWN_MAX
from swarmharness.routing.router import Router
from swarmharness.routing.trace import TRACED_VIEWS, TraceRecord, TraceSink

CANCELLED = "cancelled"


class TracedTasks:
    """A `TaskRunner` that keeps decisions by their task's id, and records every task while the sink takes them."""

    def __init__(
        self, router: Router, tasks: TaskRunner, clock: Clock, sink: TraceSink, *, unix_offset_us: int
    ) -> None:
        """`unix_offset_us` turns monotonic into Unix time, the same way for as long as the node runs: clocks jump."""
        self._router = router
        self._tasks = tasks
        self._clock = clock
        self._sink = sink
        self._unix_offset_us = unix_offset_us

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """See `TaskRunner`."""
        limit, input_bytes = TRACED_VIEWS if self._sink.recording else SHOWN_MAX, sum(map(len, items))
        decision = self._router.decision(peer_id, skill.model, len(items), input_bytes=input_bytes, limit=limit)
        started_us = self._clock.monotonic_us()
        answer: TaskAnswer | None = None
        error = ""
        try:
            answer = await self._tasks.run(peer_id, skill, items, timeout_s=timeout_s)
        except SwarmError as failure:
            error = _name(failure)
            raise
        except BaseException:  # a cancellation that passed a nursery is a group
            error = CANCELLED
            raise
        finally:
            if self._sink.recording:
                self._sink.add(
                    TraceRecord(
                        time_us=started_us + self._unix_offset_us,
                        skill=skill.name,
                        model_digest=skill.model_digest.hex(),
                        items=len(items),
                        input_bytes=input_bytes,
                        considered=decision.considered,
                        views=decision.views,
                        chosen=peer_id,
                        service_us=answer.service_us if answer else 0,
                        queued_items=answer.queued_items if answer else 0,
                        elapsed_us=self._clock.monotonic_us() - started_us,
                        error=error,
                    )
                )
        if answer.receipt:
            self._router.decisions.remember(answer.receipt, decision)
        return answer


def _name(failure: SwarmError) -> str:
    """Return the kind of a failure in a word."""
    if isinstance(failure, ProtocolError):
        return "invalid"
    return "lost" if isinstance(failure, PeerLostError) else failure.kind.name.lower()
