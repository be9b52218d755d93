"""Says which models go by one skill's name, and which of them a job took; it asks no node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

DIGITS_SHOWN = 12
DIGITS = 64

Model = Mapping[str, Any]
"""One of `models` in the answers of `job.open` and `router.explain`."""


def names_with_several(peers: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the skills that peers, as `peers.list` gives them, offer with different models."""
    digests: dict[str, set[str]] = {}
    for peer in peers:
        for skill in peer["skills"]:
            digests.setdefault(skill["skill"], set()).add(skill["model_digest"])
    return frozenset(name for name, found in digests.items() if len(found) > 1)


def short(model_digest: str, others: Iterable[str] = ()) -> str:
    """Return the first digits of a digest, or all of them if another one begins so."""
    start = model_digest[:DIGITS_SHOWN]
    same = any(other != model_digest and other.startswith(start) for other in others)
    return model_digest[: DIGITS if same else DIGITS_SHOWN]


def taken_text(skill: str, taken: str, models: Sequence[Model]) -> str:
    """Say which model a job took, and how to take another one; empty if there was no choice."""
    usable = [model for model in models if model["usable"] or model["model_digest"] == taken]
    others = [model for model in usable if model["model_digest"] != taken]
    if not others or not taken:
        return ""
    digests = [model["model_digest"] for model in usable]
    nodes = {model["model_digest"]: _nodes(model["usable"]) for model in usable}
    rest = ", ".join(f"{short(model['model_digest'], digests)} ({_nodes(model['usable'])})" for model in others)
    return (
        f"{skill} is served with {len(usable)} models; this job takes {short(taken, digests)}"
        f" ({nodes.get(taken, _nodes(0))}), not {rest}: `swarmharness submit {skill}@DIGEST` takes another one"
    )


def models_lines(skill: str, models: Sequence[Model]) -> list[str]:
    """Return a line for each model that goes by the name, if there are several."""
    if len(models) < 2:
        return []
    digests = [model["model_digest"] for model in models]
    lines = [f"{len(models)} models go by this name, and a job takes one of them:"]
    for model in models:
        own = ", this node's own" if model["local"] else ""
        away = "" if model["usable"] == model["nodes"] else f", of which {model['usable']} can be asked now"
        lines.append(f"    {skill}@{short(model['model_digest'], digests)}  {_nodes(model['nodes'])}{away}{own}")
    return lines


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"
