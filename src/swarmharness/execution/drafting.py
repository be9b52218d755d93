"""Works out the manifest of a lone ONNX file: what it holds, how it computes, what it costs; it installs nothing."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.onnx_inspection import ModelFacts, check_facts, comparison_class_of, inspect_model
from swarmharness.execution.skill import NAME, parse_manifest
from swarmharness.execution.skill_text import Draft, skill_text
from swarmharness.execution.trial import Trial, try_skill

MODEL = "model.onnx"
_CONTRIB = "com.microsoft"
_NAME_CHARS_MAX = 64
_MIB = 2**20

Agree = Callable[[str], None]
"""Asks the user, and returns if they agree; raises ConfigurationError if not."""


def name_for(path: Path, wanted: str | None) -> str:
    """Return the skill's name: the one that is wanted, or else that of the file, in letters that a name may have."""
    if wanted is not None:
        if not NAME.fullmatch(wanted):
            raise ConfigurationError(f"--name {wanted!r}: lower-case letters, digits, dots, dashes, at most 64")
        return wanted
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower())[:_NAME_CHARS_MAX].strip("._-")
    if not name:
        raise ConfigurationError(f"no name can be made of {path.name!r}; give one with --name")
    return name


def needs_contrib(facts: ModelFacts, path: Path, agree: Agree) -> bool:
    """Return whether a model needs extra operators, to which the user agrees; InputError if it must not be run."""
    contrib = [name for name in facts.foreign_operators if name.startswith(f"{_CONTRIB}::")]
    check_facts(facts, str(path), contrib_operators=bool(contrib))
    if contrib:
        agree(
            f"{path} uses ONNX Runtime's extra operators ({', '.join(contrib[:3])}), which are less tested than the "
            "standard ones: allow them?"
        )
    return bool(contrib)


def draft_of(folder: Path, file: str, name: str, facts: ModelFacts, *, contrib: bool) -> Draft:
    """Return the manifest of the model `file` in `folder`, before it is measured."""
    path = folder / file
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Draft(
        name=name,
        description=f"{name}: an ONNX model",
        source=file,
        sha256=digest,
        size_bytes=size_bytes,
        comparison_class=comparison_class_of(facts),
        memory_limit_mib=max(2048, 1024 + 4 * size_bytes // _MIB),
        contrib_operators=contrib,
        inputs=facts.inputs,
        outputs=facts.outputs,
    )


def measured(draft: Draft, trial: Trial) -> Draft:
    """Return the manifest with what its trial showed."""
    return replace(
        draft,
        work_microcredits=rounded(trial.work_microcredits),
        work_note="measured once, on a made input; say more if yours are larger",
        timeout_s=max(60, 10 * trial.load_us // 1_000_000, 100 * trial.service_us // 1_000_000),
    )


def rounded(number: int) -> int:
    """Return the number with two digits that count: a measurement is no better than that."""
    zeros: int = 10 ** max(0, len(str(number)) - 2)
    return (number + zeros // 2) // zeros * zeros


def drafted(folder: Path, file: str, name: str) -> tuple[Draft, str]:
    """Return the manifest of a model that stays where it is, and why it answered no input, or nothing."""
    facts = inspect_model(folder / file, str(folder / file))
    contrib = needs_contrib(facts, folder / file, lambda question: None)
    draft = draft_of(folder, file, name, facts, contrib=contrib)
    text = skill_text(draft)
    with tempfile.TemporaryDirectory(prefix="swarmharness-init-") as workspace:
        store = ModelStore(Path(workspace))
        skill = InstalledSkill(parse_manifest(text, "skill.toml"), text, folder, shipped=False)
        store.fetch(skill.manifest, folder)
        try:
            trial = try_skill(skill, store)
        except InputError as error:
            return draft, str(error)
    return measured(draft, trial), ""
