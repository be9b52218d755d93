"""The digests that parties sign: what is empty changes none, and what is there cannot be taken for anything else."""

from __future__ import annotations

import hashlib

from swarmharness.credit.receipt import salted_digest
from swarmharness.jobs.messages import Output, Proposal, commitment_of, input_digest, output_digest
from swarmharness.protocol.codec import decode, encode

SALT = bytes(range(32))
ITEMS = (b"a cat", b"a dog")
TOLD = b"\x81\xa7on_long\xa5error"


def tagged(tag: str, *parts: bytes) -> bytes:
    return hashlib.sha256(tag.encode() + b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def test_without_parameters_and_flags_the_digests_are_those_of_earlier_releases() -> None:
    assert input_digest(SALT, ITEMS) == salted_digest(SALT, ITEMS)
    outputs = (Output(b"one", ""), Output(b"", "bad"))
    assert output_digest(SALT, outputs) == salted_digest(SALT, (b"one", b"", b"", b"bad"))


def test_parameters_and_flags_are_part_of_what_is_signed() -> None:
    items = salted_digest(SALT, ITEMS)
    assert input_digest(SALT, ITEMS, TOLD) == tagged("swarmharness/parameters/1", SALT, items, TOLD)
    outputs = (Output(b"one", ""), Output(b"two", "", 1))
    plain = salted_digest(SALT, (b"one", b"", b"two", b""))
    expected = tagged("swarmharness/flags/1", SALT, plain, bytes(7) + b"\x01")
    assert output_digest(SALT, outputs) == expected
    assert commitment_of(b"t", "w", b"n", expected) != commitment_of(b"t", "w", b"n", plain)


def test_no_two_tasks_have_one_digest() -> None:
    alike = {
        input_digest(SALT, ITEMS),
        input_digest(SALT, ITEMS, TOLD),
        input_digest(SALT, (*ITEMS, TOLD)),
        input_digest(SALT, (salted_digest(SALT, ITEMS), TOLD)),
        input_digest(SALT, (SALT, salted_digest(SALT, ITEMS), TOLD)),
    }
    assert len(alike) == 5
    flags = [(0, 0), (1, 0), (0, 1), (256, 0), (2**32 - 1, 1)]
    assert len({output_digest(SALT, (Output(b"x", "", a), Output(b"x", "", b))) for a, b in flags}) == len(flags)


def test_a_proposal_and_an_output_of_an_earlier_release_are_read_and_one_of_ours_by_it() -> None:
    import msgpack

    made = Proposal(bytes(16), "echo", bytes(32), 5, SALT, ITEMS)
    *older, told = msgpack.unpackb(encode(made))
    assert told == b""
    assert decode(Proposal, msgpack.packb(older)) == made
    *older, flags = msgpack.unpackb(encode(Output(b"x", "")))
    assert flags == 0
    assert decode(Output, msgpack.packb(older)) == Output(b"x", "")
