"""Embeds texts: tokens, like lengths together, mean of the token vectors, unit length; it runs in workers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from swarmharness.errors import InputError, cause_text
from swarmharness.execution.batching import group_by_length
from swarmharness.execution.kinds.session import Array, SessionFactory, as_float32
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import encode_tensors

TOKENS_MAX = 256
TEXT_BYTES_MAX = 256 * 1024
TOKENS_A_RUN = 512
"""Padded tokens in one run of the model: more make no item faster, and cost memory."""


class TextEmbedding:
    """The kind `text-embedding`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
        except Exception as error:  # the library raises bare exceptions
            raise InputError(f"tokenizer.json cannot be read: {cause_text(error)}") from None
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._tokenizer.no_padding()
        self._session = sessions.open(files["model.onnx"])
        self._inputs = {tensor.name for tensor in self._session.inputs}
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or not {"input_ids", "attention_mask"} <= self._inputs:
            raise InputError(f"model.onnx takes {', '.join(sorted(self._inputs))}, not input_ids and attention_mask")

    def run(self, items: Sequence[bytes]) -> list[ItemOutput]:
        """See `Runner`: an item is UTF-8 text, an output one float32 tensor `embedding`."""
        outputs: list[ItemOutput | None] = [None] * len(items)
        encodings: list[Encoding] = []
        places: list[int] = []
        for place, item in enumerate(items):
            try:
                encodings.append(self._tokenizer.encode(_text(item)))
                places.append(place)
            except InputError as error:
                outputs[place] = ItemOutput(b"", str(error))
        for group in group_by_length([len(encoding) for encoding in encodings], most_cells=TOKENS_A_RUN):
            vectors = self._embed([encodings[index] for index in group])
            for index, vector in zip(group, vectors, strict=True):
                outputs[places[index]] = ItemOutput(encode_tensors(from_arrays({"embedding": vector})))
        return [output for output in outputs if output is not None]

    def samples(self) -> tuple[bytes, ...]:
        """See `Runner`: a sentence of 20 tokens."""
        return (b"A node that nobody uses tonight lends its time to a neighbour who searches some old letters.",)

    def _embed(self, encodings: Sequence[Encoding]) -> Array:
        longest = max(len(encoding) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = as_float32(self._session.run({name: feeds[name] for name in self._inputs})[0])
        weights = mask[:, :, None].astype(np.float32)
        # Mean pooling over real tokens, then L2: Reimers & Gurevych, Sentence-BERT (2019), section 3.
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return as_float32(pooled / np.maximum(norms, np.float32(1e-12)))


def _text(item: bytes) -> str:
    if len(item) > TEXT_BYTES_MAX:
        raise InputError(f"the text has {len(item)} bytes; at most {TEXT_BYTES_MAX} are allowed")
    try:
        text = item.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise InputError("the text is not UTF-8") from None
    if not text:
        raise InputError("the text is empty")
    return text
