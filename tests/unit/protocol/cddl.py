"""Reads the part of CDDL (RFC 8610) that `proto/` uses into the shapes that dataclasses have; refuses the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cddlparser
from cddlparser import ast

from tests.unit.protocol.shapes import Array, Blob, Boolean, Choice, Integer, Message, Optional, Shape, Text

UNSIGNED_MOST = 2**64 - 1
IMPORT = ";# import "
"""Brings in another file's rules, as in draft-ietf-cbor-cddl-modules."""


@dataclass(frozen=True, slots=True)
class MessageRule:
    """A rule that describes a message: its shape, and the names that it gives the fields."""

    names: tuple[str, ...]
    shape: Message


def read_messages(path: Path) -> dict[str, MessageRule]:
    """Return every rule of a file that is an array beginning with a version; ValueError on CDDL of another kind."""
    text = path.read_text("utf-8")
    rules = _rules(text)
    imported = [line.removeprefix(IMPORT).strip() for line in text.splitlines() if line.startswith(IMPORT)]
    known = {
        name: rule
        for module in imported
        for name, rule in _rules(path.with_name(f"{module}.cddl").read_text("utf-8")).items()
    }
    reader = _Reader({**known, **rules})
    found: dict[str, MessageRule] = {}
    for name, rule in rules.items():
        array = _only(rule)
        if isinstance(array, ast.Array) and _is_message(array):
            shape = reader.shape(rule)
            assert isinstance(shape, Message)
            names = tuple(_key(entry) for entry in _entries(array)[1:] if entry.key)
            found[name] = MessageRule(names, shape)
    return found


def _rules(text: str) -> dict[str, Any]:
    return {rule.name.name: rule.type for rule in cddlparser.parse(text).rules}


class _Reader:
    def __init__(self, rules: dict[str, Any]) -> None:
        self._rules = rules

    def shape(self, node: Any) -> Shape:
        node = _only(node)
        match node:
            case ast.Type(types=[*choices]):
                return self._choice(choices)
            case ast.Typename(name=name):
                return self._named(name)
            case ast.Range(min=ast.Value(value=least), max=ast.Value(value=most)):
                return Integer(int(least), int(most))
            case ast.Operator():
                return self._operator(node)
            case ast.Array():
                return self._array(node)
        raise ValueError(f"no shape for {node.serialize()!r}")

    def _named(self, name: str) -> Shape:
        plain: dict[str, Shape] = {
            "bool": Boolean(),
            "uint": Integer(0, UNSIGNED_MOST),
            "tstr": Text(0, UNSIGNED_MOST),
            "bstr": Blob(0, UNSIGNED_MOST),
        }
        if name in plain:
            return plain[name]
        if name not in self._rules:
            raise ValueError(f"no rule {name!r}")
        return self.shape(self._rules[name])

    def _choice(self, choices: list[Any]) -> Shape:
        if all(isinstance(choice, ast.Value) for choice in choices):
            return Choice(frozenset(int(choice.value) for choice in choices))
        rest = [
            choice for choice in choices if not (isinstance(choice, ast.Typename) and choice.name in ("null", "nil"))
        ]
        if len(rest) != 1 or len(choices) != 2:
            raise ValueError("the only choice of types is with null")
        return Optional(self.shape(rest[0]))

    def _operator(self, node: ast.Operator) -> Shape:
        base, bound = self.shape(node.type), _only(node.controller)
        if node.name.literal == "size" and isinstance(base, Text | Blob):
            if isinstance(bound, ast.Range):
                return type(base)(_number(bound.min), _number(bound.max))
            return type(base)(_number(bound), _number(bound))
        if node.name.literal == "le" and isinstance(base, Integer):
            return Integer(base.least, _number(bound))
        raise ValueError(f"no shape for {node.serialize()!r}")

    def _array(self, array: ast.Array) -> Shape:
        entries = _entries(array)
        if _is_message(array):
            version = _only(entries[0].type)
            added = [entry.occurrence is not None for entry in entries]
            if added != sorted(added):
                raise ValueError(f"what may be left out comes last: {array.serialize()!r}")
            return Message(_number(version), tuple(self.shape(entry.type) for entry in entries[1:]), sum(added))
        if len(entries) != 1 or entries[0].occurrence is None:
            raise ValueError(f"neither a message nor a list: {array.serialize()!r}")
        occurrence = entries[0].occurrence
        return Array(int(occurrence.n), int(occurrence.m), self.shape(entries[0].type))


def _only(node: Any) -> Any:
    """Take a node out of the layers that hold nothing else."""
    while True:
        if isinstance(node, ast.Type) and len(node.types) == 1:
            node = node.types[0]
        elif isinstance(node, ast.GroupEntry) and node.key is None and node.occurrence is None:
            node = node.type
        else:
            return node


def _entries(array: ast.Array) -> list[ast.GroupEntry]:
    """Return the entries but for a last `* any`: every message ignores what newer versions append."""
    (choice,) = array.groupChoices
    entries = list(choice.groupEntries)
    last = _only(entries[-1].type)
    if entries[-1].occurrence is not None and isinstance(last, ast.Typename) and last.name == "any":
        entries.pop()
    return entries


def _is_message(array: ast.Array) -> bool:
    first = _entries(array)[0]
    return first.key is not None and _key(first) in ("v", "version")


def _key(entry: ast.GroupEntry) -> str:
    assert entry.key is not None
    key = _only(entry.key.type)
    assert isinstance(key, ast.Typename)
    return key.name


def _number(node: Any) -> int:
    node = _only(node)
    assert isinstance(node, ast.Value)
    return int(node.value, 0)
