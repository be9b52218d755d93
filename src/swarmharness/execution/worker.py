"""The worker process: opens the models of one skill and runs batches on them; it never opens a network connection.

Started by `worker_process` as `python -m swarmharness.execution.worker FD PARENT_PID NICENESS`; it speaks
`worker_messages` on the inherited socket and ends when that closes.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING, Any

from swarmharness.errors import InputError, SwarmError
from swarmharness.execution.limits import die_with_parent, forbid_core_dumps, limit_memory, lower_priority
from swarmharness.execution.model_store import digest_of
from swarmharness.execution.parameters import decode_parameters
from swarmharness.execution.ports import MODEL_FAILED, ItemOutput
from swarmharness.execution.providers import CPU
from swarmharness.execution.skill import Kind, SkillManifest, parse_manifest
from swarmharness.execution.worker_messages import (
    HEAD_BYTES,
    Done,
    Failed,
    Failure,
    Load,
    Loaded,
    Message,
    Open,
    Opened,
    Output,
    Run,
    Tried,
    Try,
    frame,
    parse_body,
    parse_head,
)

if TYPE_CHECKING:
    from swarmharness.execution.kinds.session import Runner, SessionFactory

DATA_HEADROOM_BYTES = 256 * 1024**2
"""Private memory that is reserved without being used, beyond a skill's limit."""
THREAD_HEADROOM_BYTES = 16 * 1024**2
"""The same for each thread: its stack."""
MEASUREMENTS = 5
_REASON_MAX = 600
_OPSET = re.compile(r"Opset (\d+) is under development.*official support for domain (\S+) is till opset (\d+)", re.S)
"""What ONNX Runtime says of a model that is newer than itself."""


def main() -> None:
    """Serve until the parent goes away."""
    descriptor, parent_pid, niceness = (int(argument) for argument in sys.argv[1:4])
    die_with_parent(parent_pid)
    forbid_core_dumps()
    lower_priority(niceness)
    with socket.socket(fileno=descriptor) as stream:
        Worker().serve(stream)


