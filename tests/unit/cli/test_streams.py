"""Commands with standard streams that are closed, full or strict: real processes, without a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from swarmharness.cli.options import json_text

ODD = b"caf\xe9"
"""A name in Latin-1."""


def shell(line: str, *arguments: str | bytes, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's line in which `"$@"` is `swarmharness` with these arguments."""
    command: Sequence[str | bytes] = ["bash", "-c", line, "bash", sys.executable, "-m", "swarmharness", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **(env or {})}, timeout=60)


@pytest.mark.parametrize(
    ("redirection", "problem"), [(">/dev/full", b"No space left on device"), (">&-", b"it is closed")]
)
@pytest.mark.parametrize("arguments", [["config", "show", "--json"], ["--help"]])
def test_a_standard_output_that_takes_nothing_is_one_sentence(
    tmp_path: Path, redirection: str, problem: bytes, arguments: list[str]
) -> None:
    where = [] if "--help" in arguments else ["--data-dir", str(tmp_path)]
    done = shell(f'"$@" {redirection}', *arguments, *where)
    assert done.returncode == 2
    assert done.stderr == b"error: the standard output takes nothing: " + problem + b"\n"


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_error_that_takes_nothing_changes_no_exit_status(tmp_path: Path, redirection: str) -> None:
    assert shell(f'"$@" {redirection}', "node", "status", "--data-dir", str(tmp_path)).returncode == 4


def test_a_closed_standard_input_is_an_empty_one(tmp_path: Path) -> None:
    done = shell('"$@" <&-', "submit", "text-embedding", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (3, b"error: the standard input is empty: there is nothing to submit\n")


def test_a_path_that_no_encoding_has_is_printed_by_a_strict_standard_output(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + ODD
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    made = shell('"$@"', "config", "init", "--data-dir", folder, env=strict)
    assert (made.returncode, made.stdout) == (0, os.fsencode(tmp_path) + b"/caf\\xe9/node.toml\n")
    told = shell('"$@"', "config", "check", "--json", "--data-dir", folder, env=strict)
    assert os.fsencode(json.loads(told.stdout)["file"]) == folder + b"/node.toml"
    latin = shell('"$@"', "--help", env={"PYTHONIOENCODING": "ascii:strict"})
    assert latin.returncode == 0


def test_what_no_terminal_shows_is_shown_in_a_message_and_a_hint_can_be_pasted(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\x1b[31m  " + ODD
    done = shell('"$@"', "node", "status", "--data-dir", folder)
    assert done.returncode == 4
    assert b"/\\x1b[31m  caf\\xe9: start one with" in done.stderr
    assert f"--data-dir $'{tmp_path}/\\x1b[31m\\x20\\x20caf\\xe9'`".encode() in done.stderr


def test_json_is_escaped_as_a_whole_where_a_letter_does_not_fit() -> None:
    assert json_text({"a": "é…"}, "utf-8") == '{"a":"é…"}'
    assert json_text({"a": "é…"}, "latin-1") == '{"a":"\\u00e9\\u2026"}'
    assert json_text({"a": os.fsdecode(ODD) + "😀"}, "utf-8") == '{"a":"caf\\udce9\\ud83d\\ude00"}'


def test_without_a_home_directory_there_is_a_sentence() -> None:
    # Whoever has no entry among the users: as in a container that runs with a number alone.
    program = (
        "import sys; from swarmharness.cli import main; import pwd\n"
        "def none(_): raise KeyError\n"
        "pwd.getpwuid = none; sys.argv[1:] = ['config', 'show']; main()"
    )
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=kept, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "error: this user has no home directory: set HOME or XDG_DATA_HOME\n",
    )
