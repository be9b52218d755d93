from __future__ import annotations

import base58
import pytest

from swarmharness.errors import ProtocolError
from swarmharness.identity import Identity, peer_id_from

ALICE = Identity(bytes(31) + b"\x01")


def test_the_bytes_of_a_peer_id_are_those_of_its_text() -> None:
    assert peer_id_from(base58.b58decode(ALICE.peer_id)) == ALICE.peer_id


@pytest.mark.parametrize(
    "data", [b"", bytes(38), base58.b58decode(ALICE.peer_id)[:-1], b"\x01" * 2**20], ids=["no", "zero", "cut", "huge"]
)
def test_other_bytes_are_refused_without_working_out_their_text(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"{len(data)} bytes are not the peer id"):
        peer_id_from(data)
