from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli.application import run
from swarmharness.credit.attribution.games import SpeculativeGame, game_digest, game_text
from swarmharness.credit.forks import fork_proof
from swarmharness.credit.receipt import EPOCH_US, ZERO_DIGEST, body_digest, epoch_of
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.store import Game
from swarmharness.node.data_dir import DataDir
from tests.unit.credit.builders import ALICE, BOB, CAROL, body, entry, half, receipt

NOW_US = 1_800_000_000 * 1_000_000
EPOCH = epoch_of(NOW_US)
GAME = SpeculativeGame(100, {BOB.peer_id: 100, CAROL.peer_id: 80})
SHARED = {"price_microcredits": 100, "game_digest": game_digest(GAME)}


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands read the time, and an hour that ends in the middle of a test changes what credit is worth."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW_US * 1_000)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Alice's store: she had Bob and Carol do one thing in two copies, Bob alone another, and did one for Bob."""
    directory = DataDir.at(tmp_path / "home")
    directory.create()
    file = ReceiptFile(directory.database)
    file.set_owner(ALICE.peer_id)
    one = receipt(1, ALICE, BOB, share_microcredits=60, epoch=EPOCH, **SHARED)
    of = body(2, ALICE, CAROL, share_microcredits=40, epoch=EPOCH, **SHARED)
    two = entry(receipt(2, ALICE, CAROL, share_microcredits=40, epoch=EPOCH, **SHARED))
    two = type(two)(of, half(of, ALICE, one.requester_half), two.worker_half, two.stored_us)
    back = body(3, BOB, ALICE, epoch=EPOCH, game_digest=ZERO_DIGEST)
    assert two.requester_half is not None
    third = type(two)(back, half(back, BOB, one.worker_half), half(back, ALICE, two.requester_half), NOW_US)
    file.commit([entry(one), two, third])
    file.keep_games([Game(game_digest(GAME), EPOCH, game_text(GAME))])
    file.close()
    return directory.path


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def digest(number: int) -> str:
    owners = {1: (ALICE, BOB, 60), 2: (ALICE, CAROL, 40)}
    requester, worker, share = owners[number]
    return body_digest(body(number, requester, worker, share_microcredits=share, epoch=EPOCH, **SHARED)).hex()


