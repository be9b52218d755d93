"""Writes the `skill.toml` with which somebody begins a skill of their own; it adds nothing to a node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.drafting import drafted, name_for
from swarmharness.execution.skill import MANIFEST_NAME
from swarmharness.execution.skill_text import Draft, skill_text


@dataclass(frozen=True, slots=True)
class Begun:
    """A manifest that was written."""

    manifest: Path
    model: Path | None
    """What it was filled in from."""
    problem: str
    """Why it cannot be added as it is, or nothing."""


def begin(path: Path, *, name: str | None, force: bool) -> Begun:
    """Write a manifest into a folder, or beside an `.onnx` file, filled in from the one `.onnx` file there.

    Raises InputError (no such place, several models, one that must not run), ConfigurationError (there is a manifest
    already, and `force` is off; or it cannot be written).
    """
    if not path.exists():
        raise InputError(f"there is no {path}")
    folder = path if path.is_dir() else path.parent
    manifest = folder / MANIFEST_NAME
    if manifest.exists() and not force:
        raise ConfigurationError(f"{manifest} is there already; --force replaces it")
    model = _model(path)
    if model is None:
        draft, problem = Draft(name=name_for(folder.resolve(), name)), "sha256 and size_bytes are to be filled in"
    else:
        draft, problem = drafted(folder, model.name, name_for(_named_after(model), name))
    try:
        manifest.write_text(skill_text(draft), "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{manifest} cannot be written: {error.strerror}") from None
    return Begun(manifest, model, problem)


def _model(path: Path) -> Path | None:
    if not path.is_dir():
        if path.suffix.lower() != ".onnx":
            raise InputError(f"{path} is neither a folder nor an .onnx file")
        return path
    models = sorted(path.glob("*.onnx"))
    if len(models) > 1:
        names = ", ".join(model.name for model in models[:5])
        raise InputError(f"{path} has several models ({names}): name the one that is meant")
    return models[0] if models else None


def _named_after(model: Path) -> Path:
    """Return what gives the skill its name: a model that is only called `model` takes its folder's."""
    return model.resolve().parent if model.stem == "model" else model
