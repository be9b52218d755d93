"""What a message looks like on the wire, read from its dataclass; the schema tests compare it with the CDDL."""

from __future__ import annotations

import types
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from swarmharness.protocol.codec import INT64_MAX, Added, Embedded, Range, Size


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between two bounds."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few numbers."""

    values: frozenset[int]


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8; the bounds count bytes."""

    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes."""

    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class Array:
    """Elements of one shape."""

    fewest: int
    most: int
    element: Shape


@dataclass(frozen=True, slots=True)
class Optional:
    """Null, or what is inside."""

    inner: Shape


@dataclass(frozen=True, slots=True)
class Message:
    """An array of a version and fields; their names take no part in a comparison of shapes."""

    version: int
    elements: tuple[Shape, ...]
    added: int = 0
    """How many of the last ones older senders leave out."""


Shape = Integer | Choice | Boolean | Text | Blob | Array | Optional | Message


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of a message's fields, in wire order."""
    return tuple(field.name for field in fields(cls))


def shape_of(hint: Any) -> Shape:
    """Return the shape of a message class or of an annotation inside one."""
    limits: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        limits = [*extra, *limits]
    hint = getattr(hint, "__supertype__", hint)
    size = next((limit for limit in limits if isinstance(limit, Size)), Size(0))
    bounds = next((limit for limit in limits if isinstance(limit, Range)), Range(-INT64_MAX - 1, INT64_MAX))
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = [argument for argument in get_args(hint) if argument is not type(None)]
        return Optional(shape_of(Annotated[inner, *limits] if limits else inner))
    if get_origin(hint) is tuple:
        return Array(size.fewest, size.most, shape_of(get_args(hint)[0]))
    embedded = next((limit for limit in limits if isinstance(limit, Embedded)), None)
    if embedded is not None:
        return Blob(0, embedded.most)
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint, include_extras=True)
        elements = tuple(shape_of(hints[name]) for name in field_names(hint))
        added = sum(Added() in get_args(hints[name])[1:] for name in field_names(hint))
        return Message(getattr(hint, "VERSION", 1), elements, added)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return Choice(frozenset(int(member) for member in hint))
    simple: dict[Any, Shape] = {
        bool: Boolean(),
        int: Integer(int(bounds.least), int(bounds.most)),
        str: Text(size.fewest, size.most),
        bytes: Blob(size.fewest, size.most),
    }
    return simple[hint]
