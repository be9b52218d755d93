from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from swarmharness.cli.application import run
from swarmharness.cli.credit_files import since_us
from swarmharness.credit.forks import fork_proof
from swarmharness.credit.sqlite_audit import audit
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.errors import InputError
from swarmharness.identity import Identity
from swarmharness.node.data_dir import DataDir
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, identity, receipt

HOUR_US = 3_600 * 10**6


def node(folder: Path, who: Identity, *numbers: int) -> DataDir:
    directory = DataDir.at(folder)
    directory.create()
    directory.write_secret("identity.key", who.seed)
    file = ReceiptFile(directory.database)
    file.set_owner(who.peer_id)
    file.commit([entry(receipt(number, BOB, CAROL)) for number in numbers])
    file.close()
    return directory


@pytest.fixture
def exporter(tmp_path: Path) -> DataDir:
    return node(tmp_path / "from", ALICE, 1)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_what_one_node_exports_another_imports(
    exporter: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = fork_proof(half(body(1), ALICE), half(body(2), ALICE))
    assert proof is not None
    file = ReceiptFile(exporter.database)
    file.keep_fork(proof)
    file.commit([entry(receipt(2, ALICE, BOB), worker=False)])
    file.close()
    out = tmp_path / "receipts"
    assert run(["credit", "export", str(out), "--data-dir", str(exporter.path), "--json"]) == 0
    assert shown(capsys) == {"file": str(out), "entries": 2, "damaged": 0, "proofs": 1, "games": 0}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    to = node(tmp_path / "to", CAROL)
    assert run(["credit", "import", str(out), "--data-dir", str(to.path)]) == 7
    printed = capsys.readouterr()
    assert "refused 1: a half-entry between others is worth nothing" in printed.out
    assert "1 entries of" in printed.err
    assert run(["credit", "import", str(out), "--data-dir", str(to.path), "--json"]) == 7
    assert shown(capsys) == {
        "new": 0,
        "known": 1,
        "proofs": 0,
        "games": 0,
        "refused": {"a half-entry between others is worth nothing": 1},
    }
    report = audit(to.database)
    assert (report.receipts, report.problems_total, report.forkers) == (1, 0, {ALICE.peer_id})


def test_a_whole_file_is_status_0(exporter: DataDir, tmp_path: Path) -> None:
    out = tmp_path / "receipts"
    assert run(["credit", "export", str(out), "--data-dir", str(exporter.path)]) == 0
    to = node(tmp_path / "to", CAROL)
    assert run(["credit", "import", str(out), "--data-dir", str(to.path)]) == 0


def test_an_own_chain_is_taken_and_sealed_when_no_node_runs_c_17(tmp_path: Path) -> None:
    before = node(tmp_path / "from", CAROL, 1)
    out = tmp_path / "receipts"
    assert run(["credit", "export", str(out), "--data-dir", str(before.path)]) == 0
    again = node(tmp_path / "to", CAROL)
    assert run(["credit", "import", str(out), "--data-dir", str(again.path)]) == 0
    file = ReceiptFile(again.database)
    assert file.sealed() == receipt(1, BOB, CAROL).worker_half.content.incarnation
    file.close()


def test_nothing_of_a_damaged_file_is_stored(
    exporter: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "receipts"
    assert run(["credit", "export", str(out), "--data-dir", str(exporter.path)]) == 0
    out.write_bytes(out.read_bytes()[:-1] + b"x")
    to = node(tmp_path / "to", CAROL)
    assert run(["credit", "import", str(out), "--data-dir", str(to.path)]) == 3
    assert "nothing of it was stored" in capsys.readouterr().err
    assert audit(to.database).receipts == 0


def test_a_file_is_never_overwritten_and_none_is_left_after_a_failure(exporter: DataDir, tmp_path: Path) -> None:
    out = tmp_path / "receipts"
    out.write_text("mine")
    assert run(["credit", "export", str(out), "--data-dir", str(exporter.path)]) == 3
    assert out.read_text() == "mine"
    assert run(["credit", "export", str(tmp_path / "no" / "where"), "--data-dir", str(exporter.path)]) == 3
    exporter.database.write_bytes(b"damaged" * 1_000)
    assert run(["credit", "export", str(tmp_path / "other"), "--data-dir", str(exporter.path)]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "receipts"]


def test_damaged_entries_are_left_out_and_counted(
    exporter: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ReceiptFile(exporter.database)
    file.commit([entry(receipt(2, identity(4), identity(5)))])
    file.connection.execute("UPDATE entries SET body = x'00' WHERE id = 1")
    file.connection.execute("UPDATE halves SET signature = 'text'")
    file.close()
    assert run(["credit", "export", str(tmp_path / "out"), "--data-dir", str(exporter.path)]) == 0
    assert "1 damaged entries were left out" in capsys.readouterr().out
    to = node(tmp_path / "to", CAROL)
    assert run(["credit", "import", str(tmp_path / "out"), "--data-dir", str(to.path)]) == 7
    assert "nobody signed it" in capsys.readouterr().out


def test_only_what_is_newer_is_exported_if_so_wished(
    exporter: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for since, entries in (("1h", 0), ("2020-01-01", 1)):
        arguments = ["--since", since, "--data-dir", str(exporter.path), "--json"]
        assert run(["credit", "export", str(tmp_path / since), *arguments]) == 0
        assert shown(capsys)["entries"] == entries


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0h", NOON_US),
        ("12h", NOON_US - 12 * HOUR_US),
        ("2d", NOON_US - 48 * HOUR_US),
        ("999999w", 0),
        ("1970-01-02", 24 * HOUR_US),
        ("1970-01-02T01:00:00+01:00", 24 * HOUR_US),
    ],
)
def test_a_moment_is_a_span_or_a_date(text: str, expected: int) -> None:
    assert since_us(text, NOON_US) == expected


@pytest.mark.parametrize("text", ["", "d", "yesterday", "1.5h", "-1d", "²d", "2026-13-01"])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="no span"):
        since_us(text, NOON_US)


def test_an_import_without_any_node_is_status_4(tmp_path: Path, exporter: DataDir) -> None:
    out = tmp_path / "out"
    assert run(["credit", "export", str(out), "--data-dir", str(exporter.path)]) == 0
    assert run(["credit", "import", str(out), "--data-dir", str(tmp_path / "none")]) == 4
    assert run(["credit", "import", str(tmp_path / "nothing"), "--data-dir", str(exporter.path)]) == 3
