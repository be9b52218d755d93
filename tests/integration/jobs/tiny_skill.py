"""A skill on texts whose model is a table of four numbers a letter: nothing is cheaper, and no batch changes a bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

NAME = "tiny-embedding"
PRICE_MICROCREDITS = 10
_WORDS = 500


def tiny_skill(folder: Path, *, batch_items: int = 512) -> Path:
    """Write the skill's folder, for `swarmharness skills add`, and return it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(_model())
    tokenizer = Tokenizer(WordLevel({f"w{number}": number for number in range(_WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    files = "".join(_file_table(folder / name) for name in ("model.onnx", "tokenizer.json"))
    (folder / "skill.toml").write_text(
        f'[skill]\nname = "{NAME}"\nversion = "1.0.0"\ndescription = "Words to four numbers."\ntimeout_secs = 60\n'
        f'[model]\nkind = "text-embedding"\nwork_microcredits = {PRICE_MICROCREDITS}\ncomparison_class = "fp32"\n'
        f"batch_invariant = true\nbatch_items = {batch_items}\nmemory_limit_mib = 512\n{files}"
    )
    return folder


def _file_table(path: Path) -> str:
    data = path.read_bytes()
    return (
        f'[[model.files]]\nname = "{path.name}"\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
        f'size_bytes = {len(data)}\nsources = [{{ file = "{path.name}" }}]\n'
    )


def _model() -> bytes:
    # Whole numbers, so that sums are exact in any order.
    table = np.random.default_rng(1).integers(1, 100, (_WORDS, 4)).astype(np.float32)
    words: dict[str, Any] = {
        "input_ids": (TensorProto.INT64, ["b", "t"]),
        "attention_mask": (TensorProto.INT64, ["b", "t"]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["found", "wide"], ["hidden"]),
    ]
    initializers = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in words.items()],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["b", "t", 4])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())
