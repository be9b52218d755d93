from __future__ import annotations

from pathlib import Path

from swarmharness.node.data_dir import DataDir
from swarmharness.node.doctor import examine
from swarmharness.node.set_aside import find_set_aside


def test_every_damaged_file_is_found_once_and_says_what_it_held(tmp_path: Path) -> None:
    for name in (
        "swarm.sqlite",
        "swarm.sqlite.damaged-1700000000000000",
        "swarm.sqlite.damaged-1700000000000000-wal",
        "swarm.sqlite.damaged-1700000000000000-shm",
        "jobs.sqlite.damaged-1700000000000001",
        "reputations.sqlite.damaged",
        "peers.corrupt",
        "holiday.damaged-1",
        "node.toml",
    ):
        (tmp_path / name).touch()
    (tmp_path / "peers.damaged-1").symlink_to("nothing")  # hides no other
    found = find_set_aside(tmp_path)
    assert sorted(one.holds for one in found) == [
        "receipts",
        "remembered peers",
        "the journal of jobs",
        "what checks told of peers",
    ]
    assert all(one.advice.endswith("then remove that file, and this is said no more") for one in found)
    assert find_set_aside(tmp_path / "none") == []


def test_doctor_goes_on_saying_so_with_one_advice_until_the_file_is_gone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    aside = tmp_path / "swarm.sqlite.damaged-1700000000000000"
    aside.write_bytes(b"x")
    (found,) = [one for one in examine(DataDir(tmp_path), None) if one.check == "damaged file"]
    assert found.verdict == "warn"
    assert str(aside) in found.detail
    assert "credit import" in found.remedy
    assert "start" not in found.remedy
    aside.unlink()
    assert not [one for one in examine(DataDir(tmp_path), None) if one.check == "damaged file"]
