"""Takes typed values out of TOML tables and notes every mistake with its key; it knows no particular manifest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any


def suggestion(word: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


_MISSING: Any = object()
_INDEX = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class Reading:
    """What became of reading one file."""

    mistakes: list[str] = field(default_factory=list)
    """Each with the path of its key."""
    keys: set[str] = field(default_factory=set)
    """The paths of all keys that were looked for, `[]` in place of an index."""


class Table:
    """One TOML table: every key is taken once, and `finish` notes the keys that nobody took.

    A mistake does not end the reading: it is noted, and an empty value of the right type is returned.
    """

    def __init__(self, values: Mapping[str, Any], reading: Reading, path: str = "") -> None:
        self._values = values
        self._reading = reading
        self._path = path
        self._known: set[str] = set()

    def note(self, key: str, problem: str) -> None:
        """Note a mistake about `key`."""
        path = ".".join(part for part in (self._path, key) if part)
        self._reading.mistakes.append(f"{path}: {problem}" if path else problem)

    def has(self, key: str) -> bool:
        """Tell whether the key is there."""
        return key in self._values

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Take any value; a missing key without a default is a mistake, and None."""
        self._known.add(key)
        self._reading.keys.add(_INDEX.sub("[]", f"{self._path}.{key}" if self._path else key))
        value = self._values.get(key, default)
        if value is _MISSING:
            self.note(key, "is missing")
            return None
        return value

    def text(self, key: str, *, default: Any = _MISSING, pattern: re.Pattern[str] | None = None, hint: str = "") -> str:
        """Take a printable string that matches `pattern` in full."""
        value = self.take(key, default)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > 2000:
            self.note(key, "expected a string of at most 2000 characters")
        elif not value.isprintable():
            self.note(key, "has a control character")
        elif pattern is not None and not pattern.fullmatch(value):
            self.note(key, f"{value!r} is not allowed: {hint}")
        else:
            return value
        return ""

    def path(self, key: str) -> str:
        """Take a relative path that stays where it is put."""
        value = self.text(key)
        parts = PurePosixPath(value).parts
        if self.has(key) and (not parts or value.startswith("/") or ".." in parts or "\\" in value):
            self.note(key, f"{value!r} must be a relative path without '..'")
        return value

    def texts(self, key: str) -> list[str]:
        """Take a list of short strings; a missing one is empty."""
        value = self.take(key, [])
        if not isinstance(value, list) or len(value) > 64 or not all(_is_tag(tag) for tag in value):
            self.note(key, "expected a list of at most 64 strings of at most 64 characters")
            return []
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Take one of the allowed strings; an empty one stands for a mistake."""
        value = self.take(key)
        if value is None:
            return ""
        if not isinstance(value, str) or value not in allowed:
            near = suggestion(str(value), allowed)
            self.note(key, f"{value!r} is not one of {', '.join(sorted(allowed))}{near}")
            return ""
        return value

    def integer(self, key: str, least: int, most: int, *, default: Any = _MISSING) -> int:
        """Take a whole number within bounds."""
        value = self.take(key, default)
        if value is None:
            return least
        if type(value) is not int or not least <= value <= most:
            self.note(key, f"expected a whole number from {least} to {most}, got {value!r}")
            return least
        return value

    def boolean(self, key: str, *, default: Any = _MISSING) -> bool:
        """Take true or false."""
        value = self.take(key, default)
        if value is not None and type(value) is not bool:
            self.note(key, f"expected true or false, got {value!r}")
        return value is True

    def table(self, key: str) -> Table:
        """Take a nested table; one that is not there is one mistake, whatever is looked for in it."""
        value = self.take(key)
        if isinstance(value, dict):
            return self._inner(value, key)
        if value is not None:
            self.note(key, f"expected a table [{key}]")
        return Table({}, Reading(keys=self._reading.keys), key)

    def tables(self, key: str, *, required: bool = True) -> list[Table]:
        """Take a list of tables."""
        value = self.take(key, [])
        if not isinstance(value, list) or len(value) > 64 or not all(isinstance(entry, dict) for entry in value):
            self.note(key, "expected a list of at most 64 tables")
            return []
        if required and not value:
            self.note(key, "at least one is needed")
        return [self._inner(entry, f"{key}[{index}]") for index, entry in enumerate(value)]

    def _inner(self, values: Mapping[str, Any], key: str) -> Table:
        return Table(values, self._reading, f"{self._path}.{key}" if self._path else key)

    def finish(self) -> None:
        """Note the keys that nobody took, suggesting the nearest known one."""
        for key in self._values:
            if key not in self._known:
                known = ", ".join(sorted(self._known))
                near = suggestion(key, self._known) or f" (known: {known})"
                self.note(key if key.isprintable() else repr(key), f"is not a known key{near}")


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= 64 and tag.isprintable()
