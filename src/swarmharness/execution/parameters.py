"""What a task may be told beside its items: which parameters each kind takes, and their one form as bytes; pure.

| kind | parameter | values |
|---|---|---|
| text-embedding | on_long | `truncate` (by default), `error` or `split-mean`: what becomes of a text beyond the limit |

On the wire parameters are a MessagePack map from names to values, names in order, every value in its shortest form;
none at all are no bytes. A parameter that has its default is left out, so that peers which do not know it serve too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from swarmharness.errors import ConfigurationError, InputError, ProtocolError
from swarmharness.execution.manifest_table import suggestion
from swarmharness.execution.skill import Kind
from swarmharness.protocol.elements import check_elements

PARAMETERS_BYTES_MAX = 64 * 1024
ELEMENTS_MAX = 1024
"""Names and values of a task's parameters, all that is inside them included."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: a word out of a few."""

    values: tuple[str, ...]
    default: str

    def complaint(self, value: object) -> str:
        """Return what is wrong with a value, or nothing."""
        return "" if value in self.values else f"allowed is one of {', '.join(self.values)}"


ON_LONG = "on_long"
TRUNCATE, REFUSE, SPLIT_MEAN = "truncate", "error", "split-mean"

PARAMETERS_OF_KIND: dict[Kind, dict[str, Parameter]] = {
    Kind.TEXT_EMBEDDING: {ON_LONG: Parameter((TRUNCATE, REFUSE, SPLIT_MEAN), TRUNCATE)},
    Kind.IMAGE_OCR: {},
    Kind.FILE_TYPE: {},
    Kind.TENSOR: {},
}


def parameter_names(kind: str) -> tuple[str, ...]:
    """Return the names of what a kind takes, in order; of a kind that this release does not know, none."""
    return tuple(sorted(_of_kind(kind)))


def described_parameters(kind: str) -> list[str]:
    """Return what people are told of each parameter of a kind, its default first."""
    return [
        f"{name}: {' | '.join((known.default, *(value for value in known.values if value != known.default)))}"
        for name, known in sorted(_of_kind(kind).items())
    ]


def encode_parameters(kind: str, values: Mapping[str, Any]) -> bytes:
    """Return the bytes of parameters, without those that have their default; ConfigurationError names a bad one."""
    problem = _complaint(kind, values)
    if problem:
        raise ConfigurationError(problem)
    known = _of_kind(kind)
    told = {name: value for name, value in values.items() if value != known[name].default}
    packed = _pack(told) if told else b""
    if len(packed) > PARAMETERS_BYTES_MAX:
        raise ConfigurationError(f"{len(packed)} bytes of parameters; at most {PARAMETERS_BYTES_MAX} are allowed")
    return packed


def decode_parameters(data: bytes) -> dict[str, Any]:
    """Return the parameters in `data`; ProtocolError for other bytes than `encode_parameters` writes."""
    if not data:
        return {}
    check_elements(data, ELEMENTS_MAX, "parameters")
    try:
        values = msgpack.unpackb(data, use_list=True, raw=False, strict_map_key=True, max_ext_len=0)  # noqa: TID251
        canonical = isinstance(values, dict) and values and _pack(values) == data
    except Exception as error:  # msgpack raises a dozen kinds, all of which mean "not MessagePack"
        raise ProtocolError(f"parameters: not MessagePack ({error or type(error).__name__})") from None
    if not canonical:
        raise ProtocolError("parameters: expected a map from names to values, in order and in its shortest form")
    found: dict[str, Any] = values
    return found


def read_parameters(kind: str, data: bytes) -> dict[str, Any]:
    """Return the parameters of a task of this kind; ProtocolError as in `decode_parameters`, InputError names one."""
    values = decode_parameters(data)
    problem = _complaint(kind, values)
    if problem:
        raise InputError(problem)
    return values


def _complaint(kind: str, values: Mapping[str, Any]) -> str:
    """Return what is wrong with a parameter that the kind does not take, or with its value; or nothing."""
    known = _of_kind(kind)
    for name, value in values.items():
        if name not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            return f"{kind} has no parameter {name!r}{suggestion(str(name), known)}; {takes}"
        problem = known[name].complaint(value)
        if problem:
            return f"the parameter {name} of {kind} is {value!r}: {problem}"
    return ""


def _of_kind(kind: str) -> Mapping[str, Parameter]:
    return PARAMETERS_OF_KIND.get(Kind(kind), {}) if kind in Kind._value2member_map_ else {}


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(_in_order(value), use_bin_type=True)
    return packed


def _in_order(value: Any) -> Any:
    """Return the value with all maps in the order of their names, which must be texts."""
    if isinstance(value, Mapping):
        if not all(type(name) is str for name in value):
            raise TypeError("the names of a map are texts")
        return {name: _in_order(value[name]) for name in sorted(value, key=str.encode)}
    return [_in_order(each) for each in value] if isinstance(value, list | tuple) else value
