"""What a group of exceptions is about, and that nobody tells a user of "1 sub-exception"."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import swarmharness
from swarmharness.errors import InputError, cause_text, leaf

SOURCES = sorted(Path(swarmharness.__file__).parent.rglob("*.py"))
_LOGGING = ("debug", "info", "warning", "error")
WIDE = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}


def test_the_cause_inside_groups_is_told() -> None:
    inner = ExceptionGroup("inside", [ValueError("the cause")])
    assert cause_text(ExceptionGroup("outside", [inner])) == "the cause"
    assert cause_text(ExceptionGroup("outside", [ValueError("other"), InputError("ours")])) == "ours"
    assert cause_text(ExceptionGroup("outside", [OSError()])) == "OSError"
    assert isinstance(leaf(inner), ValueError)


def _told_as_it_is(tree: ast.AST) -> list[int]:
    """Return the lines that put into words what a wide `except` caught, which may be a group."""
    lines = []
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        if not {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} & WIDE:
            continue
        for node in ast.walk(handler):
            told = node.value if isinstance(node, ast.FormattedValue) else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr"):
                told = node.args[0] if node.args else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING:
                told = next((one for one in node.args if isinstance(one, ast.Name) and one.id == handler.name), told)
            if isinstance(told, ast.Name) and told.id == handler.name:
                lines.append(told.lineno)
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_whoever_catches_everything_tells_the_cause_and_not_the_group(path: Path) -> None:
    assert not _told_as_it_is(ast.parse(path.read_text("utf-8"))), f"{path}: use errors.cause_text"


def test_this_check_finds_what_it_looks_for() -> None:
    text = "try:\n  f()\nexcept Exception as error:\n  print(f'{error}', str(error))\n  _log.warning('%s', error)\n"
    assert sorted(_told_as_it_is(ast.parse(text))) == [4, 4, 5]
