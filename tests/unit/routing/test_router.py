from __future__ import annotations

import pytest

from swarmharness.errors import (
    DeadlineError,
    InputError,
    ModelFailureError,
    PeerLostError,
    SwarmError,
    UnavailableError,
)
from swarmharness.identity import PeerId
from swarmharness.registry.advert import Advert, SkillAdvert
from swarmharness.registry.entry import Known
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.router import Router
from tests.unit.registry.samples import advert, identity, offer

SKILL = "text-embedding"
MODEL = offer().model
S = 1_000_000
PEERS = sorted((identity(number) for number in range(3)), key=lambda signer: signer.peer_id)
NOBODY = PeerId("nobody")
A, B, C = (signer.peer_id for signer in PEERS)


class Adverts:
    """A directory that the test fills; the router's port to the registry."""

    def __init__(self) -> None:
        self.now: tuple[Advert, ...] = ()
        self.failed: list[PeerId] = []
        self.sequence = 0
        self.publish({signer.peer_id: offer() for signer in PEERS})

    def publish(self, offers: dict[PeerId, SkillAdvert]) -> None:
        self.sequence += 1
        self.now = tuple(
            advert(signer, (offers[signer.peer_id],), sequence=self.sequence)
            for signer in PEERS
            if signer.peer_id in offers
        )

    async def candidates(self, skill: str) -> tuple[Advert, ...]:
        if not any(each.skill(skill) for each in self.now):
            raise UnavailableError("nobody")
        return self.now

    def known(self) -> tuple[Known, ...]:
        return tuple(Known(each, each.peer_id not in self.failed, "") for each in self.now)

    def note_failure(self, peer_id: PeerId, reason: str) -> None:
        self.failed.append(peer_id)
        self.now = tuple(each for each in self.now if each.peer_id != peer_id)


class ManualClock:
    def __init__(self) -> None:
        self.now_us = 0

    def unix_us(self) -> int:
        return self.now_us

    def monotonic_us(self) -> int:
        return self.now_us


class NoRandomness:
    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)

    def below(self, limit: int) -> int:
        return 0


class World:
    def __init__(self, *, own: PeerId = NOBODY, policy: RoutingPolicy | None = None) -> None:
        self.adverts, self.clock = Adverts(), ManualClock()
        self.round_trips: dict[PeerId, int] = {}
        self.denied: set[PeerId] = set()
        self.router = Router(
            self.adverts,
            policy or RoutingPolicy(explore_share=0),
            self.clock,
            NoRandomness(),
            own_id=own,
            round_trip_us=self.round_trips.get,
            allowed=lambda peer_id: peer_id not in self.denied,
        )

    async def order(self, items: int = 1, **options: object) -> list[PeerId]:
        return [choice.peer_id for choice in await self.router.choose(SKILL, items, **options)]  # type: ignore[arg-type]

    def answer(self, peer_id: PeerId, *, items: int = 1, service_us: int = 5_000, queued: int = 0) -> None:
        self.router.note_sent(peer_id, MODEL, items)
        self.router.note_answer(
            peer_id, MODEL, items=items, service_us=service_us, queued_items=queued, elapsed_us=service_us + 1_000
        )


async def test_equal_strangers_come_in_the_order_of_their_ids() -> None:
    assert await World().order() == [A, B, C]


async def test_items_under_way_push_a_peer_back_until_they_are_answered() -> None:
    world = World()
    world.router.note_sent(A, MODEL, 10)
    assert await world.order() == [B, C, A]
    world.router.note_answer(A, MODEL, items=10, service_us=50_000, queued_items=0, elapsed_us=60_000)
    assert await world.order() == [A, B, C]


async def test_a_measured_speed_replaces_the_claimed_one() -> None:
    world = World()
    world.answer(A, service_us=90_000)
    order = await world.router.choose(SKILL)
    assert [choice.peer_id for choice in order] == [B, C, A]
    assert [choice.service_us for choice in order] == [5_000, 5_000, 90_000]


async def test_a_reported_queue_counts_and_drains_with_time() -> None:
    world = World()
    world.answer(A, queued=20)
    assert (await world.order())[-1] == A
    world.clock.now_us += 600 * S
    assert (await world.order())[0] == A


async def test_the_queue_in_an_advert_is_a_first_idea_of_the_load() -> None:
    world = World()
    world.adverts.publish({A: offer(queued_items=50), B: offer(), C: offer()})
    assert await world.order() == [B, C, A]


