"""A setting that waits for a restart says so: in the node's log, and in `config show` with both values."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swarmharness.node.process import LOG_NAME, NodeGroup, NodeLaunch

pytestmark = [pytest.mark.processes]
CONFIG = "version = 1\n\n[execution]\nskills = []\n\n[jobs]\ndeadline_s = {deadline_s}\n"


def shown(data_dir: Path, *options: str) -> str:
    command = [sys.executable, "-m", "swarmharness", "config", "show", *options, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_setting_that_needs_a_restart_is_shown_with_both_values(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with NodeGroup() as group:
        group.start(NodeLaunch(data_dir, config=CONFIG.format(deadline_s=50.0)))
        assert json.loads(shown(data_dir, "--json"))["pending"] == {}
        (data_dir / "node.toml").write_text(CONFIG.format(deadline_s=70.0))
        pending = json.loads(shown(data_dir, "--json"))["pending"]
        assert pending["jobs.deadline_s"] == {"file": 70.0, "in_force": 50.0}
        text = shown(data_dir)
        assert "deadline_s = 70.0" in text
        assert "next start" in text
        assert "jobs.deadline_s = 70.0, now 50.0" in text
        until = time.monotonic() + 60
        while "it takes effect at the next start" not in (log := (data_dir / LOG_NAME).read_text()):
            assert time.monotonic() < until, log
            time.sleep(0.1)
        assert "jobs.deadline_s = 70.0; it takes effect at the next start, until then it is 50.0" in log
    assert json.loads(shown(data_dir, "--json"))["pending"] == {}
