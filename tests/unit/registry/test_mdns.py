from __future__ import annotations

import pytest
import zeroconf

from swarmharness.errors import UnavailableError
from swarmharness.network.ports import PeerAddress
from swarmharness.registry.mdns import ADDRESSES_MAX, discover_on_lan, peer_in_txt, txt_properties
from tests.unit.registry.samples import identity

ALICE, BOB = identity(1), identity(2)


def record(peer: str, *addresses: str) -> dict[bytes, bytes | None]:
    return {name.encode(): value.encode() for name, value in txt_properties(peer, addresses).items()}  # type: ignore[arg-type]


def test_a_record_reads_back() -> None:
    addresses = ("/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/tcp/4002/ws")
    assert peer_in_txt(record(ALICE.peer_id, *addresses)) == PeerAddress(ALICE.peer_id, addresses)


def test_a_record_holds_no_more_addresses_than_allowed() -> None:
    addresses = [f"/ip4/192.0.2.7/tcp/{port}" for port in range(1, 40)]
    found = peer_in_txt(record(ALICE.peer_id, *addresses))
    assert found is not None
    assert len(found.addresses) == ADDRESSES_MAX


def test_a_record_of_two_peers_is_nobodys() -> None:
    mixed = {
        **record(ALICE.peer_id, "/ip4/192.0.2.7/tcp/1"),
        b"dnsaddr9": f"/ip4/192.0.2.7/tcp/2/p2p/{BOB.peer_id}".encode(),
    }
    assert peer_in_txt(mixed) is None


def test_other_services_are_ignored() -> None:
    assert peer_in_txt({b"path": b"/", b"dnsaddr": b"\xff", b"dnsaddr2": None}) is None


async def test_an_error_of_zeroconf_itself_costs_the_looking_alone_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []

    class NameTaken:
        def register_service(self, info: object) -> None:
            raise zeroconf.NonUniqueNameException

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(zeroconf, "Zeroconf", NameTaken)
    with pytest.raises(UnavailableError, match="mDNS cannot start: NonUniqueNameException"):
        async with discover_on_lan(ALICE.peer_id, ["/ip4/192.0.2.1/tcp/4101"]):
            raise AssertionError("it did not start")
    assert closed == [True]