def test_the_balance_tells_the_standing_and_what_melts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "balance", "--data-dir", str(home), "--json"]) == 0
    answer = shown(capsys)
    assert answer["standing"]["standing_microcredits"] == 1_003 - 100
    assert answer["standing"]["expires_us"] == (EPOCH + 720) * EPOCH_US
    assert answer["peer"] is None
    assert run(["credit", "balance", "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert "standing  0.000903" in out
    assert "expires   0.001003" in out


def test_the_balance_with_a_peer_says_what_each_would_do_for_the_other(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "node.toml").write_text(f'version = 1\n[credit.lines]\n"{BOB.peer_id}" = 5_000_000\n')
    assert run(["credit", "balance", "--peer", BOB.peer_id, "--data-dir", str(home), "--json"]) == 0
    peer = shown(capsys)["peer"]
    assert (peer["flow_microcredits"], peer["line_left_microcredits"]) == (60, 5_000_000)
    assert peer["available_microcredits"] == 60 + 5_000_000 + 600_000_000
    assert peer["flow_there_microcredits"] == 1_003
    assert run(["credit", "balance", "--peer", BOB.peer_id, "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert "here it may have work for 605.000060 now" in out
    assert "there you have 0.001003 by your work" in out
    assert run(["credit", "balance", "--peer", CAROL.peer_id, "--data-dir", str(home)]) == 0
    assert "out of what all strangers share" in capsys.readouterr().out


def test_a_banned_peer_is_told_of_in_the_balance_and_on_top(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = fork_proof(half(body(8, BOB, CAROL), BOB), half(body(9, BOB, CAROL), BOB))
    assert proof is not None
    file = ReceiptFile(DataDir.at(home).database)
    file.keep_fork(proof)
    file.close()
    assert run(["credit", "balance", "--peer", BOB.peer_id, "--data-dir", str(home)]) == 0
    assert "signed two histories" in capsys.readouterr().out
    assert run(["credit", "top", "--data-dir", str(home), "--json"]) == 0
    assert [peer["banned"] for peer in shown(capsys)["peers"]] == [peer == BOB.peer_id for peer in ranked()]


def ranked() -> list[str]:
    return [ALICE.peer_id, CAROL.peer_id, BOB.peer_id]


def test_top_ranks_by_standing_and_says_that_it_decides_nothing_c_14(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["credit", "top", "--data-dir", str(home), "--limit", "2", "--json"]) == 0
    answer = shown(capsys)
    assert [peer["peer_id"] for peer in answer["peers"]] == ranked()[:2]
    assert (answer["peers_known"], answer["peer_id"]) == (3, ALICE.peer_id)
    assert run(["credit", "top", "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert "never on standings" in out
    assert "you" in out


def test_the_history_of_one_peer(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "history", "--peer", BOB.peer_id, "--data-dir", str(home), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["role"], line["share_microcredits"]) for line in lines] == [("worker", 1_003), ("requester", 60)]


@pytest.mark.parametrize("command", ["balance", "history"])
def test_a_peer_that_is_none_is_status_3(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", command, "--peer", "Bob", "--data-dir", str(home)]) == 3
    assert "--peer" in capsys.readouterr().err


@pytest.mark.parametrize("digits", [4, 5, 16, 64])
def test_a_receipt_is_explained_by_the_first_digits_of_its_digest(
    home: Path, digits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["credit", "explain", digest(1)[:digits].upper(), "--data-dir", str(home), "--json"]) == 0
    answer = shown(capsys)
    assert answer["receipt"] == digest(1)
    assert answer["attribution"]["shares"] == {BOB.peer_id: 60, CAROL.peer_id: 40}
    assert answer["attribution"]["matches"] is True
    assert [half["after"] for half in answer["halves"] if half["role"] == "requester"] == [digest(2)]
    assert answer["counts_microcredits"] == 60


def test_a_receipt_is_explained_by_its_task(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = (2).to_bytes(16, "big").hex()
    assert run(["credit", "explain", task, "--data-dir", str(home), "--json"]) == 0
    assert shown(capsys)["receipt"] == digest(2)


def test_the_explanation_for_people(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "explain", digest(2), "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert f"from {ALICE.peer_id} (you)" in out
    assert "game       speculative over 0.000100" in out
    assert "recomputed (closed-form): the receipt says the same" in out
    assert digest(1)[:16] in out


def test_a_share_that_its_game_does_not_give_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ReceiptFile(DataDir.at(home).database)
    wrong = receipt(7, CAROL, BOB, share_microcredits=61, epoch=EPOCH, **SHARED)
    file.commit([entry(wrong)])
    file.close()
    name = body_digest(wrong.body).hex()
    assert run(["credit", "explain", name, "--data-dir", str(home)]) == 0
    assert "the receipt is wrong: its share is 61, by its game 60" in capsys.readouterr().out
    assert run(["credit", "audit", "--data-dir", str(home), "--json"]) == 3
    kinds = {one["kind"] for one in shown(capsys)["problems"] if one["receipt"] == name}
    assert "wrong-share" in kinds


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"game_digest": ZERO_DIGEST}, "one worker did it, so its share is the whole price"),
        ({"game_digest": bytes(31) + b"x"}, "is not here: its requester and its workers have it"),
        ({"game_digest": ZERO_DIGEST, "price_microcredits": 5_000}, "its share is not the whole price"),
    ],
)
def test_every_receipt_has_some_explanation(
    home: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ReceiptFile(DataDir.at(home).database)
    made = receipt(7, CAROL, BOB, epoch=EPOCH, **changes)
    file.commit([entry(made, worker=False)])
    file.close()
    assert run(["credit", "explain", body_digest(made.body).hex(), "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert said in out
    assert "a signature is missing" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "no receipt or task"),
        ("xyzw", "no receipt or task"),
        ("0" * 65, "no receipt or task"),
        ("ffffffffffff", "no receipt or task here begins with"),
        ("00000000", "several receipts fit"),
    ],
)
def test_what_names_no_single_receipt_is_status_3(
    home: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["credit", "explain", text, "--data-dir", str(home)]) == 3
    assert said in capsys.readouterr().err
