"""Every Python block of docs/python.md, and of the README's part on it, runs against a real node."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarmharness.node.process import NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm

pytestmark = [pytest.mark.processes, pytest.mark.models]

ROOT = Path(__file__).parents[3]
ONE_THREAD = "version = 1\n\n[execution]\nthreads = 1\n"


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


PROGRAMS = [
    *blocks("docs/python.md", "python"),
    *(block for block in blocks("README.md", "python") if "swarmharness.connect" in block),
]
CELLS = blocks("docs/python.md", "python notebook")


@pytest.fixture
def node(process_swarm: ProcessSwarm) -> NodeProcess:
    return process_swarm(1, skills=["text-embedding", "file-type"], config=ONE_THREAD)[0]


def test_every_program_runs(node: NodeProcess, tmp_path: Path) -> None:
    assert len(PROGRAMS) > 6
    environment = {**os.environ, "SWARMHARNESS_DATA_DIR": str(node.data_dir.path)}
    for program in PROGRAMS:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{program}\n{done.stderr}"


def test_cells_run_one_by_one_inside_a_running_loop(node: NodeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMHARNESS_DATA_DIR", str(node.data_dir.path))
    namespace: dict[str, Any] = {}
    shown: list[Any] = []

    async def kernel() -> None:
        for cell in CELLS:
            try:
                code = compile(cell, "<cell>", "eval")
            except SyntaxError:
                exec(cell, namespace)
            else:
                shown.append(eval(code, namespace))
            await asyncio.sleep(0)

    asyncio.run(kernel())
    assert len(CELLS) == 3
    assert shown[0].ok
    assert "float32 (384,)" in repr(shown[0]), "a cell shows no 384 numbers"
