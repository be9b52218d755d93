"""Turns frozen dataclasses into canonical MessagePack and back, refusing everything else; it never does I/O.

A message is an array `[version, field, field, …]` in the order of the dataclass. Field types are `int`, `bool`,
`str`, `bytes`, enums of int, nested messages, `tuple[T, ...]`, and `T | None`; limits ride on the
annotation: `Annotated[str, Size(64)]`, `Annotated[int, Range(0, 10)]`. Every string, byte string and tuple must have
a `Size`. A field that a later release appended says so with `Added`, and has a default for senders that lack it.

Bytes are decoded by msgspec, which is told the types: what does not fit is refused where it stands, and nothing that
a message cannot hold is ever built. So the memory that decoding takes follows from the class and the length alone.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from swarmharness.errors import ProtocolError
from swarmharness.protocol.annotations import (
    INT64_MAX,
    Added,
    Count,
    Digest,
    Embedded,
    PeerText,
    Range,
    Remembering,
    Signature,
    Size,
)
from swarmharness.protocol.elements import check_elements
from swarmharness.protocol.places import DECODE_ERRORS, bare, inner, names, refusal, too_long

__all__ = [
    "INT64_MAX",
    "NEWER_BYTES_MAX",
    "Added",
    "Count",
    "Digest",
    "Embedded",
    "PeerText",
    "Range",
    "Remembering",
    "Signature",
    "Size",
    "bytes_max",
    "decode",
    "decode_signed",
    "encode",
    "signable",
]

M = TypeVar("M")

NEWER_BYTES_MAX = 64 * 1024
"""What later releases may append to a message, everywhere in it, before this one refuses it."""
NEWER_ELEMENTS_MAX = 1024
"""The same in elements, beside one for each that there is."""
COUNTED_ABOVE_BYTES = 2**20
"""The elements of larger messages are counted before anything is read.

What later releases appended is skipped, at 3 ns an element: 3 ms for a message of this size, and no more for any.
"""


def encode(message: Any) -> bytes:
    """Return the canonical bytes of a message: equal messages give equal bytes."""
    cls: Any = type(message)
    return _packed(_plan(cls).write(message))


def decode(cls: type[M], data: bytes | memoryview) -> M:
    """Return the message of type `cls` in `data`; any other bytes raise ProtocolError with the field's path."""
    kind: Any = cls
    plan, size = _plan(kind), len(data)
    if size > plan.bytes_max + NEWER_BYTES_MAX:
        raise ProtocolError(f"{cls.__name__}: {size} bytes, allowed are {plan.bytes_max + NEWER_BYTES_MAX}")
    if size > COUNTED_ABOVE_BYTES:
        check_elements(data, 2 * plan.elements_max + NEWER_ELEMENTS_MAX, cls.__name__)
    try:
        found = plan.read(data)
    except DECODE_ERRORS as error:
        raise refusal(kind, str(error)) from None
    try:
        message: M = plan.make(found)
    except _UnfitError:
        raise too_long(kind, found) from None
    return message


def bytes_max(cls: type[Any]) -> int:
    """Return the most bytes that a message of type `cls` may have, later releases included."""
    kind: Any = cls
    return _plan(kind).bytes_max + NEWER_BYTES_MAX


def decode_signed(cls: type[M], data: bytes) -> M:
    """Do as `decode`, for bytes that are signed and passed on from node to node."""
    message: M = (decoded_once or decode)(cls, data)
    return message


decoded_once: Callable[[type[Any], bytes], Any] | None = None
"""Set by the simulator alone: all of its nodes share what such bytes mean, which nobody can change."""


def signable(domain: str, message: Any) -> bytes:
    """Return the bytes that a signature covers: the domain's tag, then the canonical message."""
    return domain.encode() + b"\x00" + encode(message)


# -- plans ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a class of messages is read and written."""

    struct: type[msgspec.Struct]
    """What its bytes are decoded as."""
    read: Callable[[bytes | memoryview], Any]
    """Bytes to such a structure."""
    make: Callable[[Any], Any]
    """A structure to the message; raises _UnfitError for a text with too many bytes."""
    write: Callable[[Any], list[Any]]
    """A message to the values that are packed."""
    bytes_max: int
    elements_max: int
    """Of this release's fields; later ones may append to them."""


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is read and written; the expressions are of a value `{v}`."""

    type: Any
    """What msgspec checks."""
    bytes_max: int
    elements_max: int = 1
    made: str = "{v}"
    """What the message holds for the decoded value."""
    packed: str = "{v}"
    """What is packed for the message's value."""


_packed = msgspec.msgpack.Encoder().encode
_INTEGER_BYTES = 9
_HEAD_BYTES = 5
"""The longest beginning of a text, a byte string or an array."""


class _UnfitError(Exception):
    """A text has as many characters as are allowed, and more bytes."""


