from __future__ import annotations

from swarmharness.identity import PeerId
from swarmharness.routing.probing import FLYING_MAX, OWED_MAX, ProbePlan

PEERS = [PeerId(f"p{number}") for number in range(10)]


def first(limit: int) -> int:
    return 0


def test_a_request_pays_for_its_probes_and_each_goes_to_another_peer() -> None:
    plan = ProbePlan()
    assert plan.take("s", PEERS, first) == []
    plan.request("s", 3)
    assert plan.skills() == ("s",)
    chosen = plan.take("s", PEERS, first)
    assert len(set(chosen)) == 3
    assert plan.skills() == ()


def test_a_peer_whose_answer_is_awaited_is_not_asked_again_for_the_same_skill() -> None:
    plan = ProbePlan()
    for skill in ("s", "s", "t"):
        plan.request(skill, 2)
    assert plan.take("s", PEERS[:2], first) == [PEERS[0], PEERS[1]]
    plan.request("s", 2)
    assert plan.take("s", PEERS[:2], first) == []
    assert plan.take("t", PEERS[:1], first) == [PEERS[0]]
    plan.ended(PEERS[1], "s")
    plan.request("s", 2)
    assert plan.take("s", PEERS[:2], first) == [PEERS[1]]


def test_what_is_owed_and_under_way_is_bounded() -> None:
    plan, crowd = ProbePlan(), [PeerId(f"p{number}") for number in range(500)]
    for _ in range(100):
        plan.request("s", 16)
    assert len(plan.take("s", crowd, first)) == OWED_MAX
    for _ in range(100):
        plan.request("s", 16)
    assert len(plan.take("s", crowd, first)) == FLYING_MAX - OWED_MAX
