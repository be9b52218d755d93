"""A model of execution: uneven speeds, slots, random work, answers known to be right or wrong; it runs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import trio

from swarmharness.errors import DeadlineError, RefusedError, UnavailableError
from swarmharness.execution.memory import PrioritySlots
from swarmharness.execution.ports import Execution, ItemOutput, Priority, SkillInfo
from swarmharness.simulation.cheating import Cheater
from swarmharness.simulation.network import Sleep
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import SkillModel

QUEUE_ITEMS_MAX = 4096


_DRAWN_BYTES = 1024


def right_answer(skill: str, item: bytes, output_bytes: int) -> bytes:
    """Return what an honest node answers; a long answer repeats itself, as to draw it all would take too long."""
    drawn = hashlib.shake_128(skill.encode() + b"\x00" + item).digest(min(output_bytes, _DRAWN_BYTES))
    return (drawn * -(-output_bytes // _DRAWN_BYTES))[:output_bytes]


@dataclass(slots=True)
class Behaviour:
    """How a node's executor behaves; the defaults are honest."""

    cheater: Cheater | None = None
    """How it cheats about results, if it does."""
    refuses: bool = False
    claims_queue_percent: int = 100
    claims_speed_percent: int = 100


class ModelExecutor:
    """`Executor` with so many slots; an item occupies one for the time that the model draws."""

    def __init__(
        self,
        skills: Mapping[str, SkillModel],
        randomness: SeededRandomness,
        sleep: Sleep,
        *,
        slots: int,
        speed_permille: int,
        behaviour: Behaviour,
        proficiency_permille: Mapping[str, int] | None = None,
        done: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        """`proficiency_permille` makes the node faster or slower in single skills than its advert says.

        `done` hears of the skill, items and busy microseconds of each task.
        """
        self._done = done
        self._proficiency_permille = dict(proficiency_permille or {})
        self._models = dict(skills)
        self._works = dict(skills)
        """Those that it serves no more, too: items of theirs may be under way."""
        self._randomness = randomness
        self._sleep = sleep
        self._slots = PrioritySlots(slots)
        self._slot_count = slots
        self.speed_permille = speed_permille
        self.behaviour = behaviour
        self._queued = dict.fromkeys(self._models, 0)
        self._infos = tuple(self._info(name, model) for name, model in self._models.items())
        self._spent: dict[str, tuple[int, int]] = {}
        self.items_done = 0

    def skills(self) -> tuple[SkillInfo, ...]:
        """See `Executor`."""
        return self._infos

    async def run(
        self,
        skill: str,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        priority: Priority = (),
        parameters: bytes = b"",
    ) -> Execution:
        """See `Executor`."""
        model = self._models.get(skill)
        if model is None:
            raise UnavailableError(f"no skill {skill!r} here").for_peers()
        if self.behaviour.refuses:
            raise RefusedError("busy, try again later")
        if self._queued[skill] and self._queued[skill] + len(items) > QUEUE_ITEMS_MAX:
            raise RefusedError(f"{self._queued[skill]} items of {skill!r} wait already")
        self._queued[skill] += len(items)
        cheater = self.behaviour.cheater
        if cheater is not None and not cheater.cheats_now():
            cheater = None
        try:
            with trio.move_on_after(timeout_s):
                async with self._slots.turn(priority):
                    honest_us = sum(self._draw_us(skill, model) for _ in items)
                    service_us = honest_us if cheater is None else honest_us * cheater.work_permille(len(items)) // 1000
                    await self._sleep(service_us / 1e6)
                self.items_done += len(items)
                items_before, before_us = self._spent.get(skill, (0, 0))
                self._spent[skill] = items_before + len(items), before_us + service_us
                self._done(skill, len(items), service_us)
                asked = tuple(item + parameters for item in items) if parameters else items
                outputs = tuple(map(ItemOutput, self._answers(skill, asked, model, cheater)))
                # A cheat claims the time of the work that it is paid for.
                return Execution(outputs, honest_us * self.behaviour.claims_speed_percent // 100)
            raise DeadlineError(f"{skill!r} was not done within {timeout_s:g} s")
        finally:
            self._queued[skill] -= len(items)

    def offer(self, skills: Collection[str]) -> None:
        """Take new items of these skills alone, and advertise no other; of none, if there are none."""
        self._models = {name: model for name, model in self._works.items() if name in skills}
        self._infos = tuple(self._info(name, model) for name, model in self._models.items())

    def busy_us(self) -> dict[str, int]:
        """Return how long it has worked in each skill so far."""
        return {name: busy_us for name, (_, busy_us) in self._spent.items()}

    def pays(self) -> dict[str, int]:
        """Return what a second of work in each skill, offered or not, brought so far, in micro-credits."""
        found = {}
        for name, model in self._works.items():
            items, busy_us = self._spent.get(name, (0, 0))
            price = self._info(name, model).work_microcredits
            found[name] = price * items * 1_000_000 // busy_us if busy_us else price * 1_000_000 // self._usual_us(name)
        return found

    def unoffered(self) -> dict[str, str]:
        """See `Executor`: models of a simulation are never missing."""
        return {}

    def queued_items(self, skill: str) -> int:
        """See `Executor`. All skills share the slots, so what waits for any of them counts, as items of this one."""
        if skill not in self._models:
            return 0
        waiting = self._queued[skill]
        others = [(name, items) for name, items in self._queued.items() if items and name != skill]
        if others:
            waiting -= -sum(items * self._usual_us(name) for name, items in others) // self._usual_us(skill)
        return waiting * self.behaviour.claims_queue_percent // 100

    def _usual_us(self, skill: str) -> int:
        mean_us = round(self._works[skill].work_ms * 1000) * 1000 // self.speed_permille
        return max(1, mean_us * 1000 // self._proficiency_permille.get(skill, 1000))

    def _draw_us(self, skill: str, model: SkillModel) -> int:
        return max(1, self._randomness.draw(model.law, self._usual_us(skill)))

    def _answers(self, skill: str, items: tuple[bytes, ...], model: SkillModel, cheater: Cheater | None) -> list[bytes]:
        def compute(item: bytes) -> bytes:
            return right_answer(skill, item, model.output_bytes)

        if cheater is not None:
            return cheater.answers(items, compute)
        answers = [compute(item) for item in items]
        if self.behaviour.cheater is not None:
            self.behaviour.cheater.remember(answers[-1])
        return answers

    def _info(self, name: str, model: SkillModel) -> SkillInfo:
        mean_us = round(model.work_ms * 1000) * 1000 // self.speed_permille
        return SkillInfo(
            name=name,
            version="1",
            kind="simulated",
            model_digest=hashlib.sha256(name.encode()).digest(),
            comparison_class="exact",
            batch_invariant=True,
            batch_items_max=64,
            work_microcredits=max(1, round(model.work_ms * 1000) * model.price_percent // 100),
            service_us=max(1, mean_us * self.behaviour.claims_speed_percent // 100),
            provider="simulated",
            slots=self._slot_count,
        )
