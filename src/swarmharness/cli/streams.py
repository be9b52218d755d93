"""Makes the three standard streams usable whatever the program was started with; it reads and prints nothing itself.

Closed ones are opened on nothing, or the next file that is opened would get their numbers. What cannot be encoded is
written with backslashes. A standard error that takes nothing stops no work; a standard output that takes nothing is an
error, and `output_problem` tells it from others.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

from swarmharness.text_bytes import SHOW

_DEVNULL_FLAGS = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)
"""What is written to a closed standard output is refused, not lost without a word: so it is opened for reading."""


def open_standard_streams() -> None:
    """Mend `sys.stdin`, `sys.stdout` and `sys.stderr`; to be called before anything else opens a file."""
    for descriptor, flags in enumerate(_DEVNULL_FLAGS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # it gets the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr, line_buffering=True)


def output_problem(stream: TextIO) -> str:
    """Return why the standard output took nothing, or an empty string if it took everything so far."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.problem if isinstance(raw, _Output) else ""


def give_up(stream: TextIO) -> None:
    """Drop what a stream did not take: the interpreter would try once more at its end, and complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _text(raw: io.FileIO, old: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    """Return a text stream on `raw` that encodes and buffers as the old one did, if there was one."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old else None,
        errors=SHOW,
        line_buffering=line_buffering or bool(getattr(old, "line_buffering", False)),
        write_through=bool(getattr(old, "write_through", False)),
    )


class _Output(io.FileIO):
    """Remembers that the system refused something."""

    problem = ""

    def write(self, data: object, /) -> int:
        """See `io.RawIOBase`."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.problem = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
            raise


class _Messages(io.FileIO):
    """Drops what the system refuses: a full disk, a terminal that is gone."""

    def write(self, data: object, /) -> int:
        """See `io.RawIOBase`."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]
