"""Adds a skill to the user's folder from whatever its path is, once its model has answered an input; all or nothing.

What a path is decides who prepares it: a folder with a `skill.toml`, or a lone `.onnx` file. Each preparer fills a
folder beside the others; then the model is fetched, inspected and tried, and the folder gets its name. Whoever watches
the user's folder sees complete skills only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swarmharness.errors import InputError
from swarmharness.execution.catalog import InstalledSkill, check_name, copy_skill, install, read_skill, staging
from swarmharness.execution.drafting import MODEL, Agree, draft_of, measured, name_for, needs_contrib
from swarmharness.execution.model_check import check_models, note_facts
from swarmharness.execution.model_store import ModelStore, Progress
from swarmharness.execution.onnx_inspection import ModelFacts, check_size, inspect_model
from swarmharness.execution.onnx_one_file import join_external
from swarmharness.execution.skill import MANIFEST_NAME, parse_manifest
from swarmharness.execution.skill_text import skill_text
from swarmharness.execution.trial import Trial, try_skill


@dataclass(frozen=True, slots=True)
class Added:
    """A skill that is in the user's folder, its models in the store."""

    skill: InstalledSkill
    facts: dict[str, ModelFacts]
    trial: Trial


@dataclass(frozen=True, slots=True)
class Target:
    """Where a skill goes, and what its user said."""

    user_folder: Path
    store: ModelStore
    name: str | None
    force: bool
    agree: Agree
    progress: Progress | None = None


def add_path(path: str, target: Target) -> Added:
    """Add the skill that `path` names.

    Raises InputError (not a skill, or a model that cannot answer), ConfigurationError (the name is taken, the user does
    not agree, or a folder cannot be written), UnavailableError (a model cannot be fetched).
    """
    return _preparer(Path(path))(target)


def _preparer(path: Path) -> Callable[[Target], Added]:
    """Return what adds a skill of this kind of path."""
    if not path.exists():
        raise InputError(f"there is no {path}")
    if path.is_dir():
        return partial(_add_folder, path)
    if path.name == MANIFEST_NAME:
        return partial(_add_folder, path.parent)
    if path.suffix.lower() == ".onnx":
        return partial(_add_onnx, path)
    raise InputError(f"{path} is neither an .onnx file nor a folder with a {MANIFEST_NAME}")


def _add_folder(folder: Path, target: Target) -> Added:
    if not (folder / MANIFEST_NAME).exists() and any(folder.glob("*.onnx")):
        raise InputError(
            f"{folder} has no {MANIFEST_NAME}: `swarmharness skills init {folder}` writes one; "
            "or name the .onnx file itself"
        )
    skill = read_skill(folder, own_files=True)
    name = target.name or skill.manifest.name
    check_name(name, target.user_folder, force=target.force)
    with staging(target.user_folder) as workspace:
        staged = workspace / name
        copy_skill(skill, staged)
        if name != skill.manifest.name:
            _rename(staged / MANIFEST_NAME, name)
        return _finish(read_skill(staged), target)


def _add_onnx(path: Path, target: Target) -> Added:
    name = name_for(path, target.name)
    check_name(name, target.user_folder, force=target.force)
    with staging(target.user_folder) as workspace:
        staged = workspace / name
        staged.mkdir()
        facts = _copy_whole(path, staged / MODEL)
        contrib = needs_contrib(facts, path, target.agree)
        draft = draft_of(staged, MODEL, name, facts, contrib=contrib)
        (staged / MANIFEST_NAME).write_text(skill_text(draft), "utf-8")

        def describe(trial: Trial) -> None:
            (staged / MANIFEST_NAME).write_text(skill_text(measured(draft, trial)), "utf-8")

        return _finish(read_skill(staged), target, facts, describe)


def _copy_whole(source: Path, copy: Path) -> ModelFacts:
    """Copy a model, with the tensors that it keeps in other files, and return what it holds then."""
    check_size(source, str(source))
    shutil.copyfile(source, copy)
    facts = inspect_model(copy, str(source))  # the copy: somebody may write to the source meanwhile
    if not facts.external_paths:
        return facts
    join_external(source, copy, facts.external_paths)
    return inspect_model(copy, str(source))


def _rename(manifest: Path, name: str) -> None:
    """Write another name into a manifest."""
    text = manifest.read_text("utf-8")
    renamed = re.sub(r'^(\s*name\s*=\s*)(".*?"|\'.*?\')', rf'\g<1>"{name}"', text, count=1, flags=re.MULTILINE)
    if parse_manifest(renamed, MANIFEST_NAME).name != name:
        raise InputError(
            f"--name: the name in {MANIFEST_NAME} is written in a way that cannot be changed here; edit it"
        )
    manifest.write_text(renamed, "utf-8")


def _finish(
    staged: InstalledSkill,
    target: Target,
    found: ModelFacts | None = None,
    describe: Callable[[Trial], None] | None = None,
) -> Added:
    """Fetch, inspect and try the models of a staged skill, and give it its place; a model of no use is not kept.

    `found` is what its one model holds, if that is known.
    """
    manifest = staged.manifest
    new = target.store.missing(manifest)
    try:
        target.store.fetch(manifest, staged.folder, target.progress)
        if found is not None:
            note_facts(manifest.files[0], target.store, found)
        facts = check_models(manifest, target.store)
        trial = try_skill(staged, target.store)
        if describe is not None:
            describe(trial)
        skill = install(staged.folder, target.user_folder)
    except BaseException:
        target.store.discard(new)
        raise
    return Added(skill, facts, trial)
