"""Finds the skills that ship with the package and those in the user's folder, and adds to the latter."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarmharness.errors import ConfigurationError, InputError, MistakesError, SwarmError, UnavailableError
from swarmharness.execution.manifest_table import Reading, suggestion
from swarmharness.execution.model_store import digest_of, disk_full, own_unfinished, sweep
from swarmharness.execution.skill import (
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    FolderSource,
    SkillManifest,
    read_manifest,
)
from swarmharness.text_bytes import text_from

SHIPPED_FOLDER = Path(__file__).parent / "skills"
_ADDING = ".adding-"


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


def read_skill(folder: Path, *, shipped: bool = False, own_files: bool = False) -> InstalledSkill:
    """Return the skill in a folder; MistakesError has every mistake, with `own_files` also about files beside it."""
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as stream:
            data = stream.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{folder} is no skill folder: {MANIFEST_NAME}: {error.strerror}") from None
    if len(data) > MANIFEST_BYTES_MAX:
        raise InputError(f"{path}: more than {MANIFEST_BYTES_MAX // 1024} KiB")
    try:
        text = text_from(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    reading = Reading()
    manifest = read_manifest(text, str(path), reading)
    if own_files and manifest is not None:
        _check_own_files(manifest, folder, reading)
    if manifest is None or reading.mistakes:
        raise MistakesError(str(path), reading.mistakes)
    return InstalledSkill(manifest, text, folder, shipped)


def check_name(name: str, user_folder: Path, *, force: bool) -> None:
    """Raise ConfigurationError when there is a skill of this name, and `force` is off."""
    if force:
        return
    if (user_folder / name).exists():
        raise ConfigurationError(f"a skill {name!r} is already in {user_folder}; --force replaces it")
    if (SHIPPED_FOLDER / name).exists():
        raise ConfigurationError(f"{name!r} is the name of a shipped skill; choose another, or replace it with --force")


@contextmanager
def staging(user_folder: Path) -> Iterator[Path]:
    """Give a folder beside the skills in which one is prepared, and which is gone afterwards.

    What the system says about the disk becomes ConfigurationError or UnavailableError.
    """
    try:
        user_folder.mkdir(parents=True, exist_ok=True)
        sweep(user_folder, _ADDING)
        with tempfile.TemporaryDirectory(prefix=own_unfinished(_ADDING), dir=user_folder) as temporary:
            yield Path(temporary)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(user_folder) from None
        raise ConfigurationError(f"{user_folder} cannot be written: {error.strerror or error}") from None


def copy_skill(skill: InstalledSkill, target: Path) -> None:
    """Copy a skill's manifest and the files that it names, nothing else; InputError for a file that leads elsewhere."""
    target.mkdir()
    for relative in (MANIFEST_NAME, *_own_files(skill.manifest)):
        _copy(skill.folder, target, relative)


def install(staged: Path, user_folder: Path) -> InstalledSkill:
    """Give a prepared folder its place, instead of a skill of the same name."""
    target = user_folder / staged.name
    if target.exists():
        target.replace(staged.with_name(".replaced"))
    staged.replace(target)
    return read_skill(target)


def _own_files(manifest: SkillManifest) -> list[str]:
    sources = [source for file in manifest.files for source in file.sources]
    return [source.path for source in sources if isinstance(source, FolderSource)]


def _check_own_files(manifest: SkillManifest, folder: Path, reading: Reading) -> None:
    """Note where a file of the folder is not what the manifest says of it, and what would be right."""
    for index, file in enumerate(manifest.files):
        for source in file.sources:
            path = folder / source.path if isinstance(source, FolderSource) and source.path else None
            if path is None or not path.resolve().is_relative_to(folder.resolve()):
                continue
            key = f"model.files[{index}]"
            if not path.is_file():
                reading.mistakes.append(f"{key}.sources: there is no file {path}")
                continue
            size_bytes, digest = path.stat().st_size, digest_of(path)
            if size_bytes != file.size_bytes:
                reading.mistakes.append(f"{key}.size_bytes: {path} has {size_bytes}")
            if digest != file.sha256:
                reading.mistakes.append(f"{key}.sha256: that of {path} is {digest.hex()}")


def _copy(folder: Path, staged: Path, relative: str) -> None:
    source = folder / relative
    if not source.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{source} leads out of the skill's folder")
    if not source.is_file():
        raise InputError(f"{source} is named in {MANIFEST_NAME}, but there is no such file")
    target = staged / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
