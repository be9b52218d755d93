"""How credit is written for people: amounts, moments, and why a peer is served or refused; it asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_MICRO = 1_000_000


def credits_text(microcredits: int) -> str:
    """Return an amount in credits with all its six decimals."""
    sign = "-" if microcredits < 0 else ""
    whole, rest = divmod(abs(microcredits), _MICRO)
    return f"{sign}{whole:,}.{rest:06d}"


def moment(unix_us: int) -> str:
    """Return a moment in UTC."""
    try:
        return datetime.fromtimestamp(unix_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{unix_us} us"


def standing_lines(standing: Mapping[str, Any]) -> list[str]:
    """Return what melting has left, and what goes next."""
    hours = standing["soon_s"] // 3_600
    lines = [
        f"standing  {credits_text(standing['standing_microcredits'])}: earned "
        f"{credits_text(standing['earned_microcredits'])} less spent "
        f"{credits_text(standing['spent_microcredits'])}, after melting",
        f"melts     {credits_text(standing['melting_microcredits'])} of the earned and "
        f"{credits_text(standing['forgiven_microcredits'])} of the spent within {hours} hours, if nothing is added",
    ]
    if standing["expires_us"] is not None:
        lines.append(
            f"expires   {credits_text(standing['expiring_microcredits'])}, the oldest that is left, at "
            f"{moment(standing['expires_us'])} UTC"
        )
    return lines


def peer_lines(peer: Mapping[str, Any]) -> list[str]:
    """Return what this node would do for a peer, and why the peer may refuse this node."""
    return [*_here(peer), *_there(peer)]


def _here(peer: Mapping[str, Any]) -> list[str]:
    if peer["banned"]:
        return ["it signed two histories, and the proof is here: nobody who has it serves this key any more"]
    lines = []
    if peer["own"]:
        lines.append("it is one of your own peers: it is served first, and nothing is charged")
    else:
        lines += [
            f"here it may have work for {credits_text(peer['available_microcredits'])} now:",
            f"  {credits_text(peer['flow_microcredits'])} by what it did for you, or for those who worked for you",
            f"  {credits_text(peer['line_left_microcredits'])} of the line of credit that you gave it"
            f" ({credits_text(peer['line_microcredits'])})",
            f"  {credits_text(peer['strangers_left_microcredits'])} left this hour for all strangers together",
            "  a dearer request is refused, and told how much is missing",
        ]
    if peer["new_incarnation"]:
        lines.append("  its chain began anew not long ago, so its work does not count in flows until that has expired")
    if peer["withholding"]:
        lines.append("  it has not signed for what it got, so it is served last")
    return lines


def _there(peer: Mapping[str, Any]) -> list[str]:
    flow = peer["flow_there_microcredits"]
    lines = [f"there you have {credits_text(flow)} by your work, as far as this node knows its receipts"]
    if peer["new_incarnation_here"]:
        lines.append(
            "  your own chain began anew not long ago, so others treat you as a stranger until the old receipts expire"
        )
    if not flow:
        lines.append(
            "  beyond a line of credit from its operator, it serves you out of what all strangers share an hour"
        )
    lines.append(
        "  if it refuses you: work for it or for its partners, ask its operator for a line, or wait for the next hour"
    )
    return lines
