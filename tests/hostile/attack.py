"""What an attack is, and how many identities carry it out at a time; it measures nothing and asserts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import trio
from cryptography.exceptions import InvalidTag

from tests.hostile.raw_channel import RawChannel
from tests.hostile.raw_peer import RawPeer, sources

Listener = Literal["tcp", "websocket", "private"]
"""Which of a node's listeners is attacked; `private` is that of a swarm with a pre-shared key."""
PER_NETWORK = 4
"""Identities in each /24: a crowd that limits by network hardly touch."""
_ARRIVAL_S = 30.0
_CUT_OFF = (OSError, EOFError, InvalidTag, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)

Act = Callable[[RawPeer], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to hurt a node. `act` gets a connection and returns when it wants another one, or never."""

    name: str
    about: str
    act: Act
    arrive: Callable[[tuple[str, int], str], Awaitable[RawPeer]]
    listener: Listener
    drained: bool
    """Whether what the node sends is read and forgotten meanwhile; otherwise `act` reads, or nobody does."""
    pause_s: float
    """Between two connections of one identity's address."""
    asked_for: bool
    """Whether the node's user must look for skills meanwhile: what is attacked are the answers that the node gets."""


ATTACKS: dict[str, Attack] = {}
"""All attacks by name; the modules `attacks_*.py` fill it."""


def _add(
    act: Act,
    arrive: Callable[[tuple[str, int], str], Awaitable[RawPeer]],
    name: str,
    about: str,
    *,
    listener: Listener = "tcp",
    drained: bool = True,
    pause_s: float = 0.05,
    asked_for: bool = False,
) -> None:
    assert name not in ATTACKS, f"two attacks are called {name}"
    ATTACKS[name] = Attack(name, about, act, arrive, listener, drained, pause_s, asked_for)


def on_socket(
    name: str, about: str, *, listener: Listener = "tcp", drained: bool = True, pause_s: float = 0.05
) -> Callable[[Act], Act]:
    """Register an attack that begins on a bare socket."""

    def register(act: Act) -> Act:
        _add(act, _connected, name, about, listener=listener, drained=drained, pause_s=pause_s)
        return act

    return register


def on_connection(
    name: str, about: str, *, drained: bool = True, pause_s: float = 0.05, asked_for: bool = False
) -> Callable[[Act], Act]:
    """Register an attack that begins when identity and Yamux are agreed."""

    def register(act: Act) -> Act:
        _add(act, _met, name, about, drained=drained, pause_s=pause_s, asked_for=asked_for)
        return act

    return register


def on_channel(
    name: str, about: str, *, pause_s: float = 0.05
) -> Callable[[Callable[[RawChannel], Awaitable[None]]], Act]:
    """Register an attack that begins after HELLO; heartbeats are answered meanwhile, so that it can go on."""

    def register(act: Callable[[RawChannel], Awaitable[None]]) -> Act:
        async def attended(peer: RawPeer) -> None:
            channel = await RawChannel.open(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.attend)
                await act(channel)
                nursery.cancel_scope.cancel()

        _add(attended, _met, name, about, drained=False, pause_s=pause_s)
        return attended

    return register


async def strike(
    attack: Attack, address: tuple[str, int], *, identities: int, seconds: float, per_network: int = PER_NETWORK
) -> Counter[str]:
    """Have so many identities attack for so long, each coming again when it is cut off; returns what they met with."""
    outcome: Counter[str] = Counter()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for source in sources(identities, per_prefix=per_network):
                nursery.start_soon(_again_and_again, attack, address, source, outcome)
    return outcome


async def _again_and_again(attack: Attack, address: tuple[str, int], source: str, outcome: Counter[str]) -> None:
    while True:
        try:
            with trio.fail_after(_ARRIVAL_S):
                peer = await attack.arrive(address, source)
        except _CUT_OFF:
            outcome["not let in"] += 1
        else:
            outcome["connections"] += 1
            try:
                async with peer:
                    await _carry_out(attack, peer)
                outcome["finished"] += 1
            except* _CUT_OFF:
                outcome["cut off"] += 1
        await trio.sleep(attack.pause_s)


async def _carry_out(attack: Attack, peer: RawPeer) -> None:
    async with trio.open_nursery() as nursery:
        if attack.drained:
            nursery.start_soon(_drain, peer)
        await attack.act(peer)
        nursery.cancel_scope.cancel()


async def _drain(peer: RawPeer) -> None:
    await (peer.sink() if peer.secured else peer.drain())  # frames tell of windows
    raise ConnectionError("the node hung up")


async def _connected(address: tuple[str, int], source: str) -> RawPeer:
    return await RawPeer.connect(address, source=source)


async def _met(address: tuple[str, int], source: str) -> RawPeer:
    return await RawPeer.meet(address, source=source)
