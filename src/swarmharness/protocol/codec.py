"""Turns frozen dataclasses into canonical MessagePack and back, refusing everything else; it never does I/O.

A message is an array `[version, field, field, …]` in the order of the dataclass. Field types are `int`, `bool`,
`float`, `str`, `bytes`, enums of int, nested messages, `tuple[T, ...]`, and `T | None`; limits ride on the
annotation: `Annotated[str, Size(64)]`, `Annotated[int, Range(0, 10)]`. Every string, byte string and tuple must have
a `Size`. A field that a later release appended says so with `Added`, and has a default for senders that lack it.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack

from swarmharness.errors import ProtocolError

M = TypeVar("M")

_Reader = Callable[[Any, str], Any]
_Writer = Callable[[Any], Any]

INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Size:
    """The most elements (of a tuple) or bytes (of a string, in UTF-8) that a field may have, and the fewest."""

    most: int
    fewest: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """The inclusive bounds of an integer or float field."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Added:
    """The field was appended by a later release: from a sender that does not know it, it has its default."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The field is a message of its own, as a byte string of its encoding; `most` is the most bytes."""

    most: int


class Remembering:
    """Room in a message for bytes that follow from its fields, so that they are worked out once; no part of its value.

    A message that is embedded in others keeps its own encoding there.
    """

    __slots__ = ("_derived",)

    _derived: bytes

    def derived(self, work_out: Callable[[Self], bytes]) -> bytes:
        """Return what `work_out` made of this message the first time; a type of message uses it for one thing only."""
        try:
            return self._derived
        except AttributeError:
            object.__setattr__(self, "_derived", work_out(self))
            return self._derived


Count = Annotated[int, Range(0, INT64_MAX)]
"""A non-negative 64-bit integer."""
Digest = Annotated[bytes, Size(32, 32)]
"""A SHA-256 digest."""
Signature = Annotated[bytes, Size(64, 64)]
"""An Ed25519 signature."""
PeerText = Annotated[str, Size(64, 1)]
"""A peer id in base58."""


def encode(message: Any) -> bytes:
    """Return the canonical bytes of a message: equal messages give equal bytes."""
    cls: Any = type(message)
    packed: bytes = msgpack.packb(_plan(cls).write(message), use_bin_type=True)
    return packed


