from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli import connection
from swarmharness.cli.peers_command import PEERS_SHOWN, SKILLS_SHOWN, peers
from swarmharness.routing.rows import unknown_peer_row


def row(peer: str, skills: int, answers: int = 0) -> dict[str, Any]:
    offered = {
        "model_digest": "",
        "measured_us": None,
        "advertised_us": 1,
        "answers": answers,
        "failures": 0,
        "trust": 0.5,
        "breaker": "closed",
    }
    many = [{**offered, "skill": f"\x1b[2Jskill-{number}"} for number in range(skills)]
    return {**unknown_peer_row(peer, ""), "usable": True, "skills": many}


def test_a_crowd_is_shown_short_and_whoever_answered_before_stands_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [row(f"stranger-{number}", 2) for number in range(500)]
    answer = [*crowd, row("old friend", 64, answers=3), {**row("me", 1), "local": True}]
    monkeypatch.setattr(connection, "call_node", lambda *arguments: answer)
    peers(Path())
    lines = capsys.readouterr().out.splitlines()
    names = [line.split("  ")[0] for line in lines if line[:1].isalnum()]
    assert names[:3] == ["me", "old friend", "stranger-0"]
    assert f"  and {64 - SKILLS_SHOWN} more skills: --json has them" in lines
    assert lines[-1] == f"and {502 - PEERS_SHOWN} more peers: --json has them"
    assert all(line.isprintable() for line in lines)
