from __future__ import annotations

import pytest

from swarmharness.execution.ports import SkillInfo
from swarmharness.registry.advert import open_advert
from swarmharness.registry.own_advert import RESERVED, OwnAdvert
from swarmharness.registry.stores import MemorySequenceStore
from tests.unit.registry.samples import DEVICE, NOW_UNIX_S, identity

ALICE = identity(1)
INFO = SkillInfo("ocr", "1", "image-ocr", b"\1" * 32, "fp32", True, 8, 200_000, 0, "")
S = 1_000_000


class ManualClock:
    def __init__(self) -> None:
        self.now_us = 0
        self.unix_s = NOW_UNIX_S

    def unix_us(self) -> int:
        return self.unix_s * S + self.now_us

    def monotonic_us(self) -> int:
        return self.now_us


class FullDisk(MemorySequenceStore):
    async def save(self, sequence: int) -> None:
        raise OSError(28, "No space left on device")


class World:
    def __init__(self, sequences: MemorySequenceStore | None = None) -> None:
        self.clock = ManualClock()
        self.sequences = sequences or MemorySequenceStore()
        self.queued = 0
        self.not_serving = ""
        self.own = OwnAdvert(
            ALICE,
            self.clock,
            self.sequences,
            addresses=lambda: ("/ip4/127.0.0.1/tcp/1",),
            device=DEVICE,
            skills=lambda: (INFO,),
            queued_items=lambda _: self.queued,
            price_of=lambda skill: skill.work_microcredits * 2,
            lifetime_s=480,
            not_serving=lambda: self.not_serving,
        )


async def test_it_states_what_the_executor_and_the_operator_say() -> None:
    world = World()
    await world.own.open()
    advert, signed = world.own.current()
    assert open_advert(signed, now_unix_s=NOW_UNIX_S) == advert
    assert (advert.skills[0].name, advert.skills[0].price_microcredits) == ("ocr", 400_000)
    assert advert.expires_unix_s == NOW_UNIX_S + 480


async def test_an_unchanged_advert_is_not_signed_again() -> None:
    world = World()
    await world.own.open()
    first = world.own.current()
    world.clock.now_us += 30 * S
    assert world.own.current() is first


async def test_it_is_renewed_long_before_it_expires() -> None:
    world = World()
    await world.own.open()
    before = world.own.current()[0]
    world.clock.now_us += 60 * S
    after = world.own.current()[0]
    assert after.sequence > before.sequence
    assert after.expires_unix_s == before.expires_unix_s + 60


async def test_a_change_is_signed_with_the_next_number_at_most_once_a_second() -> None:
    world = World()
    await world.own.open()
    first = world.own.current()[0]
    world.queued = 5
    assert world.own.current()[0] is first
    assert world.own.current(changed=True)[0].skills[0].queued_items == 5
    world.queued = 6
    world.clock.now_us += S
    assert world.own.current()[0].sequence == first.sequence + 2


async def test_r1_a_crash_never_leads_to_a_lower_number() -> None:
    world = World()
    await world.own.open()
    highest = 0
    for _ in range(100):
        world.queued += 1
        highest = world.own.current(changed=True)[0].sequence
    restarted = World(world.sequences)
    restarted.clock.unix_s = 1_000  # and the clock was reset
    await restarted.own.open()
    assert restarted.own.current()[0].sequence > highest


async def test_r1_when_no_number_can_be_reserved_the_last_advert_stays() -> None:
    world = World()
    await world.own.open()
    world.sequences.__class__ = FullDisk
    sequences = []
    for _ in range(RESERVED + 10):
        world.queued += 1
        sequences.append(world.own.current(changed=True)[0].sequence)
        if len(sequences) == RESERVED - 5:
            with pytest.raises(OSError, match="No space"):
                await world.own.reserve()
    assert max(sequences) <= world.sequences.sequence
    assert sequences[-1] == sequences[-5]


async def test_it_says_at_once_that_it_serves_nobody() -> None:
    world = World()
    await world.own.open()
    before, _ = world.own.current()
    world.not_serving = "memory"
    after, _ = world.own.current(changed=True)
    assert (before.not_serving, after.not_serving) == ("", "memory")
    assert after.sequence > before.sequence
