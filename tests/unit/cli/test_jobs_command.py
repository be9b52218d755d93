"""`swarmharness jobs` without a node: what its journal says of a job, for people."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
from typer.testing import CliRunner

from swarmharness.cli.jobs_command import app
from swarmharness.jobs.sqlite_journal import open_journal
from tests.unit.jobs.test_journal import JOB


async def note(path: Path, source: dict[str, Any]) -> None:
    async with open_journal(path) as journal:
        journal.begin(replace(JOB, source=source))


def test_a_file_whose_name_is_no_text_is_listed_with_its_bytes(tmp_path: Path) -> None:
    trio.run(note, tmp_path / "jobs.sqlite", {"files": [os.fsdecode(b"caf\xe9\xff.txt"), "-"]})
    listed = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["list", "--data-dir", str(tmp_path)])
    assert listed.exit_code == 0, listed.exception
    assert r"caf\xe9\xff.txt, standard input" in listed.stdout
