from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.network.ports import PeerAddress
from swarmharness.registry.stores import PEERS_MAX, FilePeerStore, FileSequenceStore
from tests.unit.registry.samples import identity


def peer(number: int) -> PeerAddress:
    return PeerAddress(identity(number).peer_id, (f"/ip4/127.0.0.1/tcp/{number}",))


async def test_what_was_saved_is_loaded_in_order(tmp_path: Path) -> None:
    store = FilePeerStore(tmp_path / "peers.jsonl")
    assert (await store.load()).peers == ()
    await store.save([peer(2), peer(1)])
    assert (await store.load()).peers == (peer(2), peer(1))


async def test_no_more_than_the_limit_is_kept(tmp_path: Path) -> None:
    store = FilePeerStore(tmp_path / "peers.jsonl")
    await store.save([peer(1)] * (PEERS_MAX + 5))
    assert len((await store.load()).peers) == PEERS_MAX


@pytest.mark.parametrize(
    "content",
    [b"not json\n", b"\xff\xfe", b"[]\n", b'{"peer_id": "x", "addresses": []}\n', b'{"peer_id": 3}\n', b"[" * 100_000],
)
async def test_a_corrupted_file_is_set_aside_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peers.jsonl"
    path.write_bytes(content)
    loaded = await FilePeerStore(path).load()
    assert loaded.peers == ()
    assert "corrupted" in loaded.problem
    assert "\n" not in loaded.problem
    assert path.with_suffix(".corrupt").read_bytes() == content
    assert (await FilePeerStore(path).load()).problem == ""


async def test_a_file_that_cannot_be_read_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "peers.jsonl").mkdir()
    assert "cannot be read" in (await FilePeerStore(tmp_path / "peers.jsonl").load()).problem


async def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    store = FilePeerStore(tmp_path / "peers.jsonl")
    await store.save([peer(1)])
    (tmp_path / "peers.new").mkdir()
    with pytest.raises(OSError, match=r"peers\.new"):
        await store.save([peer(2)])
    assert (await store.load()).peers == (peer(1),)


@pytest.mark.parametrize("content", ["", "x", "-1", "9" * 30, "²"])
async def test_a_damaged_sequence_file_counts_as_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sequence"
    store = FileSequenceStore(path)
    assert await store.load() == 0
    path.write_text(content)
    assert await store.load() == 0
    await store.save(42)
    assert await store.load() == 42
