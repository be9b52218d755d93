"""Names the place in a message at which bytes do not fit, by the path of its field; pure, it decodes nothing."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from swarmharness.errors import ProtocolError
from swarmharness.protocol.annotations import Size

DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for bytes that do not fit: earlier releases let Python say that a text is not UTF-8."""
_VERSION = object()
_PLACE = re.compile(r"(.*?)(?: - at `\$((?:\[\d+\])+)`)?", re.DOTALL)


def refusal(cls: Any, text: str) -> ProtocolError:
    """Return the error for what msgspec says of the bytes of a message; it names places by their numbers."""
    match = _PLACE.fullmatch(text)
    assert match is not None
    said = match[1].removeprefix("MessagePack data is malformed: ")
    place, hint = _named(cls, [int(number) for number in re.findall(r"\d+", match[2] or "")])
    remedy = ", which this node does not speak" if hint is _VERSION else ""
    return ProtocolError(f"{place}: {said[:1].lower()}{said[1:]}{remedy}")


def too_long(cls: Any, found: Any) -> ProtocolError:
    """Return the error for the first text of a decoded message that has too many bytes."""
    for numbers, text, most in _texts(cls, found):
        size = len(text.encode())
        if size > most:
            return ProtocolError(f"{_named(cls, numbers)[0]}: {size} bytes, allowed are {most}")
    raise AssertionError("no text is too long")


def _texts(hint: Any, found: Any) -> Iterator[tuple[Sequence[int], str, int]]:
    """Yield the texts in a decoded value, each with its place and how many bytes it may have."""
    hint, limits = bare(hint)
    if get_origin(hint) in (Union, types.UnionType):
        hint, limits = bare(inner(hint, limits))
    if isinstance(found, str):
        yield (), found, next(limit.most for limit in limits if isinstance(limit, Size))
    elif isinstance(found, tuple):
        for index, item in enumerate(found):
            for numbers, text, most in _texts(get_args(hint)[0], item):
                yield (index, *numbers), text, most
    elif isinstance(found, msgspec.Struct):
        hints = get_type_hints(hint, include_extras=True)
        for index, name in enumerate(names(hint), 1):
            for numbers, text, most in _texts(hints[name], getattr(found, name)):
                yield (index, *numbers), text, most


def _named(hint: Any, numbers: Sequence[int]) -> tuple[str, Any]:
    """Return the path of a place in a message, and what it should hold."""
    path: str = hint.__name__
    for number in numbers:
        hint, limits = bare(hint)
        if get_origin(hint) in (Union, types.UnionType):
            hint, limits = bare(inner(hint, limits))
        if get_origin(hint) is tuple:
            path, hint = f"{path}[{number}]", get_args(hint)[0]
        elif number == 0:
            path, hint = f"{path}.version", _VERSION
        else:
            name = names(hint)[number - 1]
            path, hint = f"{path}.{name}", get_type_hints(hint, include_extras=True)[name]
    return path, hint


def bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its annotations, and these."""
    limits: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        limits = (*extra, *limits)
    return getattr(hint, "__supertype__", hint), limits


def inner(hint: Any, limits: tuple[Any, ...]) -> Any:
    """Return T of `T | None` with the annotations that ride on it; None for another union."""
    present = [arg for arg in get_args(hint) if arg is not type(None)]
    if len(present) != 1 or len(get_args(hint)) != 2:
        return None
    return Annotated[present[0], *limits] if limits else present[0]


def names(cls: Any) -> list[str]:
    """Return the names of a message's fields, in the order of the wire."""
    return [field.name for field in fields(cls)]
