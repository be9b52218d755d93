"""Which of two channels to a peer stays."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from swarmharness.identity import PeerId
from swarmharness.network.peers import BOTH_DIALLED_S, Peers

LOW, HIGH = PeerId("a"), PeerId("z")


class FakeChannel:
    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id


def channel(peer_id: PeerId) -> Any:
    return FakeChannel(peer_id)


@pytest.mark.parametrize(("own", "other"), [(LOW, HIGH), (HIGH, LOW)])
async def test_when_both_dial_at_once_the_stream_that_the_smaller_id_opened_stays(own: PeerId, other: PeerId) -> None:
    peers, opened, accepted = Peers(own), channel(other), channel(other)
    assert peers.add(opened, opened_here=True) is None
    gone = peers.add(accepted, opened_here=False)
    assert gone is (accepted if own == LOW else opened)
    assert peers.channel(other) is (opened if own == LOW else accepted)


@pytest.mark.parametrize(("own", "other"), [(LOW, HIGH), (HIGH, LOW)])
@pytest.mark.parametrize("opened_here", [True, False])
async def test_a_peer_that_opens_again_later_has_lost_the_older_stream(
    own: PeerId, other: PeerId, opened_here: bool, autojump_clock: MockClock
) -> None:
    peers, old, new = Peers(own), channel(other), channel(other)
    peers.add(old, opened_here=opened_here)
    await trio.sleep(BOTH_DIALLED_S)
    assert peers.add(new, opened_here=False) is old
    assert peers.channel(other) is new
