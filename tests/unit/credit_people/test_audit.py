from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from swarmharness.cli.application import run
from swarmharness.credit.accounts import Entry
from swarmharness.credit.attribution.games import SpeculativeGame, game_digest
from swarmharness.credit.audit import Games, Kind, recomputed
from swarmharness.credit.chain import Place, opening, place_after
from swarmharness.credit.forks import fork_proof
from swarmharness.credit.receipt import ZERO_DIGEST, Receipt
from swarmharness.credit.sqlite_audit import AuditReport, audit
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.node.data_dir import DataDir
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, receipt


def chained(count: int) -> list[Receipt]:
    """Receipts of Alice and Bob whose halves follow one another."""
    made: list[Receipt] = []
    for number in range(count):
        of = body(number)
        one, other = (made[-1].requester_half, made[-1].worker_half) if made else (None, None)
        made.append(Receipt(of, half(of, ALICE, one), half(of, BOB, other)))
    return made


def stored(folder: Path, entries: Iterable[Entry]) -> Path:
    file = ReceiptFile(folder / "credit.db")
    file.set_owner(ALICE.peer_id)
    file.commit(list(entries))
    file.close()
    return file.path


def change(path: Path, statement: str, *values: object) -> None:
    file = ReceiptFile(path)
    with file.transaction():
        assert file.connection.execute(statement, values).rowcount
    file.close()


def kinds(report: AuditReport) -> dict[Kind, int]:
    return dict(report.found)


def test_a_store_of_honest_receipts_is_clean(tmp_path: Path) -> None:
    one, two, three = chained(3)
    report = audit(stored(tmp_path, [entry(one), entry(two), entry(three, worker=False)]))
    assert (report.receipts, report.half_entries, report.halves, report.chains) == (2, 1, 5, 2)
    assert (report.problems_total, kinds(report), report.peer_id) == (0, {}, ALICE.peer_id)


def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    assert audit(stored(tmp_path, [])).problems_total == 0


def test_a_gap_is_told_and_is_no_problem_c_17(tmp_path: Path) -> None:
    one, _, three = chained(3)
    report = audit(stored(tmp_path, [entry(one), entry(three)]))
    assert (report.problems_total, kinds(report)) == (0, {Kind.GAP: 2})
    assert "1 halves before number 2" in report.gaps[0].text


def test_a_leap_that_names_its_predecessor_is_no_gap_c_17(tmp_path: Path) -> None:
    (one,) = chained(1)
    far = replace(place_after(one.requester_half), number=5_000_000)
    made = body(7)
    leapt = Receipt(made, half(made, ALICE, place=far), half(made, BOB, one.worker_half))
    after = body(8)
    last = Receipt(after, half(after, ALICE, leapt.requester_half), half(after, BOB, leapt.worker_half))
    report = audit(stored(tmp_path, [entry(one), entry(leapt), entry(last)]))
    assert (report.problems_total, kinds(report), report.chains) == (0, {}, 2)


def test_each_damaged_signature_is_named_with_its_receipt(tmp_path: Path) -> None:
    path = stored(tmp_path, map(entry, chained(2)))
    change(path, "UPDATE halves SET signature = zeroblob(64) WHERE signer = ? AND number = 1", BOB.peer_id)
    report = audit(path)
    assert kinds(report) == {Kind.INVALID_HALF: 1, Kind.WRONG_STATE: 1, Kind.WRONG_BOOKS: 2}
    invalid = next(one for one in report.problems if one.kind is Kind.INVALID_HALF)
    digest = chained(2)[1].requester_half.content.body_digest
    assert (invalid.receipt, invalid.peer_id) == (digest.hex(), BOB.peer_id)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE entries SET share_microcredits = share_microcredits + 1", Kind.WRONG_COLUMN),
        ("UPDATE entries SET body = x'00'", Kind.UNREADABLE),
        ("UPDATE entries SET body = 'text'", Kind.UNREADABLE),
        ("UPDATE entries SET digest = zeroblob(32)", Kind.WRONG_DIGEST),
        ("UPDATE entries SET complete = 0", Kind.WRONG_STATE),
        ("DELETE FROM entries", Kind.STRAY_HALF),
        ("UPDATE halves SET signature = 'text'", Kind.INVALID_HALF),
        ("UPDATE halves SET incarnation = -1", Kind.INVALID_HALF),
    ],
)
def test_every_change_by_somebody_elses_hand_is_found(tmp_path: Path, statement: str, kind: Kind) -> None:
    path = stored(tmp_path, [entry(receipt())])
    change(path, statement)
    assert kind in kinds(audit(path))


def test_a_store_that_counts_what_no_receipt_proves_has_wrong_books_c_5(tmp_path: Path) -> None:
    path = stored(tmp_path, [entry(receipt())])
    change(path, "UPDATE entries SET share_microcredits = 5")
    found = [one for one in audit(path).problems if one.kind is Kind.WRONG_BOOKS]
    assert [one.peer_id for one in found] == sorted([ALICE.peer_id, BOB.peer_id])
    assert {"counts -5 micro-credits, its receipts prove -1001" in one.text for one in found} == {True, False}


def test_both_receipts_of_a_fork_are_named_c_15(tmp_path: Path) -> None:
    one, other = receipt(1), receipt(2, ALICE, CAROL)
    report = audit(stored(tmp_path, [entry(one), entry(other)]))
    assert kinds(report) == {Kind.FORK: 2}
    assert report.forkers == {ALICE.peer_id}
    digests = {made.requester_half.content.body_digest.hex() for made in (one, other)}
    assert {finding.receipt for finding in report.problems} == digests


