"""The faults of the in-memory network; what it has in common with libp2p is in the contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from swarmharness.errors import DeadlineError, PeerLostError
from swarmharness.identity import PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_transport import MemoryTransport
from swarmharness.network.ports import PeerAddress, PeerEvent, Request
from tests.unit.network.ends import echo, hang, up

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


@pytest.fixture
async def network() -> AsyncIterator[MemoryNetwork]:
    async with MemoryNetwork() as made:
        yield made


async def nodes(network: MemoryNetwork, nursery: trio.Nursery, *names: PeerId) -> list[MemoryTransport]:
    made = [await up(nursery, network.node(name)) for name in names]
    for node in made:
        node.handle("echo", echo)
        node.handle("hang", hang)
        for other in made:
            node.add_addresses(PeerAddress(other.peer_id, other.addresses))
    return made


async def test_a_delay_is_taken_each_way(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, b = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    network.set_delay(A, B, 0.1)
    began_s = trio.current_time()
    await a.call(B, "echo", b"", timeout_s=5)
    assert trio.current_time() - began_s == pytest.approx(0.2)
    assert a.round_trip_us(B) == b.round_trip_us(A) == 200_000


async def test_killing_a_node_fails_calls_to_it_at_once(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    events: list[PeerEvent] = []
    a.watch(events.append)
    async with trio.open_nursery() as calls:

        async def call() -> None:
            with pytest.raises(PeerLostError, match="connection broke"):
                await a.call(B, "hang", b"", timeout_s=60)

        calls.start_soon(call)
        await trio.sleep(1)
        network.kill(B)
    assert trio.current_time() == 1
    assert [event.connected for event in events] == [True, False]
    with pytest.raises(PeerLostError, match="nobody listens"):
        await a.call(B, "echo", b"", timeout_s=5)


async def test_a_killed_node_that_comes_back_is_reconnected(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    network.kill(B)
    await trio.sleep(2)
    assert a.connected() == ()
    network.revive(B)
    await trio.sleep(4)
    assert a.connected() == (B,)


async def test_n3_a_cut_link_is_noticed_by_both_within_10_s(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, b = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    down: list[tuple[str, float]] = []
    for name, node in (("a", a), ("b", b)):
        node.watch(lambda event, name=name: None if event.connected else down.append((name, trio.current_time())))  # type: ignore[misc]
    network.cut(A, B)
    with pytest.raises(PeerLostError, match="stopped answering"):
        await a.call(B, "echo", b"", timeout_s=60)
    assert {name for name, _ in down} == {"a", "b"}
    assert all(time_s < 10 for _, time_s in down)


async def test_a_call_over_a_cut_link_ends_at_its_deadline(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    network.cut(A, B)
    with pytest.raises(DeadlineError):
        await a.call(B, "echo", b"", timeout_s=2)
    assert trio.current_time() == 2


async def test_a_link_that_is_mended_in_time_survives(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    network.cut(A, B)
    await trio.sleep(5)
    network.mend(A, B)
    await trio.sleep(20)
    assert await a.call(B, "echo", b"x", timeout_s=1) == b"x"


async def test_a_partition_cuts_between_groups_and_heals(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _, _ = await nodes(network, nursery, A, B, C)
    network.partition([A, B], [C])
    assert await a.call(B, "echo", b"x", timeout_s=1) == b"x"
    with pytest.raises(DeadlineError):
        await a.call(C, "echo", b"x", timeout_s=1)
    network.heal()
    assert await a.call(C, "echo", b"x", timeout_s=1) == b"x"


async def test_a_lost_peer_is_forgotten_after_some_attempts(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    network.kill(B)
    await trio.sleep(60)
    network.revive(B)
    await trio.sleep(60)
    assert a.connected() == ()


async def test_a_farewell_is_not_followed_by_a_reconnection(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, _ = await nodes(network, nursery, A, B)
    await a.connect(B, timeout_s=5)
    a.disconnect(B, "enough")
    await trio.sleep(60)
    assert a.connected() == ()


async def test_a_deadline_cancels_the_handler(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, b = await nodes(network, nursery, A, B)
    cancelled = trio.Event()

    async def handler(_: Request) -> bytes:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    b.handle("slow", handler)
    with pytest.raises(DeadlineError):
        await a.call(B, "slow", b"", timeout_s=1)
    with trio.fail_after(1):  # whoever called does not wait for its end
        await cancelled.wait()


async def test_a_node_that_moves_comes_back_by_itself_and_is_dialled_by_its_new_address_only(
    network: MemoryNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    a, b, c = await nodes(network, nursery, A, B, C)
    await a.connect(B, timeout_s=5)
    heard: list[tuple[str, ...]] = []
    b.watch_addresses(lambda: heard.append(b.addresses))
    network.move(B)
    assert heard == [b.addresses] == [("/memory/b/1",)]
    await trio.sleep(5)
    assert a.connected() == (B,)  # b dialled
    with pytest.raises(PeerLostError, match="nobody listens there"):
        await c.connect(B, timeout_s=5)
    c.add_addresses(PeerAddress(B, b.addresses))
    await c.connect(B, timeout_s=5)
