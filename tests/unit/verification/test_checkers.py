from __future__ import annotations

from collections import Counter
from dataclasses import replace

from swarmharness.identity import PeerId
from swarmharness.jobs.verification.checkers import comparable, neighbourhood, pick
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.table import Choice

SKILL = SkillAdvert("s", "1", "tensor", bytes(32), "fp32", True, 8, 10, 5, "CPU", 0)
NOWHERE: frozenset[str] = frozenset()


def choice(name: str, *, local: bool = False, **changes: object) -> Choice:
    return Choice(PeerId(name), replace(SKILL, **changes), 10, local)  # type: ignore[arg-type]


def test_only_one_model_and_comparison_class_is_compared() -> None:
    assert comparable(choice("a", provider="CUDA"), SKILL)
    assert not comparable(choice("a", comparison_class="int8"), SKILL)
    assert not comparable(choice("a", model_digest=bytes(31) + b"x"), SKILL)


def test_prefixes_tell_who_may_live_under_one_roof() -> None:
    assert neighbourhood(["/ip4/10.1.2.3/tcp/1", "/ip4/10.1.2.200/tcp/9/ws"]) == {"10.1.2.0/24"}
    assert neighbourhood(["/ip6/2001:db8:1:2::3/tcp/1"]) == {"2001:db8:1::/48"}
    assert neighbourhood(["/dns4/a.example/tcp/1", "/memory/x", "", "junk", "/ip4/999.1/tcp/1"]) == {"a.example"}


def test_a_checker_apart_from_those_asked_is_preferred() -> None:
    choices = [choice("near"), choice("far")]
    near = [frozenset({"10.1.2.0/24"}), frozenset({"10.9.9.0/24"})]
    asked = [frozenset({"10.1.2.0/24"})]
    for draw in range(5):
        found = pick(choices, asked=asked, near=near, decider=False, draw=draw)
        assert found is not None
        assert found.peer_id == "far"
    assert pick(choices[:1], asked=asked, near=near[:1], decider=False, draw=0) == choices[0]


def test_the_own_node_is_asked_last_and_to_decide_first() -> None:
    choices = [choice("own", local=True), choice("other")]
    near = [NOWHERE, NOWHERE]
    other, own = (pick(choices, asked=[], near=near, decider=decider, draw=3) for decider in (False, True))
    assert other is not None
    assert own is not None
    assert (other.peer_id, own.peer_id) == ("other", "own")
    assert pick(choices[:1], asked=[], near=near[:1], decider=False, draw=0) == choices[0]
    assert pick([], asked=[], near=[], decider=False, draw=0) is None


def test_the_checker_is_drawn_among_all_for_cheats_are_quick_and_would_be_the_best() -> None:
    choices = [choice(f"peer {number:02}") for number in range(20)]
    drawn: Counter[str] = Counter()
    for draw in range(200):
        found = pick(choices, asked=[], near=[NOWHERE] * 20, decider=False, draw=draw)
        assert found is not None
        drawn[found.peer_id] += 1
    assert drawn == {f"peer {number:02}": 10 for number in range(20)}
