"""Embeds texts: tokens, like lengths together, mean of the token vectors, unit length; it runs in workers alone.

The model takes `TEXT_TOKENS_MAX` tokens. Of a longer text, the parameter `on_long` has the rest left out (the output
says so), the text refused, or the text cut into pieces whose token vectors all count for the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from swarmharness.errors import InputError, cause_text
from swarmharness.execution.batching import group_by_length
from swarmharness.execution.items import TEXT_BYTES_MAX, TEXT_SPLIT_TOKENS_MAX, TEXT_TOKENS_MAX
from swarmharness.execution.kinds.session import Array, SessionFactory, as_float32
from swarmharness.execution.parameters import ON_LONG, SPLIT_MEAN, TRUNCATE
from swarmharness.execution.ports import TRUNCATED, ItemOutput
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import NOTHING_BUT_NAN, encode_tensors, nothing_but_nan

TOKENS_A_RUN = 512
"""Padded tokens in one run of the model: more make no item faster, and cost memory."""


class TextEmbedding:
    """The kind `text-embedding`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
        except Exception as error:  # the library raises bare exceptions
            raise InputError(f"tokenizer.json cannot be read: {cause_text(error)}") from None
        self._tokenizer.enable_truncation(TEXT_TOKENS_MAX)
        self._tokenizer.no_padding()
        self._session = sessions.open(files["model.onnx"])
        self._inputs = {tensor.name for tensor in self._session.inputs}
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or not {"input_ids", "attention_mask"} <= self._inputs:
            raise InputError(f"model.onnx takes {', '.join(sorted(self._inputs))}, not input_ids and attention_mask")

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        """See `Runner`: an item is UTF-8 text, an output one float32 tensor `embedding`."""
        outputs = [ItemOutput(b"")] * len(items)
        on_long = parameters.get(ON_LONG, TRUNCATE)
        encodings: list[Encoding] = []
        places: list[int] = []
        for place, item in enumerate(items):
            try:
                pieces = self._pieces(_text(item), on_long)
            except InputError as error:
                outputs[place] = ItemOutput(b"", str(error))
                continue
            if on_long == TRUNCATE and len(pieces) > 1:
                outputs[place], pieces = ItemOutput(b"", flags=TRUNCATED), pieces[:1]
            encodings += pieces
            places += [place] * len(pieces)
        for place, vector in self._embed(encodings, places).items():
            outputs[place] = _output(vector, outputs[place].flags)
        return outputs

    def samples(self) -> tuple[bytes, ...]:
        """See `Runner`: a sentence of 20 tokens."""
        return (b"A node that nobody uses tonight lends its time to a neighbour who searches some old letters.",)

    def _pieces(self, text: str, on_long: str) -> list[Encoding]:
        """Return the tokens of a text, in pieces of what the model takes; InputError for a text that is refused."""
        first = self._tokenizer.encode(text)
        pieces = [first, *first.overflowing]
        most = TEXT_SPLIT_TOKENS_MAX if on_long == SPLIT_MEAN else TEXT_TOKENS_MAX
        if on_long != TRUNCATE and len(pieces) * TEXT_TOKENS_MAX > most:
            tokens = len(first) + sum(len(piece) - sum(piece.special_tokens_mask) for piece in pieces[1:])
            raise InputError(f"the text has {tokens} tokens; at most {most} are taken with on_long {on_long}")
        return pieces

    def _embed(self, encodings: Sequence[Encoding], places: Sequence[int]) -> dict[int, Array]:
        """Return a vector of unit length for each place; it is the mean of all tokens that belong there."""
        sums: dict[int, Array] = {}
        counts: dict[int, Array] = {}
        for group in group_by_length([len(encoding) for encoding in encodings], most_cells=TOKENS_A_RUN):
            hidden, mask = self._run([encodings[index] for index in group])
            weights = mask[:, :, None].astype(np.float32)
            for index, total, count in zip(group, (hidden * weights).sum(axis=1), weights.sum(axis=1), strict=True):
                place = places[index]
                sums[place] = sums[place] + total if place in sums else total
                counts[place] = counts[place] + count if place in counts else count
        if not sums:
            return {}
        # Mean pooling over real tokens, then L2: Reimers & Gurevych, Sentence-BERT (2019), section 3.
        pooled = np.stack(list(sums.values())) / np.stack(list(counts.values()))
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return dict(zip(sums, as_float32(pooled / np.maximum(norms, np.float32(1e-12))), strict=True))

    def _run(self, encodings: Sequence[Encoding]) -> tuple[Array, Array]:
        """Return the model's vector of every token, and which tokens are real."""
        longest = max(len(encoding) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return as_float32(self._session.run({name: feeds[name] for name in self._inputs})[0]), mask


def _output(vector: Array, flags: int) -> ItemOutput:
    tensors = from_arrays({"embedding": vector})
    if nothing_but_nan(tensors):
        return ItemOutput(b"", f"output: {NOTHING_BUT_NAN}")
    return ItemOutput(encode_tensors(tensors), flags=flags)


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
