from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli import connection
from swarmharness.cli.application import run
from swarmharness.credit.accounts import history_answer, history_of
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.node.data_dir import DataDir
from tests.unit.credit.builders import ALICE, BOB, entry, receipt


@pytest.fixture
def store(tmp_path: Path) -> Path:
    file = ReceiptFile(DataDir.at(tmp_path).database)
    file.set_owner(ALICE.peer_id)
    file.commit([entry(receipt(1)), entry(receipt(2, BOB, ALICE)), entry(receipt(3), worker=False)])
    file.close()
    return tmp_path


def test_without_a_node_the_balance_is_read_from_the_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "balance", "--data-dir", str(store), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["earned_microcredits"], shown["spent_microcredits"]) == (1_002, 1_001)
    assert (shown["peer_id"], shown["half_entries"]) == (ALICE.peer_id, 1)


def test_the_balance_for_people_is_in_credits(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "balance", "--data-dir", str(store)]) == 0
    out = capsys.readouterr().out
    assert "net       0.000001" in out
    assert "2, and 1 that lack the other party's signature" in out


def test_history_is_one_json_object_a_line_newest_first(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "history", "--data-dir", str(store), "--limit", "2", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["share_microcredits"] for line in lines] == [1_003, 1_002]
    assert [line["state"] for line in lines] == ["half-entry", "receipt"]


def test_the_history_for_people_is_a_table(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "history", "--data-dir", str(store)]) == 0
    out = capsys.readouterr().out
    assert "one" in out
    assert "earned" in out


def test_reading_the_store_changes_no_file(store: Path) -> None:
    database = DataDir.at(store).database
    before = database.read_bytes()
    assert run(["credit", "balance", "--data-dir", str(store)]) == 0
    assert database.read_bytes() == before


def test_neither_a_node_nor_a_store_is_status_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "balance", "--data-dir", str(tmp_path)]) == 4
    assert "and there is no receipt database" in capsys.readouterr().err


def test_a_running_node_is_asked(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call_node(data_dir: Path | None, method: str, params: dict[str, Any]) -> Any:
        assert (data_dir, method, params) == (store, "credit.history", {"limit": 20})
        return history_answer(history_of(BOB.peer_id, [entry(receipt(9))]))

    monkeypatch.setattr(connection, "call_node", call_node)
    assert run(["credit", "history", "--data-dir", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["share_microcredits"] == 1_009


GAME = '{"game":"speculative","price":100,"utility":{"a":100,"b":80}}'


def test_attribute_works_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "game.json"
    path.write_text(GAME)
    assert run(["credit", "attribute", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "shares": {"a": 60, "b": 40},
        "method": "closed-form",
        "permutations": 0,
        "digest": "6e20db6c1e92c7c232e522ea00eaa9d4a987f5315792c66e63d1cd23b2a102b1",
    }
    assert run(["credit", "attribute", str(path)]) == 0
    assert "method closed-form" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", GAME.replace("100,", "-1,", 1), GAME.replace("80}", "1.5}")])
def test_a_game_that_does_not_add_up_is_status_3(tmp_path: Path, text: str) -> None:
    path = tmp_path / "game.json"
    path.write_text(text)
    assert run(["credit", "attribute", str(path), "--json"]) == 3


def test_a_game_that_cannot_be_read_is_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["credit", "attribute", str(tmp_path / "none.json")]) == 3
    assert "cannot read the game" in capsys.readouterr().err
