from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from swarmharness.node.service_unit import UNIT_NAME, unit_text

COMMAND = ["/usr/bin/python3", "-m", "swarmharness", "node", "start", "--data-dir", '/srv/a "b"/50% $HOME\\x']


def test_the_unit_waits_for_readiness_hardens_and_runs_the_command_word_by_word() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit_text(COMMAND))
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert service["NoNewPrivileges"] == service["RestrictNamespaces"] == "yes"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].startswith('"/usr/bin/python3" "-m" "swarmharness" "node" "start" "--data-dir" ')
    assert service["ExecStart"].endswith(r'"/srv/a \"b\"/50%% $$HOME\\x"')


def test_a_word_that_no_unit_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="control character"):
        unit_text(["/bin/true", "a\nExecStartPost=/bin/false"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT_NAME
    unit.write_text(unit_text(["/bin/true", "a b"]))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["systemd-analyze", "verify", "--user", str(unit)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
