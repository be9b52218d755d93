"""Why skills on this machine are not offered: what the running node says, else what can be seen of their models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from swarmharness.errors import SwarmError

if TYPE_CHECKING:
    from swarmharness.execution.catalog import Catalog
    from swarmharness.execution.model_store import ModelStore

LEFT_OUT = "the running node was told to leave it out ([execution] skills, or --skill)"


def reasons_of(catalog: Catalog, store: ModelStore, data_dir: Path | None) -> tuple[dict[str, str], bool]:
    """Return the reason of each skill that is not, or could not be, offered; and whether a node runs."""
    from swarmharness.cli.connection import call_node

    try:
        status = call_node(data_dir, "node.status", {})
    except SwarmError:  # none runs, or it does not answer: then the files have to tell
        return {name: reason for name in catalog.skills if (reason := _seen(catalog, store, name))}, False
    offered = {skill["name"] for skill in status["skills"]}
    told: Mapping[str, str] = status["not_offered"]
    # A skill that was added a moment ago is looked at here; the running node may not know it yet.
    return {
        name: told.get(name) or _seen(catalog, store, name) or LEFT_OUT
        for name in catalog.skills
        if name not in offered
    }, True


def _seen(catalog: Catalog, store: ModelStore, name: str) -> str:
    """Return what is wrong with the files of a skill, as far as they show it without being run."""
    from swarmharness.execution.model_check import check_models

    manifest = catalog.skills[name].manifest
    if lacking := store.lacking(manifest):
        return lacking
    try:
        check_models(manifest, store)
    except SwarmError as error:
        return str(error)
    return ""
