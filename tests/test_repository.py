"""The rules of style that a program can check, over every committed file."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.harness import discover

import swarmharness

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LINES_MAX = 400
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "core", "lib"}


def _listed_files() -> list[Path]:
    """Every file that git tracks or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_sources_to_check() -> None:
    assert len(SOURCES) > 10


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_a_module_opens_with_a_docstring_of_one_sentence_that_says_its_job(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, f"{_relative(path)} has no docstring"
    first = docstring.split("\n\n")[0]
    assert first.endswith((".", "?")), f"{_relative(path)}: the first paragraph is not a sentence: {first!r}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [_relative(path) for path in SOURCES if path.stem in VAGUE_NAMES or path.parent.name in VAGUE_NAMES]
    assert not vague


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    long = {
        _relative(path): count for path in SOURCES if (count := len(path.read_text("utf-8").splitlines())) > LINES_MAX
    }
    assert not long, f"split these, they have more than {LINES_MAX} lines: {long}"


def test_every_folder_of_tests_is_a_package_so_that_modules_of_one_name_do_not_clash() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [_relative(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_no_file_names_a_place_on_somebodys_machine_or_a_package_index() -> None:
    place = re.compile(
        r"""(?<![\w.}~$-])/(?:home|work|root|Users)/(?!some|you|user\b)\w"""  # a path that exists on one machine only
        r"|/opt/(?:pypi|wheels)|py" + r"pi\.org|python" + r"hosted|--(?:extra-)?index-url[ =]\w|--find-links"
    )
    found = [
        f"{_relative(path)}:{number}: {line.strip()[:120]}"
        for path in _listed_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if place.search(line)
    ]
    assert not found, "\n".join(found)


def test_scripts_are_executable_and_parse() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".sh"]
    for path in [*scripts, ROOT / ".ci" / "run"]:
        assert os.access(path, os.X_OK), f"chmod +x {_relative(path)}"
        shebang = path.read_text("utf-8").splitlines()[0]
        if shebang == "#!/usr/bin/env bash":
            subprocess.run(["bash", "-n", path], check=True)
        else:
            assert shebang == "#!/usr/bin/env python3", f"{_relative(path)} begins with {shebang}"
            ast.parse(path.read_text("utf-8"))


def test_every_benchmark_has_a_name_a_description_and_a_run_that_may_be_quick() -> None:
    files = sorted((ROOT / "benchmarks").glob("bench_*.py"))
    benchmarks = discover()
    assert len(benchmarks) == len(files), "two benchmarks have one NAME"
    for name, benchmark in benchmarks.items():
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
        assert benchmark.DESCRIPTION
        assert "\n" not in benchmark.DESCRIPTION
        assert list(inspect.signature(benchmark.run).parameters) == ["quick"]


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == swarmharness.__version__


def _documented_commands() -> list[list[str]]:
    """Every `swarmharness …` line in the fenced blocks of the README, as words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = (line.removeprefix("$ ") for block in blocks for line in block.splitlines())
    commands = (re.search(r"(?:^|\| |&& )swarmharness ([^|#&<>]+)", line) for line in lines)
    return [found[1].split() for found in commands if found]


def _help(words: list[str]) -> str:
    command = [sys.executable, "-m", "swarmharness", *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert result.returncode == 0, f"swarmharness {' '.join(words)}: {result.stderr}"
    return result.stdout


@pytest.mark.parametrize("words", _documented_commands(), ids=" ".join)
def test_the_readme_uses_only_commands_and_options_that_exist(words: list[str]) -> None:
    path = words[:1]
    text = _help(path)
    if re.search(r"^Commands:|─ Commands ─", text, re.MULTILINE):
        path = words[:2]
        text = _help(path)
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", text), f"swarmharness {' '.join(path)} has no option {option}"


def test_the_readme_names_only_scripts_that_exist() -> None:
    named = set(re.findall(r"\bscripts/([\w-]+)", (ROOT / "README.md").read_text("utf-8")))
    assert not {name for name in named if not (ROOT / "scripts" / name).exists()}
