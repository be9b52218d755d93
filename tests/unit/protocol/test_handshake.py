from __future__ import annotations

import pytest

from swarmharness.errors import ProtocolError
from swarmharness.protocol import codec
from swarmharness.protocol.handshake import Hello, agree


def test_the_highest_common_version_is_agreed_on() -> None:
    assert agree((1, 2, 3), (2, 4, 1)) == 2


def test_without_a_common_version_the_error_says_what_to_upgrade() -> None:
    with pytest.raises(ProtocolError, match=r"versions \[2\], this node \[1\]: upgrade the older"):
        agree((1,), (2,))


@pytest.mark.parametrize(
    "hello",
    [
        Hello((), "name", 1 << 20),
        Hello((0,), "name", 1 << 20),
        Hello(tuple(range(1, 18)), "name", 1 << 20),
        Hello((1,), "n" * 65, 1 << 20),
        Hello((1,), "name", 1),
        Hello((1,), "name", 1 << 31),
    ],
)
def test_a_hello_outside_its_limits_is_refused(hello: Hello) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(Hello, codec.encode(hello))
