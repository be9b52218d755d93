"""What every `Transport` and `Dht` does, shown on the libp2p and the in-memory implementations alike."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from swarmharness.errors import (
    ConfigurationError,
    DamagedFileError,
    DeadlineError,
    ErrorKind,
    InputError,
    ModelFailureError,
    PartialResultError,
    PeerLostError,
    RefusedError,
    SwarmError,
    UnavailableError,
)
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress, PeerEvent, Request
from swarmharness.network.settings import AccessRules, BulkSettings, NetworkSettings
from tests.integration.network.worlds import WORLDS, Node, World, address_of, identity


@pytest.fixture(params=list(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with WORLDS[request.param]() as made:
        yield made


async def echo(request: Request) -> bytes:
    return request.payload


async def wait_until(condition: Callable[[], object], limit_s: float = 5) -> None:
    with trio.fail_after(limit_s):
        while not condition():
            await trio.sleep(0.01)


async def two(world: World, **settings: Any) -> tuple[Node, Node]:
    left = await world.node("left")
    right = await world.node("right", NetworkSettings(**settings))
    left.add_addresses(address_of(right))
    return left, right


async def test_a_call_reaches_the_handler_and_brings_its_answer_back(world: World) -> None:
    left, right = await two(world)
    seen: list[Request] = []

    async def handler(request: Request) -> bytes:
        seen.append(request)
        return b"answer to " + request.payload

    right.handle("ask", handler)
    assert await left.call(right.peer_id, "ask", b"question", timeout_s=5) == b"answer to question"
    assert (seen[0].peer_id, seen[0].method, seen[0].payload) == (left.peer_id, "ask", b"question")
    assert 0 < seen[0].timeout_s <= 5


async def test_calls_go_both_ways_over_one_dial(world: World) -> None:
    left, right = await two(world)
    left.handle("echo", echo)
    right.handle("echo", echo)
    await left.connect(right.peer_id, timeout_s=5)
    assert await right.call(left.peer_id, "echo", b"back", timeout_s=5) == b"back"
    assert left.connected() == (right.peer_id,)
    assert right.connected() == (left.peer_id,)


async def test_many_callers_each_get_their_own_answer(world: World) -> None:
    left, right = await two(world)

    async def handler(request: Request) -> bytes:
        await trio.sleep(int(request.payload) % 3 * 0.001)
        return request.payload

    right.handle("echo", handler)
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await left.call(right.peer_id, "echo", b"%d" % number, timeout_s=5)

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(ask, number)
    assert answers == {number: b"%d" % number for number in range(200)}


@pytest.mark.parametrize("kind", [InputError, UnavailableError, RefusedError, DeadlineError, PartialResultError])
async def test_an_error_of_the_handler_arrives_with_its_kind_and_message(world: World, kind: type[SwarmError]) -> None:
    left, right = await two(world)

    async def handler(request: Request) -> bytes:
        raise kind("what happened, and what to do").for_peers()

    right.handle("fail", handler)
    with pytest.raises(kind, match=r"^what happened, and what to do$"):
        await left.call(right.peer_id, "fail", b"", timeout_s=5)


@pytest.mark.parametrize(
    "kind", [InputError, UnavailableError, ConfigurationError, DamagedFileError, ModelFailureError]
)
async def test_what_was_not_written_for_peers_stays_here(world: World, kind: type[SwarmError]) -> None:
    left, right = await two(world)

    async def fails(_: Request) -> bytes:
        raise kind("the database /home/some/.local/share/swarmharness/swarm.sqlite is damaged (disk I/O error)")

    right.handle("fails", fails)
    with pytest.raises(SwarmError) as caught:
        await left.call(right.peer_id, "fails", b"", timeout_s=5)
    assert caught.value.kind == kind.kind
    assert "its log says why" in str(caught.value)
    assert "/home/" not in str(caught.value)
    assert "I/O" not in str(caught.value)


async def test_an_unexpected_exception_says_nothing_about_the_peer_and_harms_no_other_call(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    left, right = await two(world)

    async def handler(request: Request) -> bytes:
        raise ValueError("/home/somebody/secret")

    right.handle("fail", handler)
    right.handle("echo", echo)
    with pytest.raises(SwarmError, match="failed internally") as caught:
        await left.call(right.peer_id, "fail", b"", timeout_s=5)
    assert caught.value.kind == ErrorKind.INTERNAL
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text
    assert await left.call(right.peer_id, "echo", b"still here", timeout_s=5) == b"still here"


async def test_a_method_that_nobody_serves_is_refused_and_counted(world: World) -> None:
    left, right = await two(world)
    with pytest.raises(RefusedError, match="does not serve 'nothing'"):
        await left.call(right.peer_id, "nothing", b"", timeout_s=5)
    assert right.refusals() == {"unknown method": 1}


async def test_a_call_ends_at_its_deadline_on_both_sides(world: World) -> None:
    left, right = await two(world)
    cancelled = trio.Event()

    async def handler(request: Request) -> bytes:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    right.handle("hang", handler)
    await left.connect(right.peer_id, timeout_s=5)
    with pytest.raises(DeadlineError):
        await left.call(right.peer_id, "hang", b"", timeout_s=0.05)
    with trio.fail_after(5):
        await cancelled.wait()


async def test_cancelling_a_call_cancels_its_handler(world: World) -> None:
    left, right = await two(world)
    running, cancelled = trio.Event(), trio.Event()

    async def handler(request: Request) -> bytes:
        running.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    right.handle("hang", handler)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            await left.call(right.peer_id, "hang", b"", timeout_s=60)

        nursery.start_soon(call)
        with trio.fail_after(5):
            await running.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        await cancelled.wait()


async def test_a_call_to_the_own_id_runs_the_own_handler(world: World) -> None:
    node = await world.node("left")

    async def fail(request: Request) -> bytes:
        raise InputError("no")

    async def hang(request: Request) -> bytes:
        await trio.sleep(math.inf)
        raise AssertionError

    for method, handler in (("echo", echo), ("fail", fail), ("hang", hang)):
        node.handle(method, handler)
    assert await node.call(node.peer_id, "echo", b"me", timeout_s=5) == b"me"
    with pytest.raises(InputError, match=r"^no$"):
        await node.call(node.peer_id, "fail", b"", timeout_s=5)
    with pytest.raises(DeadlineError):
        await node.call(node.peer_id, "hang", b"", timeout_s=0.01)
    with pytest.raises(RefusedError):
        await node.call(node.peer_id, "other", b"", timeout_s=5)
    await node.connect(node.peer_id, timeout_s=5)
    assert node.connected() == ()


async def test_a_large_payload_arrives_whole_both_ways(world: World) -> None:
    left, right = await two(world)
    right.handle("echo", echo)
    payload = bytes(range(256)) * 12_000  # 3 MB: a bulk stream each way
    assert await left.call(right.peer_id, "echo", payload, timeout_s=20) == payload
    small = payload[: 256 * 1024]  # the largest that is not
    assert await left.call(right.peer_id, "echo", small, timeout_s=20) == small


async def test_large_payloads_do_not_hold_up_small_calls(world: World) -> None:
    left, right = await two(world)
    right.handle("echo", echo)
    await left.connect(right.peer_id, timeout_s=5)
    order: list[str] = []

    async def large() -> None:
        await left.call(right.peer_id, "echo", b"x" * 4_000_000, timeout_s=20)
        order.append("large")

    async def small() -> None:
        await left.call(right.peer_id, "echo", b"x", timeout_s=20)
        order.append("small")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(large)
        nursery.start_soon(small)
    assert sorted(order) == ["large", "small"]


async def test_a_payload_above_the_senders_maximum_is_refused_before_it_is_sent(world: World) -> None:
    left = await world.node("left", NetworkSettings(bulk=BulkSettings(payload_bytes_max=300_000)))
    right = await world.node("right")
    left.add_addresses(address_of(right))
    right.handle("echo", echo)
    with pytest.raises(InputError, match="300001 bytes exceeds the maximum"):
        await left.call(right.peer_id, "echo", bytes(300_001), timeout_s=5)


async def test_a_payload_above_the_receivers_maximum_is_refused_by_it_and_counted(world: World) -> None:
    left, right = await two(world, bulk=BulkSettings(payload_bytes_max=300_000))
    right.handle("echo", echo)
    with pytest.raises(InputError, match="300001 bytes exceeds the maximum"):
        await left.call(right.peer_id, "echo", bytes(300_001), timeout_s=5)
    assert right.refusals()["oversized"] == 1
    assert await left.call(right.peer_id, "echo", b"small", timeout_s=5) == b"small"


async def test_a_peer_without_a_known_address_is_lost_at_once(world: World) -> None:
    node = await world.node("left")
    with pytest.raises(PeerLostError, match="no address"):
        await node.call(identity("stranger").peer_id, "echo", b"", timeout_s=5)


async def test_a_peer_where_nobody_listens_is_lost(world: World) -> None:
    left = await world.node("left")
    gone = PeerAddress(identity("gone").peer_id, ("/ip4/127.0.0.1/tcp/9",))
    left.add_addresses(gone)
    with pytest.raises(PeerLostError, match="cannot reach"):
        await left.connect(gone.peer_id, timeout_s=20)


async def test_listeners_hear_of_each_peer_that_comes_and_goes(world: World) -> None:
    left, right = await two(world)
    events: list[PeerEvent] = []
    left.watch(events.append)
    await left.connect(right.peer_id, timeout_s=5)
    await wait_until(right.connected)
    right.disconnect(left.peer_id, "enough")
    await wait_until(lambda: len(events) == 2)
    assert [(event.peer_id, event.connected) for event in events] == [(right.peer_id, True), (right.peer_id, False)]
    assert events[1].reason == "enough"
    assert left.connected() == ()


async def test_the_round_trip_time_is_known_soon_after_connecting(world: World) -> None:
    left, right = await two(world)
    assert left.round_trip_us(right.peer_id) is None
    await left.connect(right.peer_id, timeout_s=5)
    await wait_until(lambda: left.round_trip_us(right.peer_id) is not None)
    assert left.round_trip_us(right.peer_id) > 0


async def test_a_goodbye_fails_the_calls_under_way(world: World) -> None:
    left, right = await two(world)
    running = trio.Event()

    async def hang(request: Request) -> bytes:
        running.set()
        await trio.sleep_forever()
        raise AssertionError

    right.handle("hang", hang)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(PeerLostError):
                await left.call(right.peer_id, "hang", b"", timeout_s=60)

        nursery.start_soon(call)
        with trio.fail_after(5):
            await running.wait()
        right.disconnect(left.peer_id, "leaving")


async def test_both_sides_dialling_at_once_end_with_one_channel(world: World) -> None:
    left, right = await two(world)
    right.add_addresses(address_of(left))
    left.handle("echo", echo)
    right.handle("echo", echo)
    async with trio.open_nursery() as nursery:
        for caller, callee in ((left, right), (right, left)) * 5:

            async def call(caller: Node = caller, callee: Node = callee) -> None:
                assert await caller.call(callee.peer_id, "echo", b"x", timeout_s=10) == b"x"

            nursery.start_soon(call)
    assert left.connected() == (right.peer_id,)
    assert right.connected() == (left.peer_id,)
    assert await left.call(right.peer_id, "echo", b"after", timeout_s=5) == b"after"
    assert await right.call(left.peer_id, "echo", b"after", timeout_s=5) == b"after"


# -- access: invariant N-1 ----------------------------------------------------------------------------------------


async def served_nobody(world: World, left_access: AccessRules, right_access: AccessRules) -> tuple[Node, Node]:
    left = await world.node("left", NetworkSettings(access=left_access))
    right = await world.node("right", NetworkSettings(access=right_access))
    left.add_addresses(address_of(right))

    async def never(request: Request) -> bytes:
        raise AssertionError("a message was handled")

    right.handle("never", never)
    return left, right


async def test_n1_a_denied_peer_is_refused_before_its_first_message(world: World) -> None:
    denied = AccessRules(deny=frozenset({identity("left").peer_id}))
    left, right = await served_nobody(world, AccessRules(), denied)
    with pytest.raises(PeerLostError):
        await left.call(right.peer_id, "never", b"", timeout_s=10)
    assert right.connected() == ()
    assert right.refusals()["access"] >= 1


async def test_n1_a_peer_that_is_not_on_the_allow_list_is_refused(world: World) -> None:
    only = AccessRules(allow=frozenset({identity("friend").peer_id}))
    left, right = await served_nobody(world, AccessRules(), only)
    with pytest.raises(PeerLostError):
        await left.call(right.peer_id, "never", b"", timeout_s=10)
    friend = await world.node("friend")
    friend.add_addresses(address_of(right))
    await friend.connect(right.peer_id, timeout_s=5)


async def test_n1_this_node_does_not_dial_whom_it_denies(world: World) -> None:
    denied = AccessRules(deny=frozenset({identity("right").peer_id}))
    left, right = await served_nobody(world, denied, AccessRules())
    with pytest.raises(RefusedError, match="exclude"):
        await left.call(right.peer_id, "never", b"", timeout_s=10)


async def test_n1_new_rules_cut_off_a_connected_peer_at_once(world: World) -> None:
    left, right = await two(world)
    right.handle("echo", echo)
    await left.connect(right.peer_id, timeout_s=5)
    await wait_until(right.connected)
    right.set_access(AccessRules(deny=frozenset({left.peer_id})))
    await wait_until(lambda: not left.connected() and not right.connected())
    with pytest.raises(PeerLostError):
        await left.call(right.peer_id, "echo", b"", timeout_s=10)
    right.set_access(AccessRules())
    assert await left.call(right.peer_id, "echo", b"again", timeout_s=10) == b"again"


async def test_n1_another_pre_shared_key_connects_nobody(world: World) -> None:
    left = await world.node("left", NetworkSettings(psk_hex="11" * 32, dial_timeout_s=0.5))
    right = await world.node("right", NetworkSettings(psk_hex="22" * 32, dial_timeout_s=0.5))
    left.add_addresses(address_of(right))
    with pytest.raises(PeerLostError, match="pre-shared key"):
        await left.connect(right.peer_id, timeout_s=10)
    assert right.connected() == ()


async def test_the_same_pre_shared_key_connects(world: World) -> None:
    left = await world.node("left", NetworkSettings(psk_hex="11" * 32))
    right = await world.node("right", NetworkSettings(psk_hex="11" * 32))
    left.add_addresses(address_of(right))
    right.handle("echo", echo)
    assert await left.call(right.peer_id, "echo", b"x" * 300_000, timeout_s=10) == b"x" * 300_000


# -- the DHT --------------------------------------------------------------------------------------------------------


async def swarm(world: World, count: int) -> list[tuple[Node, Any]]:
    nodes = []
    for number in range(count):
        node = await world.node(f"node-{number}")
        nodes.append((node, await world.dht(node)))
    first = nodes[0][0]
    for _, dht in nodes[1:]:
        await dht.add_peer(address_of(first))
    for node, _ in nodes[1:]:
        await nodes[0][1].add_peer(address_of(node))
    return nodes


async def find(dht: Any, key: bytes, expected: set[PeerId], limit: int = 20) -> dict[PeerId, PeerAddress]:
    """Look until the records have spread."""
    with trio.fail_after(10):
        while True:
            found = {peer.peer_id: peer for peer in await dht.find_providers(key, limit=limit)}
            if set(found) == expected:
                return found
            await trio.sleep(0.05)


async def test_providers_are_found_with_their_loopback_addresses(world: World) -> None:
    nodes = await swarm(world, 5)
    key = bytes(32)
    for _, dht in nodes[1:3]:
        await dht.provide(key)
    providers = {node.peer_id: node for node, _ in nodes[1:3]}
    found = await find(nodes[4][1], key, set(providers))
    for peer_id, node in providers.items():
        assert found[peer_id].addresses == node.addresses


async def test_a_provider_finds_the_others_too(world: World) -> None:
    nodes = await swarm(world, 3)
    key = b"\x01" * 32
    for _, dht in nodes:
        await dht.provide(key)
    await find(nodes[1][1], key, {node.peer_id for node, _ in nodes})


async def test_no_more_providers_than_asked_for_are_returned(world: World) -> None:
    nodes = await swarm(world, 4)
    key = b"\x02" * 32
    for _, dht in nodes:
        await dht.provide(key)
    assert len(await nodes[0][1].find_providers(key, limit=2)) == 2


async def test_an_unknown_key_has_no_providers_even_alone(world: World) -> None:
    node = await world.node("alone")
    dht = await world.dht(node)
    assert list(await dht.find_providers(b"\x03" * 32, limit=5)) == []
    await dht.provide(b"\x03" * 32)
    assert [peer.peer_id for peer in await dht.find_providers(b"\x03" * 32, limit=5)] == [node.peer_id]


async def test_a_found_provider_can_be_called(world: World) -> None:
    nodes = await swarm(world, 3)
    provider, provider_dht = nodes[1]
    provider.handle("echo", echo)
    await provider_dht.provide(b"\x04" * 32)
    seeker, seeker_dht = nodes[2]
    found = await find(seeker_dht, b"\x04" * 32, {provider.peer_id})
    seeker.add_addresses(found[provider.peer_id])
    assert await seeker.call(provider.peer_id, "echo", b"found", timeout_s=5) == b"found"


async def test_a_node_that_does_not_listen_publishes_and_finds(world: World) -> None:
    nodes = await swarm(world, 3)
    client = await world.node("client", NetworkSettings(listen=()))
    assert client.addresses == ()
    dht = await world.dht(client)
    await dht.add_peer(address_of(nodes[0][0]))
    await nodes[1][1].provide(b"\x05" * 32)
    await find(dht, b"\x05" * 32, {nodes[1][0].peer_id})
