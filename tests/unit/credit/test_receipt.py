from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swarmharness.credit.receipt import (
    AMOUNT_MICROCREDITS_MAX,
    EPOCH_US,
    Half,
    Problem,
    Receipt,
    ReceiptBody,
    body_digest,
    body_problem,
    epoch_of,
    epoch_problem,
    half_problem,
    joint_digest,
    link_digest,
    receipt_problem,
    salted_digest,
    sign_half,
)
from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import ALICE, BOB, CAROL, body, half, receipt

VECTORS = json.loads(Path(__file__).with_name("receipt_vectors.json").read_text())


def test_a_receipt_with_two_valid_halves_has_no_problem_s_2() -> None:
    assert receipt_problem(receipt()) is None


def test_a_receipt_survives_the_wire() -> None:
    assert decode(Receipt, encode(receipt())) == receipt()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"worker": ALICE}, Problem.SAME_PARTY),
        ({"share_microcredits": 2_000}, Problem.SHARE_ABOVE_PRICE),
        ({"share_microcredits": -1}, Problem.AMOUNT_OUT_OF_RANGE),
        ({"price_microcredits": AMOUNT_MICROCREDITS_MAX + 1}, Problem.AMOUNT_OUT_OF_RANGE),
        ({"tasks": (bytes(16), bytes(16))}, Problem.REPEATED_TASK),
    ],
)
def test_an_impossible_body_is_named(changes: dict[str, Any], problem: Problem) -> None:
    assert body_problem(body(**changes)) is problem


@pytest.mark.parametrize(
    "changes",
    [
        {"share_microcredits": -1},
        {"price_microcredits": 2**63},
        {"tasks": ()},
        {"tasks": tuple(bytes([number]) * 16 for number in range(21))},
        {"tasks": (b"short",)},
        {"game_digest": b"short"},
        {"items": 0},
        {"skill": ""},
        {"epoch": -1},
    ],
)
def test_a_body_beyond_its_limits_does_not_come_off_the_wire(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="ReceiptBody"):
        decode(ReceiptBody, encode(body(**changes)))


@pytest.mark.parametrize("name", ["share_microcredits", "epoch", "service_us", "items"])
def test_changing_any_field_voids_both_signatures(name: str) -> None:
    valid = receipt()
    forged = replace(valid, body=replace(valid.body, **{name: getattr(valid.body, name) - 1}))
    assert receipt_problem(forged) is Problem.WRONG_BODY


def test_a_half_of_somebody_else_is_refused() -> None:
    statement = body()
    digest = body_digest(statement)
    assert half_problem(half(statement, CAROL), digest, BOB.peer_id) is Problem.WRONG_SIGNER


def test_a_half_that_claims_another_signer_is_refused() -> None:
    statement = body()
    stolen = half(statement, CAROL)
    stolen = Half(replace(stolen.content, signer=BOB.peer_id), stolen.signature)
    assert half_problem(stolen, body_digest(statement), BOB.peer_id) is Problem.WRONG_SIGNATURE


@pytest.mark.parametrize(("number", "previous"), [(0, b"x" * 32), (1, bytes(32))])
def test_only_the_first_half_of_a_chain_has_no_predecessor(number: int, previous: bytes) -> None:
    digest = body_digest(body())
    wrong = sign_half(BOB, digest, incarnation=1, number=number, previous=previous)
    assert half_problem(wrong, digest, BOB.peer_id) is Problem.WRONG_OPENING


def test_one_party_cannot_sign_both_halves() -> None:
    valid = receipt()
    assert receipt_problem(replace(valid, worker_half=valid.requester_half)) is Problem.WRONG_SIGNER


@pytest.mark.parametrize(("epoch", "fine"), [(98, False), (99, True), (100, True), (103, True), (104, False)])
def test_an_epoch_may_lie_one_beside_those_that_the_reader_accepts(epoch: int, fine: bool) -> None:
    problem = epoch_problem(body(epoch=epoch), oldest=100, newest=102)
    assert problem is (None if fine else Problem.WRONG_EPOCH)


def test_an_epoch_is_an_hour() -> None:
    assert [epoch_of(us) for us in (-5, 0, EPOCH_US - 1, EPOCH_US)] == [0, 0, 0, 1]


def test_a_salted_digest_depends_on_salt_and_on_where_parts_end() -> None:
    salts = bytes(32), b"s" * 32
    digests = {salted_digest(salt, parts) for salt in salts for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"])}
    assert len(digests) == 6


def test_a_salt_of_another_length_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        salted_digest(b"short", [b""])


def test_the_joint_digest_of_one_task_is_its_own() -> None:
    assert joint_digest([b"d" * 32]) == b"d" * 32
    assert joint_digest([b"d" * 32, b"e" * 32]) != joint_digest([b"e" * 32, b"d" * 32])


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda vector: str(vector["name"]))
def test_the_published_vectors_hold(vector: dict[str, str]) -> None:
    made = decode(Receipt, bytes.fromhex(vector["receipt"]))
    assert encode(made).hex() == vector["receipt"]
    assert body_digest(made.body).hex() == vector["body_digest"]
    assert link_digest(made.worker_half.content).hex() == vector["worker_link_digest"]
    problem = receipt_problem(made)
    assert (problem.name if problem else None) == vector["problem"]


@pytest.mark.parametrize("vector", VECTORS["salted"], ids=lambda vector: str(vector["name"]))
def test_the_published_salted_digests_hold(vector: dict[str, object]) -> None:
    parts = [bytes.fromhex(str(part)) for part in vector["parts"]]  # type: ignore[attr-defined]
    assert salted_digest(bytes.fromhex(str(vector["salt"])), parts).hex() == vector["digest"]
