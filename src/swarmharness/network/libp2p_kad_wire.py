"""Messages of libp2p's Kademlia protocol, read within limits of size and written; it asks and answers nothing.

https://github.com/libp2p/specs/blob/master/kad-dht/README.md. Signed records are neither sent nor looked at: each would
cost a check under a key of somebody's choice, for addresses that are hints anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.message import DecodeError
from libp2p.io.exceptions import IncompleteReadError, IOException, MessageTooLarge
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils.varint import encode_uvarint, read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from swarmharness.errors import ProtocolError
from swarmharness.network.kad_table import K
from swarmharness.network.told_addresses import ADDRESS_BYTES_MAX, ADDRESSES_MAX, of_use

PUT_VALUE, GET_VALUE, ADD_PROVIDER, GET_PROVIDERS, FIND_NODE, PING = range(6)
REQUEST_BYTES_MAX = 16 * 1024
ANSWER_BYTES_MAX = 256 * 1024
"""K peers and as many providers, each with the addresses and the signed records that others send: about 64 KiB."""
PEER_BYTES = frozenset({34, 38})
"""Of an id: SHA-256, or an Ed25519 key itself."""
_KINDS = range(6)


class EndedError(Exception):
    """The other side has ended the stream, between two messages."""


async def read_message(stream: Any, most_bytes: int) -> Any:
    """Return the next message; raises EndedError, ProtocolError, or what a broken stream raises."""
    try:
        message = Message.FromString(await read_varint_prefixed_bytes_limited(stream, most_bytes))
    except IncompleteReadError as error:
        if error.received_bytes == 0:
            raise EndedError from error
        raise
    except MessageTooLarge as error:
        raise ProtocolError(f"a DHT message of more than {most_bytes} bytes") from error
    except DecodeError as error:
        raise ProtocolError("bytes that are no DHT message") from error
    except IOException:
        raise
    except ValueError as error:
        raise ProtocolError("a length that is none") from error
    if message.type not in _KINDS:
        raise ProtocolError("a DHT message of an unknown kind")
    return message


async def write_message(stream: Any, message: Any) -> None:
    """Write a message."""
    data = message.SerializeToString()
    await stream.write(encode_uvarint(len(data)) + data)


def request(kind: int, key: bytes) -> Any:
    """Return a question, or the answer to one, about a key."""
    message = Message(key=key)
    message.type = kind  # type: ignore[assignment]  # an enumeration, which is a number here
    return message


def add_peer(peers: Any, peer: bytes, addresses: Iterable[bytes]) -> None:
    """Append a peer to a field of a message."""
    entry = peers.add()
    entry.id = peer
    entry.addrs.extend(addresses)


def told_peers(peers: Sequence[Any], teller_host: str) -> list[tuple[bytes, list[Multiaddr]]]:
    """Return the first K peers of a field whose ids can be some, each with its addresses that are of use."""
    found = []
    for peer in peers[:K]:
        if len(peer.id) in PEER_BYTES:
            found.append((peer.id, told_addresses(peer.addrs, teller_host)))
    return found


def told_addresses(addresses: Sequence[bytes], teller_host: str, most: int = ADDRESSES_MAX) -> list[Multiaddr]:
    """Return the first `most` addresses of a peer that are of use."""
    texts = []
    for data in addresses[: 2 * most]:
        if len(data) <= ADDRESS_BYTES_MAX:
            with suppress(ValueError):  # the root of every parsing error of the library
                texts.append(str(Multiaddr(data)))
    return [Multiaddr(text) for text in of_use(texts, teller_host, most)]
