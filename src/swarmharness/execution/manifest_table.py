"""Takes typed values out of a TOML table, naming the key and what is allowed; it knows no particular manifest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from swarmharness.errors import InputError


def suggestion(word: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


_MISSING: Any = object()


class Table:
    """One TOML table: every key is taken once, and `finish` refuses the keys that nobody took."""

    def __init__(self, values: Mapping[str, Any], where: str, path: str) -> None:
        self._values = values
        self._where = where
        self._path = path
        self._known: set[str] = set()

    def error(self, key: str, problem: str) -> InputError:
        """Return the error to raise about `key`."""
        path = ".".join(part for part in (self._path, key) if part)
        return InputError(f"{self._where}: {path}: {problem}")

    def has(self, key: str) -> bool:
        """Tell whether the key is there."""
        return key in self._values

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Take any value; a missing key without a default is an error."""
        self._known.add(key)
        value = self._values.get(key, default)
        if value is _MISSING:
            raise self.error(key, "is missing")
        return value

    def text(self, key: str, *, default: Any = _MISSING, pattern: re.Pattern[str] | None = None, hint: str = "") -> str:
        """Take a printable string that matches `pattern` in full."""
        value = self.take(key, default)
        if not isinstance(value, str) or len(value) > 2000:
            raise self.error(key, "expected a string of at most 2000 characters")
        if not value.isprintable():
            raise self.error(key, "has a control character")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.error(key, f"{value!r} is not allowed: {hint}")
        return value

    def path(self, key: str) -> str:
        """Take a relative path that stays where it is put."""
        value = self.text(key)
        parts = PurePosixPath(value).parts
        if not parts or value.startswith("/") or ".." in parts or "\\" in value:
            raise self.error(key, f"{value!r} must be a relative path without '..'")
        return value

    def texts(self, key: str) -> list[str]:
        """Take a list of short strings; a missing one is empty."""
        value = self.take(key, [])
        if not isinstance(value, list) or len(value) > 64 or not all(_is_tag(tag) for tag in value):
            raise self.error(key, "expected a list of at most 64 strings of at most 64 characters")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """Take one of the allowed strings."""
        value = self.take(key)
        if not isinstance(value, str) or value not in allowed:
            near = suggestion(str(value), allowed)
            raise self.error(key, f"{value!r} is not one of {', '.join(sorted(allowed))}{near}")
        return value

    def integer(self, key: str, least: int, most: int, *, default: Any = _MISSING) -> int:
        """Take a whole number within bounds."""
        value = self.take(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.error(key, f"expected a whole number from {least} to {most}, got {value!r}")
        return value

    def boolean(self, key: str, *, default: Any = _MISSING) -> bool:
        """Take true or false."""
        value = self.take(key, default)
        if type(value) is not bool:
            raise self.error(key, f"expected true or false, got {value!r}")
        return value

    def table(self, key: str) -> Table:
        """Take a nested table."""
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.error(key, f"expected a table [{key}]")
        return self._inner(value, key)

    def tables(self, key: str, *, required: bool = True) -> list[Table]:
        """Take a list of tables."""
        value = self.take(key, [])
        if not isinstance(value, list) or len(value) > 64 or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, "expected a list of at most 64 tables")
        if required and not value:
            raise self.error(key, "at least one is needed")
        return [self._inner(entry, f"{key}[{index}]") for index, entry in enumerate(value)]

    def _inner(self, values: Mapping[str, Any], key: str) -> Table:
        return Table(values, self._where, f"{self._path}.{key}" if self._path else key)

    def finish(self) -> None:
        """Refuse the keys that nobody took, suggesting the nearest known one."""
        for key in self._values:
            if key not in self._known:
                known = ", ".join(sorted(self._known))
                near = suggestion(key, self._known) or f" (known: {known})"
                raise self.error(key, f"is not a known key{near}")


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= 64 and tag.isprintable()
