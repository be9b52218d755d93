"""A machine that changes its address, with real nodes in network namespaces: adverts, invites and doctor follow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.node.control import open_control
from swarmharness.node.doctor_network import addresses as judged
from swarmharness.node.process import NodeGroup, NodeProcess
from tests.integration.machine.namespaces import two_machines

pytestmark = pytest.mark.processes

EVERY = """\
version = 1

[network]
listen = ["/ip4/0.0.0.0/tcp/4101", "/ip6/::/tcp/4101", "/ip4/0.0.0.0/tcp/4102/ws"]

[execution]
skills = []
"""
FOLLOWS_WITHIN_S = 10


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarmharness", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def on(host: str) -> list[str]:
    version = 6 if ":" in host else 4
    return [f"/ip{version}/{host}/tcp/4101", *([f"/ip4/{host}/tcp/4102/ws"] if version == 4 else [])]


def invite(node: NodeProcess) -> tuple[str, list[str], str]:
    done = command("invite", "--json", "--data-dir", node.data_dir.path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["invite"], answer["addresses"], done.stderr


def doctor(node: NodeProcess) -> dict[str, Any]:
    done = command("doctor", "--json", "--data-dir", node.data_dir.path)
    (row,) = [row for row in json.loads(done.stdout)["checks"] if row["check"] == "addresses"]
    return dict(row)


async def call(node: NodeProcess, method: str) -> Any:
    async with open_control(node.data_dir) as control:
        return await control.call(method, {})


async def until(ask: Callable[[], Any], wanted: object) -> None:
    found = None
    with trio.move_on_after(FOLLOWS_WITHIN_S):
        while True:
            found = await ask()
            if found == wanted:
                return
            await trio.sleep(0.1)
    raise AssertionError(f"{found} instead of {wanted} after {FOLLOWS_WITHIN_S} s")


async def addresses(node: NodeProcess) -> list[str]:
    return list((await call(node, "node.status"))["addresses"])


async def known_to(node: NodeProcess, other: NodeProcess) -> list[str]:
    """Where `node` believes the other one to be, if it is usable."""
    rows = [row for row in await call(node, "peers.list") if row["peer"] == other.peer_id and row["usable"]]
    return list(rows[0]["addresses"]) if rows else []


async def test_a_node_that_starts_without_a_network_follows_it_and_every_change(tmp_path: Path) -> None:
    with two_machines() as (left, right), NodeGroup() as group:
        right.plug("198.51.100.2/24")
        (node,) = await trio.to_thread.run_sync(partial(group.start, left.launch(tmp_path / "node", config=EVERY)))
        loopback = ["/ip4/127.0.0.1/tcp/4101", "/ip6/::1/tcp/4101", "/ip4/127.0.0.1/tcp/4102/ws"]
        assert await addresses(node) == loopback
        _, named, hint = await trio.to_thread.run_sync(invite, node)
        assert named == loopback
        assert hint.startswith("warning: this machine has no network address now")
        assert "--listen" not in hint  # which it was started with
        assert (await trio.to_thread.run_sync(doctor, node))["verdict"] == "warn"

        left.plug("198.51.100.1/24")
        left.plug("2001:db8::1/64")
        both = sorted([*on("198.51.100.1"), *on("2001:db8::1")], key=lambda address: address.endswith("/ws"))
        await until(partial(addresses, node), both)
        answer = await call(node, "node.invite")
        assert (answer["addresses"], answer["reach"]) == (both, "network")
        assert "/ip4/198.51.100.1/tcp/4101" in judged(await call(node, "node.status")).detail
        (friend,) = await trio.to_thread.run_sync(
            partial(group.start, right.launch(tmp_path / "friend", answer["invite"], config=EVERY))
        )
        await until(partial(known_to, friend, node), both)

        left.unplug("2001:db8::1/64")
        left.unplug("198.51.100.1/24")
        left.plug("198.51.100.77/24")
        await until(partial(addresses, node), on("198.51.100.77"))
        await until(partial(known_to, friend, node), on("198.51.100.77"))
        await until(partial(known_to, node, friend), on("198.51.100.2"))
        line, named, hint = await trio.to_thread.run_sync(invite, node)
        assert (named, hint) == (on("198.51.100.77"), "")
        friend.kill()
        (newcomer,) = await trio.to_thread.run_sync(
            partial(group.start, right.launch(tmp_path / "newcomer", line, config=EVERY))
        )
        await until(partial(known_to, newcomer, node), on("198.51.100.77"))
