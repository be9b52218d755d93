"""What commands say about skills: where they lie, what they are, how one is called; it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmharness.execution.catalog import Catalog, InstalledSkill
    from swarmharness.execution.model_store import ModelStore
    from swarmharness.execution.onnx_inspection import ModelFacts


def user_folder(data_dir: Path | None) -> Path:
    """Return where the user's own skills lie."""
    from swarmharness.node.data_dir import DataDir

    return DataDir.at(data_dir).path / "skills"


def find_catalog(data_dir: Path | None) -> Catalog:
    """Return the skills on this machine."""
    from swarmharness.execution.catalog import find_skills

    return find_skills(user_folder(data_dir))


def model_store() -> ModelStore:
    """Return the store of this user's models."""
    from swarmharness.execution.model_store import ModelStore
    from swarmharness.node.data_dir import cache_dir

    return ModelStore(cache_dir() / "models")


def warn(skills: Iterable[InstalledSkill]) -> None:
    """Print what the authors of skills should change."""
    for skill in skills:
        for warning in skill.manifest.warnings:
            print(f"warning: {warning}", file=sys.stderr)


def summary(skill: InstalledSkill, store: ModelStore) -> dict[str, Any]:
    """Return a row of the list."""
    manifest, missing = skill.manifest, store.missing(skill.manifest)
    missing_bytes = sum(file.size_bytes for file in missing)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind.value,
        "models": f"{megabytes(missing_bytes)} to pull" if missing else "here",
        "description": manifest.description,
        "runnable": not missing,
        "shipped": skill.shipped,
        "warnings": list(manifest.warnings),
    }


def details(skill: InstalledSkill, store: ModelStore) -> dict[str, Any]:
    """Return all of it."""
    from swarmharness.execution.items import limits_of
    from swarmharness.execution.model_sources import describe
    from swarmharness.execution.parameters import described_parameters
    from swarmharness.execution.skill import described

    manifest = skill.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "tags": list(manifest.tags),
        "kind": manifest.kind.value,
        "license": manifest.license,
        "attribution": manifest.attribution,
        "folder": str(skill.folder),
        "shipped": skill.shipped,
        "model_digest": manifest.model_digest.hex(),
        "comparison_class": manifest.comparison_class,
        "batch_invariant": manifest.batch_invariant,
        "batch_items": manifest.batch_items,
        "work_microcredits": manifest.work_microcredits,
        "timeout_secs": manifest.timeout_s,
        "memory_limit_mib": manifest.memory_limit_mib,
        "contrib_operators": manifest.contrib_operators,
        "inputs": [described(tensor.name, tensor.dtype, tensor.shape) for tensor in manifest.inputs],
        "outputs": outputs(skill, store),
        "limits": [f"{name} {value}" for name, value in limits_of(manifest.kind).items()],
        "parameters": described_parameters(manifest.kind),
        "call": call_lines(skill, store),
        "warnings": list(manifest.warnings),
        "files": [
            {
                "name": file.name,
                "sha256": file.sha256.hex(),
                "size_bytes": file.size_bytes,
                "license": file.license,
                "here": store.has(file),
                "path": str(store.path(file.sha256)),
                "sources": [describe(source) for source in file.sources],
            }
            for file in manifest.files
        ],
    }


def outputs(skill: InstalledSkill, store: ModelStore) -> list[str]:
    """Return what a `tensor` skill puts out; nothing until its model was inspected here."""
    from swarmharness.execution.skill import described

    facts = _tensor_facts(skill, store)
    return [described(fact.name, fact.dtype, fact.shape) for fact in facts.outputs] if facts else []


def call_lines(skill: InstalledSkill, store: ModelStore) -> list[str]:
    """Return the lines with which a shell calls the skill."""
    from swarmharness.execution.skill import Kind

    name = skill.manifest.name
    match skill.manifest.kind:
        case Kind.TEXT_EMBEDDING:
            return [f'swarmharness submit {name} "a text"']
        case Kind.IMAGE_OCR:
            return [f"swarmharness submit {name} PICTURE"]
        case Kind.FILE_TYPE:
            return [f"swarmharness submit {name} FILE"]
        case Kind.TENSOR:
            facts = _tensor_facts(skill, store)
            inputs = {tensor.name: (tensor.dtype, tensor.shape) for tensor in facts.inputs} if facts else {}
            for tensor in skill.manifest.inputs:
                inputs[tensor.name] = tensor.dtype, tensor.sample_shape or tensor.shape
            arrays = ", ".join(f'"{tensor}": {_array(*kind)}' for tensor, kind in inputs.items())
            return [
                f"python -c 'import numpy as np; np.savez(\"item.npz\", **{{{arrays}}})'",
                f"swarmharness submit {name} item.npz --out answer.npz",
            ]


def _array(dtype: str, shape: tuple[int | str, ...]) -> str:
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    if dtype == "string":
        return f'np.full({sizes}, "a text")'
    return f'np.zeros({sizes}, "{"float32" if dtype == "bfloat16" else dtype}")'


def _tensor_facts(skill: InstalledSkill, store: ModelStore) -> ModelFacts | None:
    from swarmharness.execution.model_check import noted_facts
    from swarmharness.execution.skill import Kind

    return noted_facts(skill.manifest.files[0], store) if skill.manifest.kind is Kind.TENSOR else None


def operators(facts: Mapping[str, ModelFacts]) -> str:
    """Return how many operators were looked at."""
    nodes = sum(fact.nodes for fact in facts.values())
    return f", {nodes} operators inspected" if nodes else ""


def speed(service_us: int) -> str:
    """Return what was measured of an item, for a person."""
    return f"{service_us / 1000:.3g} ms an item on one core"


def megabytes(size_bytes: int) -> str:
    """Return a size for a person."""
    return f"{size_bytes / 2**20:.1f} MiB"
