"""Checks a TOML document against dataclasses whose fields describe themselves; it knows no key of its own.

Every mistake is one ConfigurationError that names the file, the line, the key and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

from swarmharness.errors import ConfigurationError

T = TypeVar("T")

Complaint = Callable[[Any], str | None]
"""Says what is wrong with one value (a whole scalar, or one element of a list), or None."""

LIST_ITEMS_MAX = 1024
TEXT_CHARS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """What a person may write for one key, and why."""

    doc: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    complain: Complaint | None = None
    read: Callable[[Mapping[str, Any]], Any] | None = None
    """For a table whose keys are declared elsewhere: builds its value, or raises ConfigurationError."""

    def allowed(self) -> str:
        """The allowed values in words, or an empty string when any value of the type is."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.least is not None and self.most is not None:
            return f"{_number(self.least)} to {_number(self.most)}"
        return ""


def key(
    default: Any,
    doc: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    complain: Complaint | None = None,
) -> Any:
    """Declare a key: a dataclass field that carries its default, its documentation and its limits."""
    metadata = {"key": Key(doc, least, most, choices, complain)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def documented(doc: str, read: Callable[[Mapping[str, Any]], Any] | None = None) -> dict[str, Key]:
    """Return the metadata of a table: a field whose type is a dataclass of keys, or that `read` builds."""
    return {"key": Key(doc, read=read)}


def key_of(declared: Field[Any]) -> Key:
    """Return what `key` or `documented` declared."""
    found: Key = declared.metadata["key"]
    return found


def default_of(declared: Field[Any]) -> Any:
    """Return the default value of a declared field."""
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration text and the name that messages give it."""

    name: str
    text: str

    def error(self, path: tuple[str, ...], problem: str) -> ConfigurationError:
        """Build the error about the key at `path`, with its line where the text shows one."""
        line = line_of(self.text, path)
        place = f"{self.name}:{line}" if line else self.name
        return ConfigurationError(f"{place}: {_key_text(path)}{problem}")


def toml_table(source: Source) -> dict[str, Any]:
    """Return the document as plain values; raises ConfigurationError with the line of a syntax error."""
    try:
        return tomllib.loads(source.text)
    except ValueError as error:  # TOMLDecodeError, and what Python says of a number of 5,000 digits
        raise ConfigurationError(f"{source.name}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{source.name}: nested too deeply to be a configuration") from None


def read_table(cls: type[T], table: Mapping[str, Any], source: Source, path: tuple[str, ...]) -> T:
    """Return `cls` filled from one table; `path` is where in the document the table lies."""
    hints = get_type_hints(cls)
    declared = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for name in table:
        if name not in declared:
            raise source.error((*path, name), f"is not a known key{suggestion(name, declared)}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        where = (*path, name)
        hint, limits = hints[name], key_of(declared[name])
        if is_dataclass(hint) and not isinstance(value, dict):
            raise source.error(where, f"is a table, written as [{'.'.join(where)}]; got {_type_name(value)}")
        if limits.read:
            values[name] = _read_foreign(limits.read, value, source, where)
        elif is_dataclass(hint):
            values[name] = read_table(hint, value, source, where)  # type: ignore[arg-type]
        else:
            values[name] = _read_value(hint, limits, value, source, where)
    return cls(**values)


def _read_foreign(
    read: Callable[[Mapping[str, Any]], Any], table: Mapping[str, Any], source: Source, path: tuple[str, ...]
) -> Any:
    try:
        return read(table)
    except ConfigurationError as error:
        message = str(error)
        at_fault = next((name for name in table if re.match(rf"\W?{re.escape(name)}\b", message)), None)
        line = line_of(source.text, (*path, at_fault) if at_fault else path)
        place = f"{source.name}:{line}" if line else source.name
        raise ConfigurationError(f"{place}: [{'.'.join(path)}] {message}") from None


def suggestion(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return `; did you mean X?`, or the list of what is known when nothing is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here are {', '.join(known)}"


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line (from 1) on which the key or table at `path` is written, or None if it cannot be told."""
    table: tuple[str, ...] = ()
    nearest = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        if header:
            table = _split_key(header.group(1))
            if path[: len(table)] == table:
                nearest = number
            if table == path:
                return number
            continue
        assigned = re.match(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=", line)
        if assigned and (*table, *_split_key(assigned.group(1))) == path:
            return number
    return nearest


def _split_key(text: str) -> tuple[str, ...]:
    return tuple(
        bare or double or single for bare, double, single in re.findall(r"([\w-]+)|\"([^\"]*)\"|'([^']*)'", text)
    )


def _key_text(path: tuple[str, ...]) -> str:
    if not path:
        return ""
    *tables, name = path
    return f"[{'.'.join(tables)}] {name} " if tables else f"{name} "


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _read_value(hint: Any, limits: Key, value: Any, source: Source, path: tuple[str, ...]) -> Any:
    if hint is float and type(value) is int:
        value = float(value)
    if hint in (bool, int, float, str):
        if type(value) is not hint:
            raise source.error(path, f"must be {_TYPE_NAMES[hint]}{_among(limits)}, not {_type_name(value)}")
        _check(limits, value, source, path)
        return value
    if hint == tuple[str, ...]:
        if type(value) is not list or any(type(item) is not str for item in value):
            raise source.error(path, 'must be a list of strings, such as ["a", "b"]')
        if len(value) > LIST_ITEMS_MAX:
            raise source.error(path, f"has {len(value)} entries; allowed are {LIST_ITEMS_MAX}")
        for item in value:
            _check(limits, item, source, path)
        return tuple(value)
    if hint == Mapping[str, int]:
        return _read_mapping(limits, value, source, path)
    raise TypeError(f"no TOML form for {hint!r}")


def _read_mapping(limits: Key, value: Any, source: Source, path: tuple[str, ...]) -> dict[str, int]:
    if type(value) is not dict:
        raise source.error(path, f"is a table, written as [{'.'.join(path)}]; got {_type_name(value)}")
    if len(value) > LIST_ITEMS_MAX:
        raise source.error(path, f"has {len(value)} entries; allowed are {LIST_ITEMS_MAX}")
    for name, amount in value.items():
        where = (*path, name)
        if limits.complain and (problem := limits.complain(name)):
            raise source.error(where, problem)
        if type(amount) is not int:
            raise source.error(where, f"must be an integer{_among(limits)}, not {_type_name(amount)}")
        _check(Key(limits.doc, limits.least, limits.most), amount, source, where)
    return dict(value)


def _among(limits: Key) -> str:
    allowed = limits.allowed()
    return f" ({allowed})" if allowed else ""


def _check(limits: Key, value: Any, source: Source, path: tuple[str, ...]) -> None:
    if isinstance(value, str):
        if len(value) > TEXT_CHARS_MAX:
            raise source.error(path, f"has {len(value)} characters; allowed are {TEXT_CHARS_MAX}")
        if limits.choices and value not in limits.choices:
            raise source.error(path, f'is "{value}"; allowed is {limits.allowed()}')
    elif not isinstance(value, bool):
        too_small = limits.least is not None and not value >= limits.least  # also refuses nan
        too_large = limits.most is not None and not value <= limits.most
        if too_small or too_large:
            raise source.error(path, f"is {value}; allowed is {limits.allowed()}")
    if limits.complain and (problem := limits.complain(value)):
        raise source.error(path, problem)