def test_a_proof_from_elsewhere_is_no_problem_of_this_store(tmp_path: Path) -> None:
    path = stored(tmp_path, [])
    proof = fork_proof(half(body(1, CAROL), CAROL), half(body(2, CAROL), CAROL))
    assert proof is not None
    file = ReceiptFile(path)
    file.keep_fork(proof)
    assert (audit(path).problems_total, audit(path).forkers) == (0, {CAROL.peer_id})
    forged = replace(proof, one=replace(proof.one, signature=bytes(64)))
    file.connection.execute("DELETE FROM forks")
    file.keep_fork(forged)
    file.close()
    assert kinds(audit(path)) == {Kind.INVALID_PROOF: 1}


def test_a_half_that_names_another_predecessor_is_a_broken_link(tmp_path: Path) -> None:
    (one,) = chained(1)
    of = body(2)
    after = place_after(one.requester_half)
    wrong = half(of, ALICE, place=Place(after.incarnation, after.number, b"x" * 32))
    second = Receipt(of, wrong, half(of, BOB, one.worker_half))
    report = audit(stored(tmp_path, [entry(one), entry(second)]))
    assert kinds(report) == {Kind.BROKEN_LINK: 1}
    assert report.problems[0].peer_id == ALICE.peer_id


def test_a_link_to_either_side_of_a_fork_is_whole(tmp_path: Path) -> None:
    one, other = receipt(1), receipt(2)
    of = body(3)
    third = Receipt(of, half(of, ALICE, one.requester_half), half(of, BOB, other.worker_half))
    report = audit(stored(tmp_path, map(entry, (one, other, third))))
    assert kinds(report) == {Kind.FORK: 4}


def test_a_new_incarnation_begins_without_a_predecessor_c_17(tmp_path: Path) -> None:
    (one,) = chained(1)
    of = body(2)
    renewed = half(of, ALICE, place=opening(one.requester_half.content.incarnation, NOON_US + 1))
    second = Receipt(of, renewed, half(of, BOB, one.worker_half))
    report = audit(stored(tmp_path, [entry(one), entry(second)]))
    assert (kinds(report), report.chains) == ({}, 3)


GAME = SpeculativeGame(100, {BOB.peer_id: 100, CAROL.peer_id: 80})
TEXT = json.dumps({"game": GAME.kind, "price": GAME.price, **GAME.canonical()}).encode()


@pytest.mark.parametrize(
    ("share", "price", "wrong"),
    [(60, 100, ""), (61, 100, "its share is 61, by its game 60"), (60, 99, "its price is 99, that of its game is 100")],
)
def test_a_share_is_recomputed_where_its_game_is_known_c_3(share: int, price: int, wrong: str) -> None:
    made = body(share_microcredits=share, price_microcredits=price, game_digest=game_digest(GAME))
    games = Games({game_digest(GAME): TEXT}.get)
    found = games.judge(made)
    assert (found.text if found else "") == wrong
    assert games.judge(replace(made, game_digest=bytes(31) + b"1")) is None
    assert (games.known, games.unknown) == (1, 1)


def test_a_worker_outside_its_game_and_a_lone_worker_for_less_are_found() -> None:
    games = Games({game_digest(GAME): TEXT}.get)
    stranger = games.judge(body(1, BOB, ALICE, price_microcredits=100, game_digest=game_digest(GAME)))
    assert stranger is not None
    assert "price" in stranger.text or "no part" in stranger.text
    alone = games.judge(body(price_microcredits=2_000, game_digest=ZERO_DIGEST))
    assert alone is not None
    assert "one worker did it" in alone.text


@pytest.mark.parametrize("text", [b"{", TEXT, TEXT.replace(b"100", b"101")])
def test_what_is_kept_as_a_game_is_not_believed(text: bytes) -> None:
    assert isinstance(recomputed(bytes(32), text), str)


def test_only_so_many_problems_are_listed_but_all_are_counted(tmp_path: Path) -> None:
    path = stored(tmp_path, map(entry, chained(600)))
    change(path, "UPDATE entries SET epoch = epoch + id, complete = 0")
    report = audit(path)
    assert len(report.problems) == 1_000
    assert report.problems_total > 1_000


# --- the command


def test_a_clean_audit_has_status_0_and_says_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path, map(entry, chained(2))).rename(DataDir.at(tmp_path).database)
    assert run(["credit", "audit", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2 receipts and 0 half-entries" in out
    assert "everything is as it should be" in out


def test_an_audit_with_problems_has_status_3_and_names_the_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored(tmp_path, [entry(receipt())]).rename(DataDir.at(tmp_path).database)
    change(path, "UPDATE halves SET signature = zeroblob(64) WHERE signer = ?", BOB.peer_id)
    assert run(["credit", "audit", "--data-dir", str(tmp_path), "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    digest = receipt().requester_half.content.body_digest.hex()
    assert not shown["clean"]
    assert {problem["receipt"] for problem in shown["problems"]} == {digest, ""}
    assert run(["credit", "audit", "--data-dir", str(tmp_path)]) == 3
    assert digest[:8] in capsys.readouterr().out


def test_an_audit_of_nothing_is_status_4_and_of_a_damaged_file_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["credit", "audit", "--data-dir", str(tmp_path)]) == 4
    DataDir.at(tmp_path).database.write_bytes(b"no database" * 1_000)
    assert run(["credit", "audit", "--data-dir", str(tmp_path)]) == 3
    assert "is damaged" in capsys.readouterr().err


def test_an_audit_changes_nothing(tmp_path: Path) -> None:
    path = stored(tmp_path, [entry(receipt())]).rename(DataDir.at(tmp_path).database)
    before = path.read_bytes()
    assert run(["credit", "audit", "--data-dir", str(tmp_path)]) == 0
    assert path.read_bytes() == before
