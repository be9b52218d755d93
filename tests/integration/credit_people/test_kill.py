from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 50


@pytest.mark.processes
def test_fifty_kills_in_mid_settlement_leave_every_audit_clean_and_nobody_banned_c_17(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "tests.integration.credit_people.killed_pair", str(tmp_path), str(ROUNDS), "3"]
    run = subprocess.run(
        arguments, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=110
    )
    assert run.returncode == 0, run.stderr
    rounds = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    acknowledged = 0
    for number, one in enumerate(rounds):
        acknowledged += one["acknowledged"]
        for store in one["stores"]:
            assert store["clean"], f"after kill {number}: {store['problems']}"
            assert store["forkers"] == []
            assert store["peer_id"] not in {gap["peer_id"] for gap in store["gaps"]}, "it lost a half of its own"
            assert store["receipts"] >= acknowledged
            assert store["chains"] == 2, "a crash alone needs no new incarnation"
    assert any(store["half_entries"] for one in rounds for store in one["stores"]), "no kill hit a settlement"
