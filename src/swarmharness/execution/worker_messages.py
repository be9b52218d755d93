"""Defines what a node and its worker processes say to each other, and how it is framed; it does no I/O itself.

A frame is `u32 length | u8 kind | message`, big-endian; `length` counts what follows it. The node sends LOAD, OPEN and
TRY once each, answered by LOADED, OPENED and TRIED; then each RUN is answered by DONE, one at a time. FAILED may answer
any of them. LOAD is our own code's work (libraries, digests); from OPEN on it is the model's, limited by its manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

from swarmharness.errors import ProtocolError
from swarmharness.execution.parameters import PARAMETERS_BYTES_MAX
from swarmharness.execution.ports import ItemOutput
from swarmharness.protocol.codec import Count, Digest, Range, Size, decode, encode

FRAME_BYTES_MAX = 1024**3
BATCH_BYTES_MAX = 256 * 1024**2
"""Item bytes in one RUN, unless a single item has more."""
THREADS_MAX = 1024
HEAD_BYTES = 5
_ITEMS_MAX = 65_536
_PATH_BYTES_MAX = 4096


class Kind(IntEnum):
    """What a frame holds."""

    LOAD = 1
    LOADED = 2
    RUN = 3
    DONE = 4
    FAILED = 5
    OPEN = 6
    OPENED = 7
    TRY = 8
    TRIED = 9


class Failure(IntEnum):
    """Why a worker could not do what was asked."""

    INPUT = 1
    """The model or its files are not usable."""
    MEMORY = 2
    """An allocation was refused."""
    INTERNAL = 3
    """The model or the worker's own code raised."""


@dataclass(frozen=True, slots=True)
class FilePath:
    """Where a file of the skill lies, and what its digest must be."""

    name: Annotated[str, Size(100)]
    path: Annotated[bytes, Size(_PATH_BYTES_MAX)]
    """As the system has it, which need not be a text."""
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Load:
    """Make ready for a skill: check its files, import what it needs, take on its limits."""

    manifest: Annotated[str, Size(256 * 1024)]
    files: Annotated[tuple[FilePath, ...], Size(64)]
    threads: Annotated[int, Range(1, THREADS_MAX)]
    providers: Annotated[tuple[Annotated[str, Size(64)], ...], Size(16)]
    memory_bytes: Count


@dataclass(frozen=True, slots=True)
class Loaded:
    """The models can be opened."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the models that were loaded."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The models are open."""

    provider: Annotated[str, Size(64)]
    warnings: Annotated[tuple[Annotated[str, Size(2000)], ...], Size(64)]


@dataclass(frozen=True, slots=True)
class Try:
    """Run made inputs until the model answers one, and measure it for about `measure_ms`."""

    measure_ms: Count
    work: bool
    """Measure the work of an item too."""


@dataclass(frozen=True, slots=True)
class Tried:
    """The model answers, in so much time an item."""

    service_us: Count
    work_microcredits: Count
    """Its processor time on the reference core, in micro-seconds; 0 when that was not asked for."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run these items, all with these parameters (see `execution.parameters`)."""

    items: Annotated[tuple[Annotated[bytes, Size(FRAME_BYTES_MAX)], ...], Size(_ITEMS_MAX)]
    parameters: Annotated[bytes, Size(PARAMETERS_BYTES_MAX)] = b""


@dataclass(frozen=True, slots=True)
class Output:
    """An `ItemOutput`."""

    data: Annotated[bytes, Size(FRAME_BYTES_MAX)]
    error: Annotated[str, Size(4000)]
    flags: Annotated[int, Range(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The outputs of a RUN, in order, and the time it took."""

    outputs: Annotated[tuple[Output, ...], Size(_ITEMS_MAX)]
    service_us: Count


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing came of a LOAD or a RUN."""

    failure: Failure
    reason: Annotated[str, Size(4000)]


Message = Load | Loaded | Open | Opened | Try | Tried | Run | Done | Failed

_TYPES: dict[Kind, type[Any]] = {
    Kind.LOAD: Load,
    Kind.LOADED: Loaded,
    Kind.RUN: Run,
    Kind.DONE: Done,
    Kind.FAILED: Failed,
    Kind.OPEN: Open,
    Kind.OPENED: Opened,
    Kind.TRY: Try,
    Kind.TRIED: Tried,
}
_KINDS = {cls: kind for kind, cls in _TYPES.items()}


def frame(message: Message) -> bytes:
    """Return the frame of a message; ProtocolError when it is too long."""
    body = encode(message)
    if len(body) + 1 > FRAME_BYTES_MAX:
        raise ProtocolError(f"{len(body)} bytes for a worker; at most {FRAME_BYTES_MAX} are allowed")
    return b"".join(((len(body) + 1).to_bytes(4, "big"), bytes((_KINDS[type(message)],)), body))


def parse_head(head: bytes | bytearray | memoryview) -> tuple[Kind, int]:
    """Return the kind of the frame that begins with these 5 bytes, and how many bytes of message follow."""
    length = int.from_bytes(head[:4], "big")
    if not 1 <= length <= FRAME_BYTES_MAX:
        raise ProtocolError(f"a frame of {length} bytes; 1 to {FRAME_BYTES_MAX} are allowed")
    if head[4] not in Kind._value2member_map_:
        raise ProtocolError(f"a frame of unknown kind {head[4]}")
    return Kind(head[4]), length - 1


def parse_body(kind: Kind, body: bytes | memoryview) -> Message:
    """Return the message in a frame's body."""
    message: Message = decode(_TYPES[kind], body)
    return message


def to_outputs(outputs: tuple[Output, ...]) -> tuple[ItemOutput, ...]:
    """Return outputs as the port states them."""
    return tuple(ItemOutput(output.data, output.error, output.flags) for output in outputs)
