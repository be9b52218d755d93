"""Tells file types with a Magika model: windows of bytes in, one label out; it runs in workers alone.

The features and the decision follow Magika's own rules (google/magika, Apache-2.0) for models with `beg` and `end`
windows: strip white space at both outer ends, pad, take the most likely label, and fall back to plain text or unknown
below the label's threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swarmharness.errors import InputError
from swarmharness.execution.items import FILE_TYPE_BLOCK_BYTES
from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.records import Label, encode_record
from swarmharness.execution.tensor_codec import NOTHING_BUT_NAN
from swarmharness.json_text import read_json

EMPTY, TEXT, UNKNOWN = "empty", "txt", "unknown"


@dataclass(frozen=True, slots=True)
class Config:
    """What `config.json` says of the model."""

    begin_bytes: int
    end_bytes: int
    padding: int
    block_bytes: int
    bytes_min: int
    labels: tuple[str, ...]
    threshold: float
    thresholds: Mapping[str, float]
    replaced: Mapping[str, str]


class FileType:
    """The kind `file-type`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory) -> None:
        self._config = read_config(_json(files["config.json"]))
        self._types = _json(files["content_types.json"])
        self._session = sessions.open(files["model.onnx"])
        self._input = self._session.inputs[0].name

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        """See `Runner`: an item is a file, or its two ends; an output `[label, score, MIME type, group]`."""
        outputs: list[ItemOutput] = [ItemOutput(b"")] * len(items)
        rows: list[npt.NDArray[np.int32]] = []
        places: list[int] = []
        for place, item in enumerate(items):
            row = features(item, self._config)
            if row is None:
                outputs[place] = self._output(_plain(item), 1.0)
            else:
                rows.append(row)
                places.append(place)
        if rows:
            (scores,) = self._session.run({self._input: np.stack(rows)})
            for place, row_scores in zip(places, scores, strict=True):
                best = int(np.argmax(row_scores))
                score = float(row_scores[best])
                if not math.isfinite(score):  # argmax takes a NaN for the most
                    outputs[place] = ItemOutput(b"", f"output: {NOTHING_BUT_NAN}")
                    continue
                outputs[place] = self._output(self._decide(self._config.labels[best], score), score)
        return outputs

    def samples(self) -> tuple[bytes, ...]:
        """See `Runner`: a page of source code."""
        return (b"def main():\n    print('hello')\n\n" * 40,)

    def _decide(self, label: str, score: float) -> str:
        replaced = self._config.replaced.get(label, label)
        if score >= self._config.thresholds.get(label, self._config.threshold):
            return replaced
        return TEXT if self._types.get(replaced, {}).get("is_text") else UNKNOWN

    def _output(self, label: str, score: float) -> ItemOutput:
        entry = self._types.get(label, {})
        default = "text/plain" if entry.get("is_text") else "application/octet-stream"
        found = Label(label, score, entry.get("mime_type") or default, entry.get("group") or UNKNOWN)
        return ItemOutput(encode_record(found))


def features(item: bytes, config: Config) -> npt.NDArray[np.int32] | None:
    """Return the model's input for a file, or None when too little of it is left without white space."""
    begin = item[: config.block_bytes].lstrip()[: config.begin_bytes]
    end = item[-config.block_bytes :].rstrip()[-config.end_bytes :]
    if len(begin) < config.bytes_min:
        return None
    row = np.full(config.begin_bytes + config.end_bytes, config.padding, np.int32)
    row[: len(begin)] = np.frombuffer(begin, np.uint8)
    row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
    return row


def read_config(values: Mapping[str, Any]) -> Config:
    """Return the model's configuration; InputError when this code cannot serve it."""
    try:
        config = Config(
            begin_bytes=values["beg_size"],
            end_bytes=values["end_size"],
            padding=values["padding_token"],
            block_bytes=values["block_size"],
            bytes_min=values["min_file_size_for_dl"],
            labels=tuple(values["target_labels_space"]),
            threshold=values["medium_confidence_threshold"],
            thresholds=values["thresholds"],
            replaced=values["overwrite_map"],
        )
    except KeyError as error:
        raise InputError(f"config.json lacks {error}") from None
    if values.get("mid_size") or values.get("use_inputs_at_offsets") or config.block_bytes > FILE_TYPE_BLOCK_BYTES:
        raise InputError("config.json describes a model with other windows than the first and last block")
    return config


def _plain(item: bytes) -> str:
    if not item:
        return EMPTY
    try:
        item[: 2 * FILE_TYPE_BLOCK_BYTES].decode("utf-8")
    except UnicodeDecodeError:
        return UNKNOWN
    return TEXT


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path.name} is not a JSON object")
    return value
