from __future__ import annotations

from swarmharness.identity import PeerId
from swarmharness.registry.models import model_key
from swarmharness.routing.probing import FLYING_MAX, OWED_MAX, ProbePlan

S, T = model_key("s", b"1"), model_key("s", b"2")
PEERS = [PeerId(f"p{number}") for number in range(10)]


def first(limit: int) -> int:
    return 0


def test_a_request_pays_for_its_probes_and_each_goes_to_another_peer() -> None:
    plan = ProbePlan()
    assert plan.take(S, PEERS, first) == []
    plan.request(S, 3)
    assert plan.models() == (S,)
    chosen = plan.take(S, PEERS, first)
    assert len(set(chosen)) == 3
    assert plan.models() == ()


def test_a_peer_whose_answer_is_awaited_is_not_asked_again_for_the_same_model() -> None:
    plan = ProbePlan()
    for model in (S, S, T):
        plan.request(model, 2)
    assert plan.take(S, PEERS[:2], first) == [PEERS[0], PEERS[1]]
    plan.request(S, 2)
    assert plan.take(S, PEERS[:2], first) == []
    assert plan.take(T, PEERS[:1], first) == [PEERS[0]]
    plan.ended(PEERS[1], S)
    plan.request(S, 2)
    assert plan.take(S, PEERS[:2], first) == [PEERS[1]]


def test_what_is_owed_and_under_way_is_bounded() -> None:
    plan, crowd = ProbePlan(), [PeerId(f"p{number}") for number in range(500)]
    for _ in range(100):
        plan.request(S, 16)
    assert len(plan.take(S, crowd, first)) == OWED_MAX
    for _ in range(100):
        plan.request(S, 16)
    assert len(plan.take(S, crowd, first)) == FLYING_MAX - OWED_MAX
