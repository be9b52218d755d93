"""Which skills a node offers: those installed now, of those asked for; it follows what is added, mended and removed.

Looking reads small files in a thread, and parses manifests when one of them changed; nothing here opens a model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from swarmharness.errors import SwarmError, UnavailableError
from swarmharness.execution.catalog import SHIPPED_FOLDER, Catalog, InstalledSkill, find_skills
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.skill import MANIFEST_NAME
from swarmharness.node.parts import NodeParts

LOOK_S = 2.0
"""How often the skills and their models are looked at; a look takes about a tenth of a millisecond."""
EVERY = "*"

_Stamp = tuple[int, int, int] | None
"""What changes when a file does: its modification in nanoseconds, its size, its inode; None if there is none."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to offer."""

    skills: tuple[InstalledSkill, ...] = ()
    models: Mapping[str, tuple[_Stamp, ...]] = field(default_factory=dict)
    """The stamps of each skill's model files."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why skills that are asked for are not there, by the name of their folder."""


class OfferedSkills:
    """Use `first`, then `look` now and then; both block, and neither may run twice at a time."""

    def __init__(self, folder: Path, models: ModelStore, wanted: Sequence[str], *, fetch_models: bool) -> None:
        """`folder` has the user's skills; `wanted` names skills, or is `*` for all."""
        self._folder = folder
        self._models = models
        self._wanted = tuple(wanted)
        self._fetch_models = fetch_models
        self._manifests: dict[Path, _Stamp] = {}
        self._catalog = Catalog({}, {})

    def first(self) -> Offer:
        """Look for the first time; raises UnavailableError or InputError for a skill that was named and cannot run."""
        offer = self.look()
        for name in self._wanted:
            if name != EVERY:
                skill = self._catalog.get(name)
                if self._models.missing(skill.manifest) and not self._fetch_models:
                    raise UnavailableError(
                        f"the model of {name} is not on this machine: swarmharness skills pull {name}"
                    )
        return offer

    def look(self) -> Offer:
        """Return what there is now; what is wrong with a skill or its folder is logged once."""
        manifests, before = self._stamps(), self._catalog
        if manifests != self._manifests:
            self._manifests, self._catalog = manifests, find_skills(self._folder)
            for folder, problem in self._catalog.problems.items():
                if before.problems.get(folder) != problem:
                    _log.warning("the skill folder %s is left out: %s", folder, problem)
        here, problems = self._catalog.skills, dict(self._catalog.problems)
        named = [name for name in self._wanted if name != EVERY]
        if EVERY not in self._wanted:
            problems = {name: problem for name, problem in problems.items() if name in named}
        problems |= {name: "its folder is gone" for name in named if name not in here and name not in problems}
        names = sorted(here if EVERY in self._wanted else here.keys() & set(named))
        skills = tuple(here[name] for name in names)
        for skill in skills:
            if before.skills.get(skill.manifest.name) != skill:
                for warning in skill.manifest.warnings:
                    _log.warning("%s", warning)
        return Offer(skills, {skill.manifest.name: self._model_stamps(skill) for skill in skills}, problems)

    def _stamps(self) -> dict[Path, _Stamp]:
        parents = (SHIPPED_FOLDER, self._folder)
        folders = (folder for parent in parents if parent.is_dir() for folder in parent.iterdir())
        return {folder: _stamp(folder / MANIFEST_NAME) for folder in folders}

    def _model_stamps(self, skill: InstalledSkill) -> tuple[_Stamp, ...]:
        return tuple(_stamp(self._models.path(file.sha256)) for file in skill.manifest.files)


async def keep_offering(
    skills: OfferedSkills, offer: Offer, parts: NodeParts, executor: ProcessExecutor, *, look_s: float = LOOK_S
) -> None:
    """Load each model that is here, so that the advert can state a measured time, then follow changes until cancelled.

    `offer` is what the executor offers already.
    """
    in_turn = trio.Lock()  # they share the cores
    async with trio.open_nursery() as nursery:
        for skill in offer.skills:
            nursery.start_soon(_load, skill.manifest.name, parts, executor, in_turn)
        while True:
            await trio.sleep(look_s)
            try:
                now = await trio.to_thread.run_sync(skills.look, abandon_on_cancel=True)
            except OSError as error:
                _log.warning("the skills on this machine cannot be read, so those from before stand: %s", error)
                continue
            for name in _take_over(offer, now, executor):
                nursery.start_soon(_load, name, parts, executor, in_turn)
            if now != offer:
                offer = now
                parts.registry.skills_changed()


def _take_over(before: Offer, now: Offer, executor: ProcessExecutor) -> tuple[str, ...]:
    """Tell the executor of what changed; returns whose models are to be loaded."""
    if now == before:
        return ()
    executor.problems = now.problems
    changed = executor.offer(now.skills)
    for name in sorted(before.models.keys() - now.models.keys()):
        _log.info("the skill %s is not offered any more: it was removed", name)
    mended = [name for name in now.models if name not in changed and now.models[name] != before.models.get(name)]
    for name in mended:
        executor.mended(name)
    return (*changed, *mended)


async def _load(name: str, parts: NodeParts, executor: ProcessExecutor, in_turn: trio.Lock) -> None:
    async with in_turn:
        if parts.owner is not None:
            await parts.owner.until_allowed()  # a paused machine does not even warm up
        if any(info.name == name and not info.missing_bytes for info in executor.skills()):
            try:
                await executor.load(name)
            except SwarmError as error:
                _log.warning("the skill %s is not offered: %s", name, error)
            else:
                _log.info("the skill %s is offered", name)
            parts.registry.skills_changed()


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
