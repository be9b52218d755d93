"""Puts skills that are not offered together by their reason, for people; it looks for no reason itself."""

from __future__ import annotations

from collections.abc import Mapping


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of the skills of each reason; of a command that names the skill, NAME stands for it."""
    names: dict[str, list[str]] = {}
    for name, reason in sorted(reasons.items()):
        command = f"swarmharness skills pull {name}"
        names.setdefault(reason.replace(command, "swarmharness skills pull NAME"), []).append(name)
    return names


def not_offered_lines(reasons: Mapping[str, str]) -> list[str]:
    """Return a line for each reason, with the names of the skills that it concerns."""
    return [f"not offered: {', '.join(names)}: {reason}" for reason, names in by_reason(reasons).items()]