def decode(cls: type[M], data: bytes | memoryview) -> M:
    """Return the message of type `cls` in `data`; any other bytes raise ProtocolError with the field's path."""
    try:
        value = msgpack.unpackb(data, use_list=True, raw=False, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises a dozen kinds, all of which mean "not MessagePack"
        raise ProtocolError(f"{cls.__name__}: not MessagePack ({error or type(error).__name__})") from None
    kind: Any = cls
    message: M = _plan(kind).read(value, cls.__name__)
    return message


def decode_signed(cls: type[M], data: bytes) -> M:
    """Do as `decode`, for bytes that are signed and passed on from node to node."""
    message: M = (decoded_once or decode)(cls, data)
    return message


decoded_once: Callable[[type[Any], bytes], Any] | None = None
"""Set by the simulator alone: all of its nodes share what such bytes mean, which nobody can change."""


def signable(domain: str, message: Any) -> bytes:
    """Return the bytes that a signature covers: the domain's tag, then the canonical message."""
    return domain.encode() + b"\x00" + encode(message)


@dataclass(frozen=True, slots=True)
class _Plan:
    read: _Reader
    write: _Writer


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field is read, and an expression of what is packed for its value `{v}`."""

    read: _Reader
    packed: str = "{v}"
    plain: str = "False"
    """A condition on `{v}` under which `read` would return it as it is; of all other values, `read` decides."""


@cache
def _plan(cls: Any) -> _Plan:
    """Return two functions made for the class: a message has a dozen fields, and a call for each cost most of the time.

    Their text holds names of fields and numbers of this program, never anything from a peer.
    """
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise TypeError(f"{cls!r} is not a dataclass")
    version: int = getattr(cls, "VERSION", 1)
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]
    scope: dict[str, Any] = {"cls": cls, "misfit": _misfit}
    reading, writing = [], []
    for name in names:
        field = _field(hints[name], f"{cls.__name__}.{name}", scope)
        scope[f"read_{name}"] = field.read
        v = f"_{name}"
        reading.append(f" if not ({field.plain.format(v=v)}): {v} = read_{name}({v}, path + '.{name}')")
        writing.append(field.packed.format(v=f"message.{name}"))
    values = [f"_{name}" for name in names]
    least = len(names) - len(defaults := _added_defaults(cls, hints))
    scope["defaults"] = [_plain_default(default) for default in defaults]
    padding = f" if len(value) < {len(names) + 1}: value = value + defaults[len(value) - {least + 1}:]"
    lines = (
        "def read(value, path):",
        f" if type(value) is not list or len(value) < {least + 1}"
        f" or type(value[0]) is not int or value[0] != {version}:",
        f"  raise misfit(value, path, {version}, {least})",
        *([padding] if defaults else ()),
        f" {', '.join(('_', *values, '*_'))} = value",  # trailing fields come from newer versions
        *reading,
        f" return cls({', '.join(values)})",
        "def write(message):",
        f" return [{', '.join((str(version), *writing))}]",
    )
    exec("\n".join(lines), scope)  # noqa: S102 - as dataclasses make their methods
    return _Plan(scope["read"], scope["write"])


def _added_defaults(cls: Any, hints: dict[str, Any]) -> list[Any]:
    """Return the defaults of the fields that were added, which are the last ones."""
    added = [field for field in fields(cls) if any(isinstance(m, Added) for m in get_args(hints[field.name])[1:])]
    if added != list(fields(cls))[len(fields(cls)) - len(added) :] or any(f.default is MISSING for f in added):
        raise TypeError(f"{cls.__name__}: fields that were added come last, and have defaults")
    return [field.default for field in added]


def _plain_default(value: Any) -> Any:
    """Return a default as it would arrive."""
    return list(value) if isinstance(value, tuple) else value


def _misfit(value: Any, path: str, version: int, count: int) -> ProtocolError:
    if type(value) is not list or not value or type(value[0]) is not int:
        return ProtocolError(f"{path}: expected an array that begins with its version")
    if value[0] != version:
        return ProtocolError(f"{path}: version {value[0]} is not supported (this node speaks {version})")
    return ProtocolError(f"{path}: {len(value) - 1} fields, at least {count} needed")


def _field(hint: Any, where: str, scope: dict[str, Any]) -> _Field:
    """Return the plan of a field; what its expressions call is put into `scope`."""
    limits: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        limits = (*extra, *limits)
    hint = getattr(hint, "__supertype__", hint)
    embedded = next((limit for limit in limits if isinstance(limit, Embedded)), None)
    if embedded is not None:
        return _embedded(hint, embedded, scope)
    size = next((limit for limit in limits if isinstance(limit, Size)), None)
    bounds = next((limit for limit in limits if isinstance(limit, Range)), None)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _optional(hint, limits, where, scope)
    if origin is tuple:
        return _tuple(get_args(hint), size, where, scope)
    if hint is bool:
        return _Field(_bool, plain="type({v}) is bool")
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _Field(_enum(hint))
    if hint is int:
        return _int(bounds or Range(-INT64_MAX - 1, INT64_MAX))
    if hint is float:
        return _Field(_float(bounds or Range(-math.inf, math.inf)), packed="float({v})")
    if hint in (str, bytes):
        if size is None:
            raise TypeError(f"{where}: a {hint.__name__} needs a Size")
        return _sized(hint, size)
    if isinstance(hint, type) and is_dataclass(hint):
        plan = _plan(hint)
        name = f"write_{len(scope)}"
        scope[name] = plan.write
        return _Field(plan.read, packed=f"{name}({{v}})")
    raise TypeError(f"{where}: no wire form for {hint!r}")


def _embedded(cls: type, limit: Embedded, scope: dict[str, Any]) -> _Field:
    size = Size(limit.most)

    def read(value: Any, path: str) -> Any:
        if type(value) is not bytes:
            raise ProtocolError(f"{path}: expected bytes, got {type(value).__name__}")
        _check_size(len(value), size, path, "bytes")
        return decode_signed(cls, value)

    scope["encode"] = encode
    return _Field(read, packed="{v}.derived(encode)" if issubclass(cls, Remembering) else "encode({v})")


def _optional(hint: Any, limits: tuple[Any, ...], where: str, scope: dict[str, Any]) -> _Field:
    inner = [arg for arg in get_args(hint) if arg is not type(None)]
    if len(inner) != 1 or len(get_args(hint)) != 2:
        raise TypeError(f"{where}: only T | None has a wire form")
    field = _field(Annotated[inner[0], *limits] if limits else inner[0], where, scope)
    return _Field(
        lambda value, path: None if value is None else field.read(value, path),
        packed=f"(None if {{v}} is None else {field.packed})",
        plain=f"{{v}} is None or {field.plain}",
    )


def _tuple(args: tuple[Any, ...], size: Size | None, where: str, scope: dict[str, Any]) -> _Field:
    if len(args) != 2 or args[1] is not Ellipsis:
        raise TypeError(f"{where}: only tuple[T, ...] has a wire form")
    if size is None:
        raise TypeError(f"{where}: a tuple needs a Size")
    field = _field(args[0], where, scope)
    read = field.read

    def read_tuple(value: Any, path: str) -> Any:
        if type(value) is not list:
            raise ProtocolError(f"{path}: expected an array, got {type(value).__name__}")
        _check_size(len(value), size, path, "elements")
        return tuple([read(item, f"{path}[{index}]") for index, item in enumerate(value)])

    each = field.packed.format(v="item")
    return _Field(read_tuple, packed="{v}" if each == "item" else f"[{each} for item in {{v}}]")


def _bool(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise ProtocolError(f"{path}: expected a boolean, got {type(value).__name__}")
    return value


def _enum(cls: type[IntEnum]) -> _Reader:
    def read(value: Any, path: str) -> IntEnum:
        if type(value) is not int or value not in cls._value2member_map_:
            raise ProtocolError(f"{path}: expected one of {[int(member) for member in cls]}")
        return cls(value)

    return read


def _int(bounds: Range) -> _Field:
    def read(value: Any, path: str) -> int:
        if type(value) is not int:
            raise ProtocolError(f"{path}: expected an integer, got {type(value).__name__}")
        if not bounds.least <= value <= bounds.most:
            raise ProtocolError(f"{path}: {value} is outside {bounds.least} to {bounds.most}")
        return value

    return _Field(read, plain=f"type({{v}}) is int and {bounds.least} <= {{v}} <= {bounds.most}")


def _float(bounds: Range) -> _Reader:
    def read(value: Any, path: str) -> float:
        if type(value) is not float:
            raise ProtocolError(f"{path}: expected a float, got {type(value).__name__}")
        if not (math.isfinite(value) and bounds.least <= value <= bounds.most):
            raise ProtocolError(f"{path}: {value} is outside {bounds.least} to {bounds.most}")
        return value

    return read


def _sized(kind: type[str] | type[bytes], size: Size) -> _Field:
    def read(value: Any, path: str) -> Any:
        if type(value) is not kind:
            raise ProtocolError(f"{path}: expected {kind.__name__}, got {type(value).__name__}")
        _check_size(len(value) if isinstance(value, bytes) else len(value.encode()), size, path, "bytes")
        return value

    characters_are_bytes = "" if kind is bytes else " and {v}.isascii()"
    fits = f"{size.fewest} <= len({{v}}) <= {size.most}{characters_are_bytes}"
    return _Field(read, plain=f"type({{v}}) is {kind.__name__} and {fits}")


def _check_size(count: int, size: Size, path: str, unit: str) -> None:
    if not size.fewest <= count <= size.most:
        raise ProtocolError(f"{path}: {count} {unit}, allowed are {size.fewest} to {size.most}")
