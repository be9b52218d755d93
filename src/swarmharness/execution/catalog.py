"""Finds the skills that ship with the package and those in the user's folder, and adds to the latter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError
from swarmharness.execution.manifest_table import suggestion
from swarmharness.execution.model_store import disk_full
from swarmharness.execution.skill import (
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    FolderSource,
    SkillManifest,
    parse_manifest,
)

SHIPPED_FOLDER = Path(__file__).parent / "skills"


@dataclass(frozen=True, slots=True)
class InstalledSkill:
    """A skill whose folder is on this machine; its model files may still have to be pulled."""

    manifest: SkillManifest
    text: str
    """The manifest as written."""
    folder: Path
    shipped: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every skill by name, and the folders that hold none that can be used, with the reason."""

    skills: Mapping[str, InstalledSkill]
    problems: Mapping[str, str]

    def get(self, name: str) -> InstalledSkill:
        """Return a skill; UnavailableError suggests the nearest names."""
        if name in self.skills:
            return self.skills[name]
        if name in self.problems:
            raise InputError(self.problems[name])
        known = ", ".join(sorted(self.skills)) or "none"
        raise UnavailableError(f"there is no skill {name!r}{suggestion(name, self.skills)} (skills here: {known})")


def find_skills(user_folder: Path) -> Catalog:
    """Return the shipped skills and those under `user_folder`, which come first where names are equal."""
    skills: dict[str, InstalledSkill] = {}
    problems: dict[str, str] = {}
    for parent, shipped in ((SHIPPED_FOLDER, True), (user_folder, False)):
        for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                skill = read_skill(folder, shipped=shipped)
            except SwarmError as error:
                problems[folder.name] = str(error)
            else:
                skills[skill.manifest.name] = skill
    return Catalog(skills, problems)


def read_skill(folder: Path, *, shipped: bool = False) -> InstalledSkill:
    """Return the skill in a folder; InputError says what is wrong with it."""
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as stream:
            data = stream.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{folder} is no skill folder: {MANIFEST_NAME}: {error.strerror}") from None
    if len(data) > MANIFEST_BYTES_MAX:
        raise InputError(f"{path}: more than {MANIFEST_BYTES_MAX // 1024} KiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8") from None
    return InstalledSkill(parse_manifest(text, str(path)), text, folder, shipped)


def add_skill(folder: Path, user_folder: Path, *, force: bool = False) -> InstalledSkill:
    """Copy a validated skill folder to `user_folder/<name>`: the manifest and the files that it names, nothing else.

    Raises InputError (not a skill, or it names a file that is not there), ConfigurationError (the name is taken and
    `force` is off, or the folder cannot be written).
    """
    skill = read_skill(folder)
    name = skill.manifest.name
    target = user_folder / name
    if not force:
        if target.exists():
            raise ConfigurationError(f"a skill {name!r} is already in {user_folder}; --force replaces it")
        if (SHIPPED_FOLDER / name).exists():
            raise ConfigurationError(
                f"{name!r} is the name of a shipped skill; choose another, or replace it with --force"
            )
    try:
        user_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=user_folder) as temporary:
            staged = Path(temporary) / name
            staged.mkdir()
            for relative in (MANIFEST_NAME, *_own_files(skill)):
                _copy(folder, staged, relative)
            if target.exists():
                target.replace(Path(temporary) / "replaced")
            staged.replace(target)
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise disk_full(user_folder) from None
        raise ConfigurationError(f"{user_folder} cannot be written: {error.strerror or error}") from None
    return read_skill(target)


def _own_files(skill: InstalledSkill) -> list[str]:
    sources = [source for file in skill.manifest.files for source in file.sources]
    return [source.path for source in sources if isinstance(source, FolderSource)]


def _copy(folder: Path, staged: Path, relative: str) -> None:
    source = folder / relative
    if not source.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{source} leads out of the skill's folder")
    if not source.is_file():
        raise InputError(f"{source} is named in {MANIFEST_NAME}, but there is no such file")
    target = staged / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