@cache
def _plan(cls: Any) -> _Plan:
    """Return the plan of a class; two functions are made for it, because a call for each field cost most of the time.

    Their text holds names of fields and numbers of this program, never anything from a peer.
    """
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise TypeError(f"{cls!r} is not a dataclass")
    version: int = getattr(cls, "VERSION", 1)
    scope: dict[str, Any] = {"cls": cls, "unfit": _unfit, "encode": encode, "decode_signed": decode_signed}
    hints, defaults = get_type_hints(cls, include_extras=True), _added_defaults(cls)
    plans = {name: _field(hints[name], f"{cls.__name__}.{name}", scope) for name in names(cls)}
    made = [field.made.format(v=f"found.{name}") for name, field in plans.items()]
    packed = [field.packed.format(v=f"message.{name}") for name, field in plans.items()]
    lines = (
        f"def make(found): return cls({', '.join(made)})",
        f"def write(message): return [{', '.join((str(version), *packed))}]",
    )
    exec("\n".join(lines), scope)  # noqa: S102 - as dataclasses make their methods
    struct = msgspec.defstruct(
        cls.__name__,
        [(name, field.type, *defaults.get(name, ())) for name, field in plans.items()],
        array_like=True,  # so what follows its fields comes from newer versions, and is skipped
        tag=version,
        gc=False,
    )
    return _Plan(
        struct,
        msgspec.msgpack.Decoder(struct).decode,
        scope["make"],
        scope["write"],
        _HEAD_BYTES + _INTEGER_BYTES + sum(field.bytes_max for field in plans.values()),
        2 + sum(field.elements_max for field in plans.values()),
    )


def _added_defaults(cls: Any) -> dict[str, tuple[Any]]:
    """Return the defaults of the fields that were added, which are the last ones."""
    hints = get_type_hints(cls, include_extras=True)
    added = [field for field in fields(cls) if any(isinstance(m, Added) for m in get_args(hints[field.name])[1:])]
    if added != list(fields(cls))[len(fields(cls)) - len(added) :] or any(f.default is MISSING for f in added):
        raise TypeError(f"{cls.__name__}: fields that were added come last, and have defaults")
    return {field.name: (field.default,) for field in added}


def _field(annotated: Any, where: str, scope: dict[str, Any]) -> _Field:
    """Return the plan of a field; what its expressions call is put into `scope`."""
    hint, limits = bare(annotated)
    size = next((limit for limit in limits if isinstance(limit, Size)), None)
    embedded = next((limit for limit in limits if isinstance(limit, Embedded)), None)
    if embedded is not None:
        return _embedded(hint, embedded, scope)
    if get_origin(hint) in (Union, types.UnionType):
        return _optional(inner(hint, limits), where, scope)
    if hint is bool:
        return _Field(bool, 1)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _Field(hint, _INTEGER_BYTES)
    if hint is int:
        bounds = next((limit for limit in limits if isinstance(limit, Range)), Range(-INT64_MAX - 1, INT64_MAX))
        return _Field(Annotated[int, msgspec.Meta(ge=bounds.least, le=bounds.most)], _INTEGER_BYTES)
    if isinstance(hint, type) and is_dataclass(hint):
        return _nested(hint, scope)
    if hint not in (str, bytes) and get_origin(hint) is not tuple:
        raise TypeError(f"{where}: no wire form for {hint!r}")
    if size is None:
        raise TypeError(f"{where}: a {getattr(hint, '__name__', hint)} needs a Size")
    if hint is bytes:
        return _Field(Annotated[bytes, _meta(size)], _HEAD_BYTES + size.most)
    return _text(size) if hint is str else _tuple(get_args(hint), size, where, scope)


def _meta(size: Size) -> msgspec.Meta:
    return msgspec.Meta(min_length=size.fewest, max_length=size.most)


def _text(size: Size) -> _Field:
    if size.fewest > 1:
        raise TypeError("a text of several bytes may be one character: its Size says 0 or 1 as the fewest")
    made = f"({{v}} if {{v}}.isascii() else unfit({{v}}, {size.most}))"
    return _Field(Annotated[str, _meta(size)], _HEAD_BYTES + size.most, made=made)


def _unfit(text: str, most: int) -> str:
    if len(text.encode()) > most:
        raise _UnfitError
    return text


def _embedded(cls: type, limit: Embedded, scope: dict[str, Any]) -> _Field:
    name = f"embedded_{len(scope)}"
    scope[name] = cls
    packed = "{v}.derived(encode)" if issubclass(cls, Remembering) else "encode({v})"
    kind = Annotated[bytes, msgspec.Meta(max_length=limit.most)]
    return _Field(kind, _HEAD_BYTES + limit.most, made=f"decode_signed({name}, {{v}})", packed=packed)


def _nested(cls: type, scope: dict[str, Any]) -> _Field:
    plan, number = _plan(cls), len(scope)
    scope[f"make_{number}"], scope[f"write_{number}"] = plan.make, plan.write
    made, packed = f"make_{number}({{v}})", f"write_{number}({{v}})"
    return _Field(plan.struct, plan.bytes_max, plan.elements_max, made=made, packed=packed)


def _optional(present: Any, where: str, scope: dict[str, Any]) -> _Field:
    if present is None:
        raise TypeError(f"{where}: only T | None has a wire form")
    field = _field(present, where, scope)
    made, packed = (
        each if each == "{v}" else f"(None if {{v}} is None else {each})" for each in (field.made, field.packed)
    )
    return _Field(field.type | None, field.bytes_max, field.elements_max, made=made, packed=packed)


def _tuple(args: tuple[Any, ...], size: Size, where: str, scope: dict[str, Any]) -> _Field:
    if len(args) != 2 or args[1] is not Ellipsis:
        raise TypeError(f"{where}: only tuple[T, ...] has a wire form")
    field = _field(args[0], where, scope)
    element: Any = field.type
    each, packed = field.made.format(v="item"), field.packed.format(v="item")
    return _Field(
        Annotated[tuple[element, ...], _meta(size)],
        _HEAD_BYTES + size.most * field.bytes_max,
        1 + size.most * field.elements_max,
        made="{v}" if each == "item" else f"tuple([{each} for item in {{v}}])",
        packed="{v}" if packed == "item" else f"[{packed} for item in {{v}}]",
    )