class Worker:
    """Answers each message with one message."""

    def __init__(self) -> None:
        self._open: Callable[[], Opened] | None = None
        self._runner: Runner | None = None
        self._names: dict[str, str] = {}

    def serve(self, stream: socket.socket) -> None:
        """Read and answer frames until the end of the stream; a damaged frame raises ProtocolError."""
        while (message := read_message(stream)) is not None:
            stream.sendall(self.answer(message))

    def answer(self, message: Message) -> bytes:
        """Return the frame that answers a message."""
        try:
            match message:
                case Load():
                    return frame(self._load(message))
                case Open() if self._open is not None:
                    return frame(self._open())
                case Try():
                    return frame(self._try(message))
                case Run():
                    return frame(self._run(message))
                case _:
                    return frame(Failed(Failure.INTERNAL, f"a worker does not take {type(message).__name__} now"))
        except Exception as error:  # whatever a model or a library raises is an answer, not the end of the worker
            answer = failed(error)
            for path, name in self._names.items():  # where the files lie is nobody else's business
                answer = replace(answer, reason=answer.reason.replace(path, name))
            return frame(answer)

    def _load(self, load: Load) -> Loaded:
        manifest = parse_manifest(load.manifest, "skill.toml")
        paths = {file.name: nameable(Path(os.fsdecode(file.path))) for file in load.files}
        for file in load.files:
            if digest_of(paths[file.name]) != file.sha256:
                raise InputError(
                    f"{file.name} was damaged in the model store; run `swarmharness skills pull {manifest.name}`"
                )
        from swarmharness.execution.kinds.session import SessionFactory

        sessions = SessionFactory(threads=load.threads, wanted_providers=load.providers)
        if sessions.candidates == (CPU,):  # drivers of accelerators reserve far more than they use
            limit_memory(load.memory_bytes + DATA_HEADROOM_BYTES + load.threads * THREAD_HEADROOM_BYTES)
        runner_type = runner_of(manifest)
        self._names = {str(path): name for name, path in paths.items()}

        def open_models() -> Opened:
            self._runner = runner_type(paths, sessions)
            return Opened(sessions.provider, tuple(warning[:_REASON_MAX] for warning in sessions.warnings))

        self._open, self._runner = open_models, None
        return Loaded()

    def _try(self, trial: Try) -> Tried:
        service_us, processor_us = measure(self._opened(), measure_s=trial.measure_ms / 1000)
        if not trial.work:
            return Tried(service_us, 0)
        from swarmharness.execution.kinds.yardstick import REFERENCE_US, measure_yardstick

        return Tried(service_us, max(1, processor_us * REFERENCE_US // measure_yardstick()))

    def _opened(self) -> Runner:
        if self._runner is None:
            raise InputError("no skill was opened")
        return self._runner

    def _run(self, run: Run) -> Done:
        runner = self._opened()
        started_ns = time.monotonic_ns()
        outputs = run_items(runner, run.items, decode_parameters(run.parameters))
        service_us = (time.monotonic_ns() - started_ns) // 1000
        return Done(
            tuple(Output(output.data, output.error[:_REASON_MAX], output.flags) for output in outputs), service_us
        )


def nameable(path: Path) -> Path:
    """Return a file's path as libraries take it: one that is no UTF-8 by its name, from its own folder."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        os.chdir(path.parent)  # the files of a skill lie in one folder, under names of ours
        return Path(path.name)
    return path


def run_items(runner: Runner, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
    """Return an output for each item; when a batch raises, its items are run singly, so that one spoils no other.

    A refused allocation is raised on: the process may be near its limit, and the parent decides.
    """
    try:
        return runner.run(items, parameters)
    except Exception as error:
        if is_memory(error):
            raise
        if len(items) == 1:
            return [ItemOutput(b"", f"{MODEL_FAILED}{_line(error)}")]
    return [output for item in items for output in run_items(runner, [item], parameters)]


def runner_of(manifest: SkillManifest) -> Callable[[Mapping[str, Path], SessionFactory], Runner]:
    """Return what opens the models of a skill for its kind; libraries that only one kind needs are imported here."""
    try:
        match manifest.kind:
            case Kind.TEXT_EMBEDDING:
                from swarmharness.execution.kinds.text_embedding import TextEmbedding

                return TextEmbedding
            case Kind.IMAGE_OCR:
                from swarmharness.execution.kinds.image_ocr import ImageOcr

                return ImageOcr
            case Kind.FILE_TYPE:
                from swarmharness.execution.kinds.file_type import FileType

                return FileType
            case Kind.TENSOR:
                from swarmharness.execution.kinds.tensor import TensorRunner

                return partial(TensorRunner, declared=manifest.inputs)
    except ImportError as error:
        raise InputError(
            f"the kind {manifest.kind.value} needs {error.name}: pip install 'swarmharness[models]'"
        ) from None


def measure(runner: Runner, *, measure_s: float) -> tuple[int, int]:
    """Return the median time of a made input, and that of the processor, in microseconds, after one to warm up.

    Inputs are tried until the model answers one; InputError says why it answered none.
    """
    sample = answered_sample(runner)
    times_us: list[int] = []
    processor_us: list[int] = []
    first_ns = time.monotonic_ns()
    while len(times_us) < MEASUREMENTS and (not times_us or time.monotonic_ns() - first_ns < measure_s * 1e9):
        started_ns, processor_ns = time.monotonic_ns(), time.process_time_ns()
        (output,) = runner.run([sample], {})
        if output.error:
            raise InputError(f"it answered an input and failed when it came again: {output.error}")
        times_us.append((time.monotonic_ns() - started_ns) // 1000)
        processor_us.append((time.process_time_ns() - processor_ns) // 1000)
    return max(1, median_high(times_us)), max(1, median_high(processor_us))


def answered_sample(runner: Runner) -> bytes:
    """Return the first of the runner's made inputs that it answers; InputError has the reason against the first."""
    problem = "there is no input of a size that can be sent"
    for number, sample in enumerate(runner.samples()):
        (output,) = run_items(runner, [sample], {})
        if not output.error:
            return sample
        problem = problem if number else output.error
    raise InputError(problem)


def failed(error: Exception) -> Failed:
    """Return what an exception means to the parent."""
    if is_memory(error):
        return Failed(Failure.MEMORY, _line(error))
    if isinstance(error, SwarmError):
        return Failed(Failure.INPUT, str(error)[:_REASON_MAX])
    return Failed(Failure.INTERNAL, _line(error))


def is_memory(error: Exception) -> bool:
    """Tell whether an exception means that an allocation was refused; ONNX Runtime says so only in words."""
    text = str(error)
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")
    )


def _line(error: Exception) -> str:
    if match := _OPSET.search(str(error)):
        opset, domain, most = match.groups()
        return (
            f"it is of opset {opset} of {domain}, and this ONNX Runtime knows up to {most}: export it with a lower "
            "opset, or upgrade onnxruntime"
        )
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_REASON_MAX]


def read_message(stream: socket.socket) -> Message | None:
    """Return the next message, or None at the end of the stream, even in the middle of a frame."""
    head = _read(stream, HEAD_BYTES)
    if head is None:
        return None
    kind, length = parse_head(head)
    body = _read(stream, length)
    return None if body is None else parse_body(kind, body)


def _read(stream: socket.socket, length: int) -> memoryview | None:
    view = memoryview(bytearray(length))
    at = 0
    while at < length:
        count = stream.recv_into(view[at:])
        if count == 0:
            return None
        at += count
    return view


if __name__ == "__main__":
    main()
