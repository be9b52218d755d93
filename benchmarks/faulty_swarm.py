"""A job on eight real workers, three of which are killed and one frozen in the midst of it; it judges nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import trio

from swarmharness.errors import UnavailableError
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess

WORKERS, KILLED, FROZEN = 8, 3, 1
CLIENT = "version = 1\n\n[execution]\nskills = []\n"
DEADLINE_S = 300.0
LAST_FAULT_PERCENT = 75
"""So much of a job is fed at first, so that it cannot end before all faults fell, which do before its half."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one worker once so many items are answered."""

    after_items: int
    worker: int
    kind: Literal["kill", "freeze"]


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job as its submitter saw it."""

    elapsed_s: float
    results: list[dict[str, Any]]
    state: str
    faults_at: tuple[int, ...]
    """How many items were answered when each fault fell."""


def drawn_faults(items: int, seed: int) -> list[Fault]:
    """Draw who is killed, who is frozen, and when: between a tenth and half of the job."""
    draw = random.Random(seed)
    victims = draw.sample(range(WORKERS), KILLED + FROZEN)
    moments = sorted(draw.sample(range(items // 10, items // 2), KILLED + FROZEN))
    frozen = draw.randrange(KILLED + FROZEN)
    return [
        Fault(moment, victim, "freeze" if place == frozen else "kill")
        for place, (moment, victim) in enumerate(zip(moments, victims, strict=True))
    ]


class FaultySwarm:
    """A client that serves nothing, and workers by number; whoever leaves `group` ends them all.

    `prepare` gets the data directory of each worker before its first start, for example to install the skill.
    """

    def __init__(
        self, base: Path, group: NodeGroup, skill: str, more: str = "", *, prepare: Callable[[Path], None] | None = None
    ) -> None:
        """`more` is what the table `[execution]` of the workers holds besides threads and skills."""
        self._base, self._group, self._skill = base, group, skill
        self._config = f'version = 1\n\n[execution]\nthreads = 1\nskills = ["{skill}"]\n{more}'
        for number in range(WORKERS):
            if prepare is not None:
                prepare(base / f"worker-{number}")
        (self.client,) = group.start(NodeLaunch(base / "client", config=CLIENT))
        self.workers = group.start(*(self._launch(number) for number in range(WORKERS)))
        self._frozen: set[int] = set()
        self._killed: set[int] = set()

    def _launch(self, number: int) -> NodeLaunch:
        return NodeLaunch(self._base / f"worker-{number}", (self.client.join_address,), config=self._config)

    @property
    def survivors(self) -> list[NodeProcess]:
        """The workers that no fault befell."""
        return [node for number, node in enumerate(self.workers) if number not in self._killed | self._frozen]

    async def ready(self) -> None:
        """Return when the client would use every worker."""
        with trio.fail_after(120):
            while True:
                if await self._usable() >= WORKERS:
                    return
                await trio.sleep(0.1)

    async def repair(self) -> None:
        """Start the killed again, thaw the frozen, and wait until all are used again."""
        for number in self._frozen:
            self.workers[number].resume()
        for number in self._killed:
            (self.workers[number],) = await trio.to_thread.run_sync(self._group.start, self._launch(number))
        self._frozen, self._killed = set(), set()
        await self.ready()

    async def call(self, node: NodeProcess, method: str, **params: Any) -> Any:
        """Ask one node, as a command would."""
        async with open_control(node.data_dir) as control:
            return await control.call(method, params)

    async def submit(self, items: Sequence[bytes], faults: Sequence[Fault] = (), *, verify: str = "none") -> JobRun:
        """Run a job, and let each fault fall when its time has come; the last items are fed after the last fault."""
        waiting: list[Fault] = list(faults)
        fallen: list[int] = []
        all_fell = trio.Event()
        results: list[dict[str, Any]] = []
        start_s = time.perf_counter()
        async with open_control(self.client.data_dir) as control:
            params = {"skill": self._skill, "deadline_s": DEADLINE_S, "verify": verify}
            job = (await control.call("job.open", params))["job"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, job, items, all_fell)
                done = False
                while not done:
                    answer = await control.call("job.results", {"job": job})
                    results += answer["results"]
                    done, answered = answer["done"], answer["progress"]["items_done"]
                    while waiting and answered >= waiting[0].after_items:
                        self._befall(waiting.pop(0))
                        fallen.append(answered)
                    if not waiting:
                        all_fell.set()
        return JobRun(time.perf_counter() - start_s, results, answer["state"], tuple(fallen))

    async def _feed(self, job: str, items: Sequence[bytes], all_fell: trio.Event) -> None:
        most = len(items) * LAST_FAULT_PERCENT // 100 + 1
        async with open_control(self.client.data_dir) as control:
            await control.call("job.feed", {"job": job, "items": list(items[:most]), "last": False})
            await all_fell.wait()
            await control.call("job.feed", {"job": job, "items": list(items[most:]), "last": True})

    def _befall(self, fault: Fault) -> None:
        if fault.kind == "kill":
            self.workers[fault.worker].kill()
            self._killed.add(fault.worker)
        else:
            self.workers[fault.worker].pause()
            self._frozen.add(fault.worker)

    async def _usable(self) -> int:
        usable = 0
        try:
            explained = await self.call(self.client, "router.explain", skill=self._skill)
            usable = sum(candidate["position"] is not None for candidate in explained["candidates"])
        except* UnavailableError:  # nobody has come yet
            pass
        return usable
