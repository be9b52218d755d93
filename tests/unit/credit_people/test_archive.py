from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest

from swarmharness.credit.archive import (
    GAME_BYTES_MAX,
    MAGIC,
    Block,
    Entries,
    Games,
    Header,
    Proofs,
    Refusal,
    archive,
    read_archive,
    refusal,
)
from swarmharness.credit.forks import ForkProof, fork_proof
from swarmharness.credit.receipt import Problem
from swarmharness.errors import InputError
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, receipt

EPOCH = receipt().body.epoch
HEADER = Header(ALICE.peer_id, NOON_US, 0)


def proof() -> ForkProof:
    made = fork_proof(half(body(1), ALICE), half(body(2), ALICE))
    assert made is not None
    return made


def file(entries: int = 3, games: tuple[bytes, ...] = (b"{}",)) -> bytes:
    some = [entry(receipt(number)) for number in range(entries)]
    return b"".join(archive(HEADER, some, [proof()], games))


def blocks(data: bytes) -> list[Block]:
    return list(read_archive(BytesIO(data).read))


def test_a_file_gives_back_what_went_into_it() -> None:
    entries = Entries(tuple(entry(receipt(number)) for number in range(3)))
    assert blocks(file()) == [HEADER, entries, Proofs((proof(),)), Games((b"{}",))]


def test_long_exports_come_in_blocks_of_limited_size() -> None:
    large = b"x" * GAME_BYTES_MAX
    found = blocks(file(600, (large, large, b"{}", b"{}")))
    assert [len(block.entries) for block in found if isinstance(block, Entries)] == [256, 256, 88]
    assert [len(block.games) for block in found if isinstance(block, Games)] == [1, 1, 2]


def test_an_empty_export_is_a_file_too() -> None:
    assert blocks(b"".join(archive(HEADER, [], [], []))) == [HEADER]


def test_every_flipped_byte_is_noticed() -> None:
    data = file(1, ())
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 1
        with pytest.raises(InputError):
            blocks(bytes(broken))


def test_every_file_that_is_cut_short_or_goes_on_is_noticed() -> None:
    data = file(1, ())
    for size in range(len(data)):
        with pytest.raises(InputError):
            blocks(data[:size])
    with pytest.raises(InputError, match="follows its end"):
        blocks(data + b"x")


def test_an_enormous_block_is_refused_before_it_is_read() -> None:
    asked: list[int] = []
    source = BytesIO(MAGIC + b"\x01\xff\xff\xff\xff")

    def read(size: int) -> bytes:
        asked.append(size)
        return source.read(size)

    with pytest.raises(InputError, match="at most"):
        list(read_archive(read))
    assert max(asked) == len(MAGIC)


def test_a_newer_format_is_told_from_something_else() -> None:
    with pytest.raises(InputError, match="newer"):
        blocks(MAGIC.replace(b"1", b"2") + b"anything")
    with pytest.raises(InputError, match="no export"):
        blocks(b"PK\x03\x04 something else altogether")


# --- what may be imported


def test_a_receipt_between_others_within_the_horizon_is_taken() -> None:
    assert refusal(entry(receipt()), CAROL.peer_id, EPOCH) is None
    assert refusal(entry(receipt()), CAROL.peer_id, EPOCH + 719) is None
    assert refusal(entry(receipt()), CAROL.peer_id, EPOCH - 1) is None


@pytest.mark.parametrize(
    ("made", "now", "reason"),
    [
        (entry(receipt()), EPOCH + 720, Refusal.EXPIRED),
        (entry(receipt()), EPOCH - 2, Refusal.FUTURE),
        (entry(receipt(), worker=False), EPOCH, Refusal.HALF_OF_OTHERS),
        (entry(receipt(), worker=False, requester=False), EPOCH, Refusal.NO_HALF),
        (entry(receipt(share_microcredits=2**39)), EPOCH, Problem.SHARE_ABOVE_PRICE),
        (replace(entry(receipt()), worker_half=half(body(2), BOB)), EPOCH, Problem.WRONG_BODY),
        (replace(entry(receipt()), worker_half=half(body(), CAROL)), EPOCH, Problem.WRONG_SIGNER),
        (
            replace(entry(receipt()), requester_half=replace(half(body(), ALICE), signature=bytes(64))),
            EPOCH,
            Problem.WRONG_SIGNATURE,
        ),
    ],
)
def test_what_is_refused_has_a_reason(made: object, now: int, reason: object) -> None:
    assert refusal(made, CAROL.peer_id, now) is reason  # type: ignore[arg-type]


def test_own_old_receipts_and_half_entries_are_taken_back() -> None:
    assert refusal(entry(receipt()), ALICE.peer_id, EPOCH + 10_000) is None
    assert refusal(entry(receipt(), worker=False), ALICE.peer_id, EPOCH) is None
