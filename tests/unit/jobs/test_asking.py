"""What is sent is noted, and so is every end that it can come to; nothing that was set aside for it is lost."""

from __future__ import annotations

import trio
import trio.testing

from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.asking import RoutedTasks
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskRequester
from swarmharness.jobs.tracing import CANCELLED, TracedTasks
from swarmharness.routing.trace import TraceRecord
from swarmharness.simulation.memory_swarm import memory_swarm

SLOW = MemorySkill("slow", ItemOutput, service_us=1_000_000, work_microcredits=7)


class Kept:
    """A `TraceSink`."""

    recording = True

    def __init__(self) -> None:
        self.records: list[TraceRecord] = []

    def add(self, record: TraceRecord) -> None:
        self.records.append(record)


async def test_a_task_that_is_cancelled_on_its_way_gives_back_its_price_and_its_place_in_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, skills=(SLOW,), serving=1) as nodes:
        parts = nodes[0].parts
        (choice,) = await parts.router.choose("slow")
        purse, kept = Purse(100), Kept()
        requester = TaskRequester(parts.ports.transport, parts.credit, parts.ports.clock, parts.ports.randomness)
        routed = RoutedTasks(parts.router, requester, purse)
        tasks = TracedTasks(parts.router, routed, parts.ports.clock, kept, unix_offset_us=0)

        with trio.move_on_after(0.5):
            await tasks.run(choice.peer_id, choice.skill, (b"x", b"y"), timeout_s=30)
        (view,) = [view for view in parts.router.snapshot("slow").candidates if view.peer_id == choice.peer_id]
        assert (view.outstanding_items, view.sent_since_items) == (0, 0)
        assert purse.reserved_microcredits == 0
        assert [record.error for record in kept.records] == [CANCELLED]

        answer = await tasks.run(choice.peer_id, choice.skill, (b"z",), timeout_s=30)
        (cancelled, answered) = kept.records
        assert (answered.error, answered.items, answered.input_bytes) == ("", 1, 1)
        assert answered.elapsed_us == answer.elapsed_us
        assert answered.service_us == answer.service_us
        assert answered.chosen == choice.peer_id
        assert [view.peer_id for view in answered.views] == [choice.peer_id]
        assert cancelled.time_us < answered.time_us
        remembered = parts.router.decisions.of(answer.receipt)
        assert remembered is not None
        assert remembered.as_dict()["chosen_position"] == 1
