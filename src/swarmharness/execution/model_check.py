"""Decides whether the files of a skill may be opened: all there, every ONNX file inspected; it opens none itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

from swarmharness.errors import UnavailableError
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.onnx_inspection import (
    MODEL_BYTES_MAX,
    ModelFacts,
    check_facts,
    facts_from_json,
    facts_to_json,
    inspect_model,
)
from swarmharness.execution.skill import ModelFile, SkillManifest


def check_models(
    manifest: SkillManifest, store: ModelStore, *, size_bytes_max: int = MODEL_BYTES_MAX
) -> dict[str, ModelFacts]:
    """Return the facts of each ONNX file of a skill. Blocks, some 0.3 s for each file that was never inspected.

    Raises UnavailableError when files are missing, InputError when one must not be run.
    """
    missing = store.missing(manifest)
    if missing:
        names = ", ".join(file.name for file in missing)
        raise UnavailableError(
            f"skill {manifest.name}: {names} not in {store.folder}; run `swarmharness skills pull {manifest.name}`"
        )
    facts = {}
    for file in manifest.files:
        if file.name.endswith(".onnx"):
            facts[file.name] = _facts(file, store, size_bytes_max)
            check_facts(
                facts[file.name],
                f"{file.name} of skill {manifest.name}",
                contrib_operators=manifest.contrib_operators,
            )
    return facts


def noted_facts(file: ModelFile, store: ModelStore) -> ModelFacts | None:
    """Return what an earlier inspection of a file found; None if there was none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return facts_from_json(_note(file, store).read_text())
    return None


def note_facts(file: ModelFile, store: ModelStore, facts: ModelFacts) -> None:
    """Keep what an inspection of a file found, so that it is not inspected again; the loss of it costs only that."""
    note = _note(file, store)
    temporary = note.with_name(f".partial-{note.name}")
    with contextlib.suppress(OSError):
        temporary.write_text(facts_to_json(facts))
        temporary.replace(note)


def _facts(file: ModelFile, store: ModelStore, size_bytes_max: int) -> ModelFacts:
    noted = noted_facts(file, store)
    if noted is not None and file.size_bytes <= size_bytes_max:
        return noted
    facts = inspect_model(store.path(file.sha256), file.name, size_bytes_max=size_bytes_max)
    note_facts(file, store, facts)
    return facts


def _note(file: ModelFile, store: ModelStore) -> Path:
    path = store.path(file.sha256)
    return path.with_name(f"{path.name}.facts.json")
