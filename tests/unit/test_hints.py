from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from swarmharness.hints import quoted


@pytest.mark.parametrize(
    "raw",
    [
        b"/tmp/plain-1.txt",
        b"/tmp/my file",
        b"/tmp/two  spaces",
        b'/tmp/it\'s $HOME `id` "x"; rm -rf *',
        b"/tmp/caf\xc3\xa9",
        b"/tmp/caf\xe9",
        b"/tmp/new\nline and \x1b[31mred\\",
    ],
)
def test_a_shell_gets_the_bytes_back_from_one_line(raw: bytes) -> None:
    written = quoted(Path(os.fsdecode(raw)))
    assert "\n" not in written
    said = subprocess.run(["bash", "-c", f"printf %s {written}"], capture_output=True, check=True, timeout=60)
    assert said.stdout == raw


def test_what_needs_no_quotes_gets_none() -> None:
    assert quoted("/srv/swarm-1/node.toml") == "/srv/swarm-1/node.toml"
