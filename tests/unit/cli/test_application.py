from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from swarmharness.cli.application import COMMANDS, run
from swarmharness.cli.failures import report
from swarmharness.errors import ErrorKind, InputError, MistakesError, RefusedError, SwarmError, leaf

HEAVY = {"libp2p", "onnxruntime", "onnx", "numpy", "trio", "sqlite3", "rich", "multiaddr", "cryptography"}


def command(
    *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "swarmharness", *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(environment or {})},
        timeout=60,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    log = logging.getLogger("swarmharness")
    before = log.level
    yield
    log.setLevel(before)


@pytest.mark.parametrize("arguments", [["--help"], ["node", "--help"], ["submit", "--help"], ["config", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys, json\n"
        "from swarmharness.cli.application import run\n"
        f"status = run({arguments!r})\n"
        "print(json.dumps([status, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert not HEAVY & set(modules)


def test_help_lists_every_command_with_its_purpose() -> None:
    done = command("--help")
    assert done.returncode == 0
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", done.stdout, re.MULTILINE)


def test_the_help_of_every_command_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert f"Usage: swarmharness {name}" in capsys.readouterr().out


def test_the_version_is_printed() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nodee"], "no such command: nodee; did you mean node?"),
        (["xyzzy"], "no such command: xyzzy"),
        (["submit"], "SKILL"),
        (["config", "check", "--colour"], "--colour"),
    ],
)
def test_a_usage_error_exits_with_2_and_names_the_mistake(arguments: list[str], words: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_swarm_error_becomes_one_line_and_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RefusedError("not today:\n  come back tomorrow")) == 5
    assert capsys.readouterr().err == "error: not today: come back tomorrow\n"


def test_an_unexpected_error_says_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("swarmharness").setLevel(logging.WARNING)
    assert report(ZeroDivisionError("division by zero")) == ErrorKind.INTERNAL
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: internal error: ZeroDivisionError: division by zero"
    assert "--verbose" in lines[1]
    assert len(lines) == 2


def test_verbose_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("swarmharness").setLevel(logging.DEBUG)
    assert report(InputError("bad")) == 3
    assert "InputError: bad" in capsys.readouterr().err


def test_a_group_is_reported_as_what_it_is_about() -> None:
    ours = InputError("bad")
    group = ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [ours])])
    assert leaf(group) is ours
    interruption = KeyboardInterrupt()
    assert leaf(BaseExceptionGroup("both", [ours, interruption])) is interruption
    other = ValueError("only this")
    assert leaf(ExceptionGroup("outer", [other])) is other


def test_an_interruption_exits_with_130() -> None:
    assert report(KeyboardInterrupt()) == 130
    assert report(BaseExceptionGroup("nursery", [KeyboardInterrupt()])) == 130


def test_every_error_kind_is_the_exit_status_that_is_promised() -> None:
    def kinds(cls: type[SwarmError]) -> Iterator[type[SwarmError]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from kinds(sub)

    for cls in kinds(SwarmError):
        error = MistakesError("x", ["y"]) if cls is MistakesError else cls.__new__(cls, "x")
        assert report(error) == cls.kind
    assert {int(cls.kind) for cls in kinds(SwarmError)} == {1, 2, 3, 4, 5, 6, 7, 8}


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "swarmharness", "config", "show", "--data-dir", str(tmp_path)],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_windows_is_refused_with_a_pointer_to_wsl() -> None:
    program = "import sys; sys.platform = 'win32'; from swarmharness.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "WSL 2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["node", "status"], ["node", "stop"], ["peers"], ["invite"], ["router", "explain", "text-embedding"]],
)
def test_a_command_without_a_node_exits_with_4_and_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    done = command(*arguments, "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: no node runs on {tmp_path}/none: start one with `swarmharness node start")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_the_data_directory_can_come_from_the_environment(tmp_path: Path) -> None:
    done = command("node", "status", environment={"SWARMHARNESS_DATA_DIR": str(tmp_path / "env")})
    assert done.returncode == 4
    assert f"no node runs on {tmp_path}/env" in done.stderr


def test_a_socket_that_a_dead_node_left_counts_as_no_node(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
    done = command("node", "status", "--data-dir", str(tmp_path))
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "localhost:80"], '--listen has "localhost:80", which is not an address to listen on'),
        (["--join", "/ip4/127.0.0.1/tcp/1"], "--join cannot be used: "),
        (["--skill", "No Such"], '--skill has "No Such"'),
        (["--config", "/nonexistent/node.toml"], "/nonexistent/node.toml does not exist"),
    ],
)
def test_a_wrong_flag_of_node_start_exits_with_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command("node", "start", "--data-dir", str(tmp_path / "new"), *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "new").exists()


def test_config_init_check_and_show_agree(tmp_path: Path) -> None:
    directory = ["--data-dir", str(tmp_path / "d")]
    assert "the defaults are in force" in command("config", "check", *directory).stdout
    done = command("config", "init", *directory)
    path = tmp_path / "d" / "node.toml"
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert command("config", "check", *directory).stdout == f"{path}: good\n"
    assert command("config", "show", *directory).stdout == path.read_text()
    shown = json.loads(command("config", "show", "--json", *directory).stdout)
    assert shown["network"]["heartbeat_s"] == 3.0
    again = command("config", "init", *directory)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    path.write_text("version = 1\n[network]\nmdns = 3\n")
    checked = command("config", "check", *directory)
    assert checked.returncode == 2
    assert checked.stderr == f"error: {path}:3: [network] mdns must be true or false, not an integer\n"
    path.write_text('version = 1\n[execution]\nproviders = ["cuda"]\n')
    checked = command("config", "check", *directory)
    assert checked.returncode == 2
    assert checked.stderr.startswith(f"error: {path}: [execution] providers names cuda, and ONNX Runtime here has only")
    assert (
        command("config", "init", "--force", "--json", *directory).stdout
        == json.dumps({"file": str(path)}).replace(": ", ":") + "\n"
    )
    assert command("config", "check", "--json", *directory).returncode == 0
