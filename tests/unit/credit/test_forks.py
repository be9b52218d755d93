from __future__ import annotations

from dataclasses import replace

from swarmharness.credit.chain import opening
from swarmharness.credit.forks import ForkProof, ProofProblem, find_forks, fork_proof, proof_digest, proof_problem
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import ALICE, BOB, NOON_US, body, half


def a_proof() -> ForkProof:
    proof = fork_proof(half(body(1), ALICE), half(body(2), ALICE))
    assert proof is not None
    return proof


def test_two_histories_make_a_proof_that_travels_and_convicts_c_15() -> None:
    proof = decode(ForkProof, encode(a_proof()))
    assert proof_problem(proof) is None
    assert proof.signer == ALICE.peer_id


def test_the_order_of_discovery_does_not_matter() -> None:
    one, other = half(body(1), ALICE), half(body(2), ALICE)
    assert fork_proof(one, other) == fork_proof(other, one)
    proof = a_proof()
    assert proof_problem(ForkProof(proof.other, proof.one)) is ProofProblem.WRONG_ORDER
    assert len(proof_digest(proof)) == 32


def test_honest_halves_prove_nothing_c_17() -> None:
    first = half(body(1), ALICE)
    second = half(body(2), ALICE, first)
    elsewhere = half(body(2), ALICE, place=opening(NOON_US, NOON_US))
    for other in (first, second, elsewhere, half(body(2), BOB)):
        assert fork_proof(first, other) is None
        assert proof_problem(ForkProof(first, other)) is ProofProblem.NO_FORK


def test_a_proof_cannot_be_forged_c_15() -> None:
    proof = a_proof()
    forged = ForkProof(proof.one, replace(proof.other, signature=bytes(64)))
    assert proof_problem(forged) is ProofProblem.INVALID_HALF
    claimed = replace(proof.other.content, signer=BOB.peer_id)
    one, other = (replace(made, content=replace(made.content, signer=BOB.peer_id)) for made in (proof.one, proof.other))
    framed = ForkProof(one, other)
    assert proof_problem(framed) in (ProofProblem.INVALID_HALF, ProofProblem.WRONG_ORDER)
    assert proof_problem(ForkProof(proof.one, replace(proof.other, content=claimed))) is ProofProblem.NO_FORK


def test_each_forker_is_found_once_whatever_the_order() -> None:
    first = half(body(1), BOB)
    halves = [
        *[half(body(number), ALICE) for number in (1, 2, 3)],
        *[first, half(body(2), BOB, first)],
    ]
    found = find_forks(halves)
    assert [proof.signer for proof in found] == [ALICE.peer_id]
    assert find_forks(reversed(halves)) == found
    assert proof_problem(found[0]) is None
    assert find_forks(halves[3:]) == []
