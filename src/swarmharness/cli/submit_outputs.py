"""Shows results as text or JSON lines and writes them to a file, whole or not at all; it never talks to a node."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from swarmharness.errors import ConfigurationError
from swarmharness.execution.items import to_json
from swarmharness.execution.skill import Task

SUFFIXES = (".jsonl", ".npy", ".npz")
_SHOWN_NUMBERS = 6


def json_line(task: Task, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the published form of one result."""
    return {
        "index": result["index"],
        "output": to_json(task, result["output"]),
        "peer": result["peer"],
        "service_ms": result["service_ms"],
        "receipt": result["receipt"],
    }


def readable(task: Task, output: Any, label: str, *, alone: bool) -> str:
    """Return one output for a person; `alone` leaves out which input it belongs to."""
    match task:
        case Task.TEXT_EMBEDDING:
            text = f"{len(output)} numbers: {_some(output)}"
        case Task.IMAGE_OCR:
            text = "\n".join(str(line["text"]) for line in output) or "(no text found)"
            return text if alone else f"== {label} ==\n{text}\n"
        case Task.FILE_TYPE:
            text = f"{output['label']} ({output['mime']}, {output['group']}, {output['score']:.0%} sure)"
        case Task.TENSOR:
            tensors = [f"{name} {t['dtype']} {t['shape']}: {_some(t['data'])}" for name, t in output.items()]
            text = "\n".join(tensors)
    return text if alone else f"{label}: {text}"


def _some(numbers: list[Any]) -> str:
    shown = " ".join("nan" if number is None else f"{number:.4g}" for number in numbers[:_SHOWN_NUMBERS])
    return shown + (" …" if len(numbers) > _SHOWN_NUMBERS else "")


class OutputFile:
    """Collects results for `--out`; `finish` puts the file in place, and until then nothing that exists is touched."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in SUFFIXES:
            raise ConfigurationError(f"--out {path}: the name must end in {', '.join(SUFFIXES)}")
        if path.is_dir():
            raise ConfigurationError(f"--out {path} is a folder")
        self.path = path
        self._outputs: dict[int, bytes] = {}
        try:
            handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
        except OSError as error:
            raise ConfigurationError(f"--out {path}: cannot write there: {error.strerror}") from None
        self._temporary = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "wb")

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def check_task(self, task: Task) -> None:
        """Refuse a format that cannot hold what the task puts out, before any work is done."""
        allowed = {Task.TEXT_EMBEDDING: SUFFIXES, Task.TENSOR: (".jsonl", ".npz")}.get(task, (".jsonl",))
        if self.path.suffix not in allowed:
            raise ConfigurationError(f"--out {self.path}: {task.value} can be written as {', '.join(allowed)}")

    def add(self, line: Mapping[str, Any], output: bytes) -> None:
        """Take one result."""
        if self.path.suffix == ".jsonl":
            with _disk(self.path):
                self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        else:
            self._outputs[line["index"]] = output

    def finish(self, task: Task, *, items_total: int, complete: bool) -> Path:
        """Put the file in place and return where it lies: beside an existing one if results are missing."""
        with _disk(self.path):
            if self.path.suffix != ".jsonl":
                self._write_arrays(task, items_total)
            self._file.flush()
            os.fsync(self._file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            self._temporary.chmod(0o666 & ~umask)  # a temporary file is private, a result is an ordinary file
            keep = self.path.exists() and not complete
            target = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}") if keep else self.path
            self._temporary.replace(target)
        return target

    def _write_arrays(self, task: Task, items_total: int) -> None:
        import numpy as np

        from swarmharness.execution.tensor_arrays import to_arrays
        from swarmharness.execution.tensor_codec import decode_tensors

        named = {index: to_arrays(decode_tensors(output)) for index, output in sorted(self._outputs.items())}
        arrays: dict[str, Any]
        if task is Task.TEXT_EMBEDDING:
            vectors = {index: next(iter(tensors.values())) for index, tensors in named.items()}
            stacked = np.full((items_total, *next(iter(vectors.values())).shape), np.nan, np.float32)
            for index, vector in vectors.items():  # the row of a missing result stays NaN
                stacked[index] = vector
            if self.path.suffix == ".npy":
                np.save(self._file, stacked, allow_pickle=False)
                return
            arrays = {"embedding": stacked}
        elif items_total == 1:
            arrays = dict(named[0])
        else:
            arrays = {f"{name}.{index}": array for index, some in named.items() for name, array in some.items()}
        np.savez(self._file, **arrays)


class _disk:  # noqa: N801 - reads as a statement
    """Turn a full or broken disk into an error that says so."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot write {self._path}: {error.strerror or error}") from error
