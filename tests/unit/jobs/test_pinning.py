from __future__ import annotations

import pytest

from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.pinning import pinning
from swarmharness.routing.table import Choice
from tests.unit.registry.samples import offer

ONE, TWO = bytes(32), bytes(31) + b"2"


def choice(peer: str, digest: bytes, *, local: bool = False, comparison_class: str = "fp32") -> Choice:
    return Choice(PeerId(peer), offer(model_digest=digest, comparison_class=comparison_class), 5_000, local)


def picked(choices: list[Choice], verify: str, replicas: int = 1, trusted: str = "") -> str:
    return pinning(JobOptions(verify, replicas), lambda peer: peer == trusted).pick(choices).peer_id


STRANGER_FIRST = [choice("fast", ONE), choice("b", TWO), choice("c", TWO)]


@pytest.mark.parametrize(("verify", "peer"), [("none", "fast"), ("adaptive", "b"), ("always", "b")])
def test_a_model_that_can_be_checked_comes_before_a_faster_one_where_answers_are_checked(
    verify: str, peer: str
) -> None:
    assert picked(STRANGER_FIRST, verify) == peer


def test_as_many_as_the_check_needs_are_enough_and_then_the_router_decides() -> None:
    both = [choice("a", ONE), choice("b", ONE), *(choice(f"c{number}", TWO) for number in range(5))]
    assert picked(both, "always", replicas=2) == "a"
    assert picked(both, "always", replicas=3) == "c0"


def test_where_no_model_has_enough_the_one_with_most_comes_first() -> None:
    assert picked(STRANGER_FIRST, "always", replicas=5) == "b"
    assert picked([choice("a", ONE), choice("b", TWO)], "adaptive") == "a"


def test_only_nodes_whose_answers_can_be_compared_check_each_other() -> None:
    uneven = [choice("a", ONE), choice("b", ONE, comparison_class="int8"), choice("c", TWO), choice("d", TWO)]
    assert picked(uneven, "adaptive") == "c"


def test_adaptive_believes_the_operators_own_nodes_and_always_does_not() -> None:
    assert picked(STRANGER_FIRST, "adaptive", trusted="fast") == "fast"
    assert picked(STRANGER_FIRST, "always", trusted="fast") == "b"


@pytest.mark.parametrize("verify", ["none", "adaptive", "always"])
def test_the_own_model_comes_first_and_of_its_nodes_the_routers_first(verify: str) -> None:
    choices = [*STRANGER_FIRST, choice("d", b"own" * 8), choice("me", b"own" * 8, local=True)]
    assert picked(choices, verify) == "d"
