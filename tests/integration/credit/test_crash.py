from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from swarmharness.credit.chain import gaps, is_fork
from swarmharness.credit.receipt import receipt_problem
from swarmharness.credit.sqlite_file import ReceiptFile
from tests.unit.credit.builders import ALICE, BOB

ROUNDS = 50


@pytest.mark.processes
def test_killing_both_nodes_in_mid_settlement_loses_no_acknowledged_receipt_s_1(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "tests.integration.credit.crashing_pair", str(tmp_path), str(ROUNDS), "1"]
    root = Path(__file__).parents[3]
    run = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stderr
    acknowledged = [bytes.fromhex(line) for line in run.stdout.splitlines()]
    assert len(acknowledged) > ROUNDS
    for name, owner in (("alice", ALICE), ("bob", BOB)):
        file = ReceiptFile(tmp_path / f"{name}.db")
        for digest in acknowledged:
            entry = file.entry(digest)
            assert entry is not None
            assert entry.receipt is not None, f"{name} lost half of an acknowledged receipt"
            assert receipt_problem(entry.receipt) is None
        halves = file._halves("signer = ? ORDER BY incarnation, number", owner.peer_id)
        assert len({half.content.incarnation for half in halves}) == 1, "a crash alone needs no new incarnation"
        assert gaps(half.content.number for half in halves) == ()
        assert not any(is_fork(*pair) for pair in pairwise(halves))
        file.close()
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.processes
def test_neither_node_holds_a_half_of_the_other_that_the_other_has_not_s_1(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "tests.integration.credit.crashing_pair", str(tmp_path), "10", "2"]
    subprocess.run(arguments, cwd=Path(__file__).parents[3], capture_output=True, check=True, timeout=100)
    alice, bob = (ReceiptFile(tmp_path / f"{name}.db") for name in ("alice", "bob"))
    for who, own, others in ((ALICE, alice, bob), (BOB, bob, alice)):
        seen = {half.signature for half in others._halves("signer = ?", who.peer_id)}
        assert seen <= {half.signature for half in own._halves("signer = ?", who.peer_id)}
    alice.close()
    bob.close()
