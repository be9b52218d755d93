"""The router's compiled tables never disagree with a decision made from scratch."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.errors import DeadlineError
from swarmharness.registry.advert import Advert
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.router import AGE_FLOOR_US, AGE_PER_ROW_US
from tests.unit.routing.test_router import MODEL, PEERS, SKILL, World

OTHER = bytes(32)
KINDS = ("sent", "answer", "failure", "given up", "invalid", "queue", "gone", "back", "renewed", "other model")

events = st.lists(
    st.tuples(
        st.sampled_from(
            ["sent", "answer", "failure", "given up", "invalid", "queue", "gone", "back", "renewed", "other model"]
        ),
        st.sampled_from([signer.peer_id for signer in PEERS]),
        st.integers(1, 50),
        st.integers(0, 30_000),
    ),
    max_size=30,
)


@given(events, st.sampled_from([1, 7, 100]))
@settings(deadline=None)
async def test_choices_are_those_of_the_snapshot(happened: list[tuple[str, str, int, int]], items: int) -> None:
    world = World()
    router, everybody = world.router, world.adverts.now
    for kind, peer, count, amount in happened:
        peer_id = next(signer.peer_id for signer in PEERS if signer.peer_id == peer)
        # Rows that age by themselves may lag behind by this much: let that pass between any two events.
        world.clock.now_us += AGE_FLOOR_US + AGE_PER_ROW_US * len(PEERS)
        if kind == "sent":
            router.note_sent(peer_id, MODEL, count)
        elif kind == "answer":
            router.note_answer(
                peer_id, MODEL, items=count, service_us=amount, queued_items=count, elapsed_us=2 * amount
            )
        elif kind == "failure":
            router.note_failure(peer_id, MODEL, count, DeadlineError("late"))
        elif kind == "given up":
            router.note_given_up(peer_id, MODEL, count)
        elif kind == "invalid":
            router.note_invalid(peer_id, MODEL, count, "wrong")
        elif kind == "queue":
            router.note_load(peer_id, MODEL, LoadReport(count))
        elif kind == "gone" and len(world.adverts.now) > 1:  # the others' rows are taken over
            world.adverts.now = tuple(one for one in world.adverts.now if one.peer_id != peer)
        elif kind == "back":
            world.adverts.now = everybody
        elif kind in ("renewed", "other model"):
            later = [_renewed(one, count, OTHER if kind == "other model" else None) for one in everybody]
            everybody = tuple(new if new.peer_id == peer else old for old, new in zip(everybody, later, strict=True))
            world.adverts.now = everybody
            await router.choose(SKILL)  # reads the advert
        expected = [each.view.peer_id for each in router.explain(SKILL, items).candidates if each.position]
        assert await world.order(items) == expected
        for digest in (MODEL.digest, OTHER):
            explained = router.explain(SKILL, items, model_digest=digest).candidates
            expected = [each.view.peer_id for each in explained if each.position]
            assert await world.order(items, model_digest=digest) == expected


def _renewed(before: Advert, queued_items: int, model_digest: bytes | None) -> Advert:
    (skill,) = before.skills
    digest = skill.model_digest if model_digest is None else model_digest
    skill = replace(skill, queued_items=queued_items, model_digest=digest)
    return replace(before, sequence=before.sequence + 1, skills=(skill,))
