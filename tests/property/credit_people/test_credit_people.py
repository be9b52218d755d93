from __future__ import annotations

import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.credit.archive import MAGIC, Header, archive, read_archive
from swarmharness.credit.audit import StoredEntry, judge_entry
from swarmharness.credit.ledger import Claim, Ledger
from swarmharness.credit.receipt import body_digest
from swarmharness.credit.sqlite_audit import audit
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.standing import standing_of, standings
from swarmharness.errors import InputError
from swarmharness.protocol.codec import encode
from tests.unit.credit.builders import entry, identity, receipt

A = 720
PEERS = ("a", "b", "c", "d")


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_make_the_reader_of_files_do_anything_but_refuse(data: bytes, with_magic: bool) -> None:
    source = BytesIO(MAGIC + data if with_magic else data)
    try:
        list(read_archive(source.read))
    except InputError:
        return
    raise AssertionError("random bytes were taken for a file")


@given(st.lists(st.integers(0, 40), max_size=6), st.binary(min_size=1, max_size=8), st.integers(0, 10**6))
def test_a_changed_file_is_refused(numbers: list[int], patch: bytes, at: int) -> None:
    data = b"".join(archive(Header("x", 0, 0), [entry(receipt(number)) for number in numbers], [], []))
    at %= len(data)
    changed = data[:at] + patch + data[at + len(patch) :]
    try:
        list(read_archive(BytesIO(changed).read))
    except InputError:
        assert changed != data
    else:
        assert changed == data


claims = st.lists(
    st.tuples(st.sampled_from(PEERS), st.sampled_from(PEERS), st.integers(0, 10**9), st.integers(-3, A + 3)),
    max_size=12,
).map(
    lambda rows: [
        Claim(number.to_bytes(32, "big"), one, other, 10_000 - age, amount)
        for number, (one, other, amount, age) in enumerate(rows)
        if one != other
    ]
)


@given(claims)
def test_standings_are_those_of_the_ledger_and_add_up_to_zero_c_5(made: list[Claim]) -> None:
    ledger = Ledger(10_000)
    ledger.add_all(made)
    found = standings(made, 10_000, A)
    assert sum(one.standing_microcredits for one in found) == 0
    for one in found:
        assert one.standing_microcredits == ledger.standing(one.peer_id)
        assert one.earned_microcredits == ledger.earned(one.peer_id)
        assert one.earned_soon_microcredits == ledger.earned(one.peer_id, epochs_ahead=24)
        assert one.spent_soon_microcredits == ledger.spent(one.peer_id, epochs_ahead=24)
        assert one == standing_of(one.peer_id, made, 10_000, A)


@given(
    st.sampled_from(["requester", "worker", "epoch", "share_microcredits", "complete", "digest", "body"]),
    st.binary(max_size=40),
)
def test_whatever_is_changed_in_an_entry_is_found(column: str, junk: bytes) -> None:
    made = receipt()
    halves = (made.requester_half, made.worker_half)
    body = made.body
    columns = (body_digest(body), body.requester, body.worker, body.epoch, body.share_microcredits, True, encode(body))
    stored = StoredEntry(*columns, 0, halves)
    assert judge_entry(stored).findings == ()
    other: Any = {"digest": junk, "body": junk, "complete": False}.get(column, junk.hex())
    changed: dict[str, Any] = {column: other}
    assert judge_entry(replace(stored, **changed)).findings


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.booleans()), max_size=8))
def test_the_audit_accepts_every_store_of_valid_receipts_but_for_forks(rows: list[tuple[int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = ReceiptFile(Path(folder) / "credit.db")
        for number, (one, other, both) in enumerate(rows):
            if one != other:
                file.commit([entry(receipt(number, identity(one), identity(other)), worker=both)])
        forkers = {proof.signer for proof in file.forks()}
        file.close()
        report = audit(file.path)
    assert {finding.kind.value for finding in report.problems} <= {"fork"}
    assert report.forkers == forkers
