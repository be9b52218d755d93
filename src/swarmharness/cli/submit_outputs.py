"""Shows results as text or JSON lines and writes them to a file, whole or not at all; it never talks to a node."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from swarmharness.cli.array_files import RowFile, TensorArchive, wrap_rows
from swarmharness.cli.options import json_text
from swarmharness.errors import ConfigurationError, InputError, ProtocolError
from swarmharness.execution.items import to_json
from swarmharness.execution.ports import TRUNCATED
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_codec import decode_output
from swarmharness.text_bytes import visible

SUFFIXES = (".jsonl", ".npy", ".npz")
_SHOWN_NUMBERS = 6


def json_line(kind: Kind, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the published form of one result."""
    return {
        "index": result["index"],
        "output": to_json(kind, result["output"]),
        "peer": result["peer"],
        "model_digest": result.get("model_digest", ""),
        "service_ms": result["service_ms"],
        "receipt": result["receipt"],
        "verified": bool(result.get("verified")),
        "truncated": is_truncated(result),
    }


def is_truncated(result: Mapping[str, Any]) -> bool:
    """Tell whether a part of the input was left out, because the model takes no more."""
    return bool(result.get("flags", 0) & TRUNCATED)


def error_line(index: int, reason: str, kind: int) -> dict[str, Any]:
    """Return the published form of an input without a result; `kind` is the exit status of its kind of error."""
    return {"index": index, "error": reason, "error_kind": int(kind)}


def unread_line(first_index: int, reason: str, kind: int) -> dict[str, Any]:
    """Return the published form of all inputs from `first_index` on, which were not read, nor counted."""
    return {"unread_from": first_index, "error": reason, "error_kind": int(kind)}


def readable(kind: Kind, output: Any, label: str, *, alone: bool) -> str:
    """Return one output for a person, without what would steer a terminal; `alone` leaves out which input it is of."""
    match kind:
        case Kind.TEXT_EMBEDDING:
            text = f"{len(output)} numbers: {_some(output)}"
        case Kind.IMAGE_OCR:
            text = "\n".join(visible(line["text"]) for line in output) or "(no text found)"
            return text if alone else f"== {label} ==\n{text}\n"
        case Kind.FILE_TYPE:
            text = visible(f"{output['label']} ({output['mime']}, {output['group']}, {output['score']:.0%} sure)")
        case Kind.TENSOR:
            tensors = [f"{name} {t['dtype']} {t['shape']}: {_some(t['data'])}" for name, t in output.items()]
            text = "\n".join(map(visible, tensors))
    return text if alone else f"{label}: {text}"


def _some(values: list[Any]) -> str:
    shown = " ".join(map(_element, values[:_SHOWN_NUMBERS]))
    return shown + (" …" if len(values) > _SHOWN_NUMBERS else "")


def _element(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "nan" if value is None else f"{value:.4g}"


class OutputFile:
    """Takes results for `--out` as they come; `finish` puts the file in place, and until then nothing is touched."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in SUFFIXES:
            raise ConfigurationError(f"--out {path}: the name must end in {', '.join(SUFFIXES)}")
        if path.is_dir():
            raise ConfigurationError(f"--out {path} is a folder")
        self.path = path
        try:
            handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
        except OSError as error:
            raise ConfigurationError(f"--out {path}: cannot write there: {error.strerror}") from None
        self._temporary = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "w+b")
        self._rows: RowFile | None = None
        self._archive: TensorArchive | None = None

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.abandon()
        with suppress(OSError):  # what a full disk did not take is written once more by closing; it was said already
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def check(self, kind: Kind) -> None:
        """Refuse a format that cannot hold what the kind puts out."""
        allowed = {Kind.TEXT_EMBEDDING: SUFFIXES, Kind.TENSOR: (".jsonl", ".npz")}.get(kind, (".jsonl",))
        if self.path.suffix not in allowed:
            raise ConfigurationError(f"--out {self.path}: {kind.value} can be written as {', '.join(allowed)}")

    def begin(self, kind: Kind, job: str) -> None:
        """Take results from now on; clear away what a killed command of the job left."""
        self.check(kind)
        with _disk(self.path):
            own = self._temporary.with_name(f".{self.path.name}.{job}.tmp")
            self._temporary.replace(own)
            self._temporary = own
        if self.path.suffix != ".jsonl":
            if kind is Kind.TEXT_EMBEDDING:
                self._rows = RowFile(self._file)
            else:
                self._archive = TensorArchive(self._file)

    @property
    def takes_lines(self) -> bool:
        """Whether `add` needs the published form."""
        return self.path.suffix == ".jsonl"

    def miss(self, line: Mapping[str, Any]) -> None:
        """Take a line that says what has no result, where there are lines."""
        if self.takes_lines:
            with _disk(self.path):
                self._write_line(line)

    def _write_line(self, line: Mapping[str, Any] | None) -> None:
        self._file.write(json_text(line, "utf-8").encode() + b"\n")

    def add(self, index: int, output: bytes, line: Mapping[str, Any] | None) -> None:
        """Take one result, in input order; ProtocolError for an output that cannot be written."""
        with _disk(self.path):
            try:
                if self._rows is not None:
                    self._rows.add(index, decode_output(output)[0])
                elif self._archive is not None:
                    self._archive.add(index, decode_output(output))
                else:
                    self._write_line(line)
            except (InputError, IndexError) as error:
                raise ProtocolError(f"not encoded tensors: {error}") from None

    def finish(self, *, items_total: int, complete: bool) -> Path:
        """Put the file in place and return where it lies: beside an existing one if results are missing."""
        with _disk(self.path):
            if self._rows is not None:
                self._rows.finish(items_total)
                if self.path.suffix == ".npz":
                    self._wrap()
            elif self._archive is not None:
                self._archive.finish(items_total)
            self._file.flush()
            os.fsync(self._file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            self._temporary.chmod(0o666 & ~umask)  # a temporary file is private, a result is an ordinary file
            keep = self.path.exists() and not complete
            target = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}") if keep else self.path
            self._temporary.replace(target)
        return target

    def _wrap(self) -> None:
        """Make an archive of the finished rows, in their place."""
        handle, name = tempfile.mkstemp(dir=self._temporary.parent, prefix=f".{self.path.name}.")
        packed = os.fdopen(handle, "w+b")
        try:
            wrap_rows(self._file, "embedding", packed)
            Path(name).replace(self._temporary)
        except BaseException:
            with suppress(OSError):
                packed.close()
            Path(name).unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = packed


class _disk:  # noqa: N801 - reads as a statement
    """Turn a full or broken disk into an error that says so."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot write {self._path}: {error.strerror or error}") from error
