"""The record of one routed task: what the choice saw, whom it took, what came of it; plain data, one JSON line each.

It holds peer ids, the name of the skill, sizes and times, and nothing of the inputs and outputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from swarmharness.errors import InputError
from swarmharness.json_text import read_json
from swarmharness.routing.candidate import INTEGER_MAX, CandidateView, check_text, view_from

VERSION = 2
READABLE = (1, 2)
"""In the first version a record does not name its model: it is that of the chosen candidate."""
VIEWS_MAX = 64
LINE_CHARS_MAX = 256 * 1024
RECORDS_MAX = 500_000
TRACED_VIEWS = 16
"""Candidates that a record keeps, besides the chosen one: the best, as the decision ranked them."""

_DEFAULTS = CandidateView._field_defaults
_NUMBERS = ("time_us", "items", "input_bytes", "considered", "service_us", "queued_items", "elapsed_us")
_TEXTS = ("skill", "chosen", "error", "model_digest")
_KEYS = {
    1: frozenset(("version", *_NUMBERS, *_TEXTS, "views")) - {"model_digest"},
    2: frozenset(("version", *_NUMBERS, *_TEXTS, "views")),
}


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One task on one peer. Times in microseconds."""

    time_us: int
    """When it was sent, as Unix time."""
    skill: str
    items: int
    input_bytes: int
    considered: int
    """How many candidates served the model; `views` holds the best of them and the chosen one."""
    views: tuple[CandidateView, ...]
    chosen: str
    service_us: int = 0
    """Time that the worker reports for all its items, without waiting; 0 if there was no answer."""
    queued_items: int = 0
    """Items that waited there afterwards, by the worker's account."""
    elapsed_us: int = 0
    """From sending to the end, whatever it was."""
    error: str = ""
    """Empty for an answer; else the kind of failure, or "cancelled"."""
    model_digest: str = ""
    """Of the model that the task was for, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The records of a file, by time."""

    records: tuple[TraceRecord, ...]
    torn: bool = False
    """The last line was cut off in the middle, as by a crash; it is left out."""


class TraceSink(Protocol):
    """Whatever takes records."""

    @property
    def recording(self) -> bool:
        """Whether records are wanted now."""

    def add(self, record: TraceRecord) -> None:
        """Take one; never waits."""


def to_line(record: TraceRecord) -> str:
    """Return the record as one line of JSON with its newline; fields of views that have their default are left out."""
    values: dict[str, Any] = {"version": VERSION}
    for name in (*_NUMBERS, *_TEXTS):
        values[name] = getattr(record, name)
    values["views"] = [_plain(view) for view in record.views]
    return json.dumps(values, separators=(",", ":")) + "\n"


def read_trace(lines: Iterable[str], name: str) -> Trace:
    """Return the trace in the lines of the file `name`; raises InputError with the line that is wrong.

    A last line without its newline that does not parse is what a crash leaves, and is no error.
    """
    records: list[TraceRecord] = []
    torn: InputError | None = None
    for number, line in enumerate(lines, 1):
        if torn is not None:
            raise torn  # it was not the last line, but one too long to be read at once
        if len(records) >= RECORDS_MAX:
            raise InputError(f"{name} has more than {RECORDS_MAX} records; cut it into pieces")
        try:
            records.append(_record(line))
        except InputError as error:
            torn = InputError(f"{name}:{number}: {error}")
            if line.endswith("\n"):
                raise torn from None
    if not records:
        raise InputError(f"{name} holds no record of a task")
    return Trace(tuple(sorted(records, key=lambda record: record.time_us)), torn is not None)


def _record(line: str) -> TraceRecord:
    if len(line) > LINE_CHARS_MAX:
        raise InputError(f"the line has more than {LINE_CHARS_MAX} characters")
    try:
        value = read_json(line)
    except ValueError:
        raise InputError("the line is not JSON") from None
    if not isinstance(value, dict) or value.get("version") not in READABLE:
        raise InputError(f'the line should be an object with "version": {" or ".join(map(str, READABLE))}')
    keys = _KEYS[value["version"]]
    if missing := sorted(keys - value.keys()):
        raise InputError(f"{missing[0]} is missing")
    if unknown := sorted(value.keys() - keys):
        raise InputError(f"{ascii(unknown[0])[:64]} is not a key of a record")
    views = _views(value["views"])
    if value["version"] == 1:
        value["model_digest"] = next((view.model_digest for view in views if view.peer_id == value["chosen"]), "")
    for name in _NUMBERS:
        if type(value[name]) is not int or not 0 <= value[name] <= INTEGER_MAX:
            raise InputError(f"{name} should be an integer from 0 to {INTEGER_MAX}")
    for name in _TEXTS:
        if type(value[name]) is not str:
            raise InputError(f"{name} should be a string")
        check_text(name, value[name])
    if not value["items"] or not value["skill"] or not value["chosen"]:
        raise InputError("items, skill and chosen should not be empty")
    return TraceRecord(views=views, **{name: value[name] for name in (*_NUMBERS, *_TEXTS)})


def _views(entries: Any) -> tuple[CandidateView, ...]:
    if not isinstance(entries, list) or len(entries) > VIEWS_MAX:
        raise InputError(f"views should be a list of at most {VIEWS_MAX} candidates")
    views = tuple(view_from(entry, f"views[{index}]") for index, entry in enumerate(entries))
    if len({view.peer_id for view in views}) != len(views):
        raise InputError("views names a peer twice")
    return views


def _plain(view: CandidateView) -> dict[str, Any]:
    values: dict[str, Any] = {"peer_id": view.peer_id}
    for name, default in _DEFAULTS.items():
        value = getattr(view, name)
        if value != default:
            values[name] = value
    return values
