from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from swarmharness.credit.spread.messages import Gossip
from swarmharness.credit.spread.session import SpreadParts
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.spread.shows import Shows
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import encode

PEER = PeerId("requester")
MINUTE_US = 60_000_000


class Neighbours:
    """Answers every question with no receipt, and stores what `new` says."""

    def __init__(self) -> None:
        self.now_us, self.questions = 0, 0
        self.new: list[str] = []

    def monotonic_us(self) -> int:
        return self.now_us

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        self.questions += 1
        return encode(Gossip(()))

    async def take(self, receipts: Any, *, sender: PeerId, asked: bool) -> list[str]:
        return self.new

    def shows(self) -> Shows:
        near = SimpleNamespace(workers={"worker"})
        parts = SimpleNamespace(near=near, clock=self, transport=self, intake=self, settings=SpreadSettings())
        return Shows(cast(SpreadParts, parts))


@pytest.mark.parametrize(
    ("new", "asked_at_minutes"),
    [([], [0, 5, 15, 35, 75, 135, 195]), (["a receipt"], [0, 5, 10, 15, 20, 25, 30])],
)
async def test_who_shows_nothing_new_is_asked_half_as_often_each_time_down_to_once_an_hour(
    new: list[str], asked_at_minutes: list[int]
) -> None:
    neighbours = Neighbours()
    neighbours.new = new
    shows, asked = neighbours.shows(), list[int]()
    for minute in range(200):
        neighbours.now_us = minute * MINUTE_US
        before = neighbours.questions
        await shows.ask(PEER)
        if neighbours.questions > before:
            asked.append(minute)
    assert asked[:7] == asked_at_minutes
