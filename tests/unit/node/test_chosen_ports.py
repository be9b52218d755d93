from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.network.addresses import check_listen
from swarmharness.node.chosen_ports import concrete_listen, remembered_listen
from swarmharness.node.data_dir import DataDir
from swarmharness.node.doctor import examine

TCP, WEBSOCKET = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    made = DataDir.at(tmp_path / "node")
    made.create()
    return made


def port(address: str) -> int:
    return int(address.split("/")[4])


def test_port_zero_becomes_a_port_that_is_remembered(directory: DataDir) -> None:
    listen = (TCP, WEBSOCKET, "/ip4/127.0.0.1/tcp/4001")
    assert remembered_listen(directory, listen) == (None, None, "/ip4/127.0.0.1/tcp/4001")
    first = concrete_listen(directory, listen)
    assert first[2] == "/ip4/127.0.0.1/tcp/4001"
    assert first[1].endswith("/ws")
    assert 0 != port(first[0]) != port(first[1]) != 0
    assert concrete_listen(directory, listen) == remembered_listen(directory, listen) == first


def test_a_spoilt_port_file_costs_a_new_port_only(directory: DataDir) -> None:
    concrete_listen(directory, (TCP,))
    (directory.path / "ports.json").write_text('["nonsense"]')
    (address,) = concrete_listen(directory, (TCP,))
    assert port(address)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_chosen_port_that_is_taken_is_chosen_anew_and_that_is_said(
    directory: DataDir, caplog: pytest.LogCaptureFixture, reuse_port: bool
) -> None:
    first = concrete_listen(directory, (TCP, WEBSOCKET))
    with socket.socket() as taken:
        if reuse_port:  # as libp2p listens
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", port(first[0])))
        taken.listen()
        (verdict,) = [one for one in examine(directory, None) if one.check == "port" and one.verdict != "ok"]
        assert verdict.verdict == "warn"
        assert verdict.remedy == "none needed: the next start chooses another, and says so"
        with caplog.at_level(logging.WARNING, "swarmharness"):
            second = concrete_listen(directory, (TCP, WEBSOCKET))
        check_listen(second)
    assert second[0] != first[0]
    assert second[1] == first[1]
    assert [record.getMessage() for record in caplog.records] == [
        f"port {port(first[0])}, which this node chose earlier, is taken: it listens on {second[0]} from now on; "
        "invites that it gave before name the old port, so give new ones"
    ]
    assert concrete_listen(directory, (TCP, WEBSOCKET)) == second  # and that one is remembered


def test_an_address_of_another_machine_is_a_configuration_error(directory: DataDir) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        concrete_listen(directory, ("/ip4/192.0.2.200/tcp/0",))
    assert not (directory.path / "ports.json").exists()


@pytest.mark.parametrize("text", ['{"a": 1e999}', "[" * 100_000])
def test_a_port_file_that_no_parser_takes_is_none(directory: DataDir, text: str) -> None:
    (directory.path / "ports.json").write_text(text)
    assert remembered_listen(directory, (TCP,)) == (None,)