async def test_this_node_comes_first_among_equals_because_it_needs_no_network() -> None:
    assert (await World(own=C).order())[0] == C


async def test_a_lost_peer_is_reported_to_the_registry_and_not_chosen() -> None:
    world = World()
    world.router.note_sent(A, MODEL, 1)
    world.router.note_failure(A, MODEL, 1, PeerLostError("reset"))
    assert world.adverts.failed == [A]
    assert await world.order() == [B, C]


@pytest.mark.parametrize("error", [DeadlineError("late"), ModelFailureError("crashed"), SwarmError("bug")])
async def test_repeated_failures_open_the_breaker_and_one_success_closes_it(error: SwarmError) -> None:
    world = World()
    for _ in range(3):
        assert A in await world.order()
        world.router.note_sent(A, MODEL, 1)
        world.router.note_failure(A, MODEL, 1, error)
    assert world.adverts.failed == []
    assert await world.order() == [B, C]
    world.clock.now_us += 1 * S
    assert A in await world.order()
    world.router.note_sent(A, MODEL, 1)
    assert await world.order() == [B, C]
    world.router.note_answer(A, MODEL, items=1, service_us=5_000, queued_items=0, elapsed_us=6_000)
    assert await world.order() == [A, B, C]


async def test_bad_input_is_nobodys_fault() -> None:
    world = World()
    for _ in range(10):
        world.router.note_sent(A, MODEL, 4)
        world.router.note_failure(A, MODEL, 4, InputError("not an image"))
    assert await world.order() == [A, B, C]


async def test_invalid_answers_cost_trust_and_it_is_shown() -> None:
    world = World()
    world.router.note_sent(A, MODEL, 1)
    world.router.note_invalid(A, MODEL, 1, "wrong commitment")
    assert await world.order() == [B, C, A]
    trust = {row["peer"]: row["skills"][0]["trust"] for row in world.router.peers()}
    assert trust[A] < trust[B] == 0.5


async def test_a_policy_is_replaced_while_running() -> None:
    world = World()
    world.adverts.publish(
        {A: offer(price_microcredits=90_000), B: offer(service_us=9_000), C: offer(service_us=12_000)}
    )
    assert (await world.order())[0] == B
    world.router.set_policy(RoutingPolicy(price_weight=0))
    assert (await world.order())[0] == A


async def test_excluded_peers_and_other_models_are_left_out() -> None:
    world = World()
    other = b"\2" * 32
    world.adverts.publish({A: offer(), B: offer(model_digest=other), C: offer()})
    assert await world.order(exclude=frozenset({A})) == [B, C]
    assert await world.order(model_digest=other) == [B]
    assert await world.order(limit=2) == [A, B]


async def test_a_model_whose_results_depend_on_the_batch_gets_no_more_than_one_batch() -> None:
    world = World()
    world.adverts.publish({A: offer(batch_invariant=False, batch_items_max=4), B: offer(), C: offer()})
    assert await world.order(4) == [A, B, C]
    assert await world.order(5) == [B, C]


async def test_denied_peers_are_not_candidates() -> None:
    world = World()
    world.denied.add(B)
    assert await world.order() == [A, C]


async def test_an_unknown_skill_is_the_registrys_error() -> None:
    with pytest.raises(UnavailableError):
        await World().router.choose("nothing")


async def test_the_explanation_agrees_with_the_choice() -> None:
    world = World()
    world.answer(B, service_us=1_000)
    world.router.note_sent(C, MODEL, 100)
    explained = world.router.explain(SKILL)
    assert [each.view.peer_id for each in explained.candidates] == await world.order() == [B, A, C]


async def test_a_node_without_the_skill_is_explained_and_not_chosen() -> None:
    world = World()
    world.adverts.publish({A: offer(), B: offer("ocr"), C: offer()})
    explained = {each.view.peer_id: each.reason for each in world.router.explain(SKILL).candidates}
    assert explained[B] == "it does not offer the skill"
    assert await world.order() == [A, C]


async def test_peers_shows_measurements_as_plain_values() -> None:
    world = World(own=A)
    world.round_trips[B] = 700
    world.answer(B, items=4, service_us=8_000)
    rows = {row["peer"]: row for row in world.router.peers()}
    assert rows[A]["local"]
    assert rows[B]["round_trip_us"] == 700
    assert rows[B]["skills"][0]["measured_us"] == 2_000
    assert rows[B]["skills"][0]["breaker"] == "closed"
