from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.identity import Identity
from swarmharness.network.broadcast_limits import BroadcastLimits
from swarmharness.network.limits import Limits
from swarmharness.network.stream_places import StreamLimits
from swarmharness.node.config import Config, load_config, parse_config
from swarmharness.node.config_file import read_psk
from swarmharness.node.config_schema import Source, key_of, line_of
from swarmharness.node.config_template import render
from swarmharness.registry.invite import Invite, invite_text

REPOSITORY = Path(__file__).parents[3]
PEER = Identity(bytes(32)).peer_id


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(Source("node.toml", text))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shipped_file_is_what_the_schema_renders() -> None:
    assert (REPOSITORY / "configs" / "node.toml").read_text() == render()


def test_the_shipped_file_loads_to_exactly_the_defaults() -> None:
    assert load_config(REPOSITORY / "configs" / "node.toml") == Config()


def test_every_key_is_documented_and_every_number_has_bounds() -> None:
    def visit(cls: Any) -> None:
        for declared in fields(cls):
            limits = key_of(declared)
            assert limits.doc, declared.name
            default = getattr(cls(), declared.name)
            if is_dataclass(default) and not limits.read:
                visit(type(default))
            elif isinstance(default, int | float) and not isinstance(default, bool) and declared.name != "version":
                assert limits.least is not None, declared.name
                assert limits.most is not None, declared.name
                assert limits.least <= default <= limits.most

    visit(Config)


def test_no_file_means_the_defaults() -> None:
    assert load_config(None) == Config()


def test_the_limits_of_the_network_are_those_of_the_keys() -> None:
    limits = Config().limits
    assert (limits.settings, limits.streams, limits.broadcast) == (Limits(), StreamLimits(), BroadcastLimits())
    changed = parse_config(Source("x", "version = 1\n[limits]\nping_per_s = 9\nbroadcast_timeout_s = 9\n")).limits
    assert (changed.streams.ping_per_s, changed.broadcast.broadcast_timeout_s) == (9, 9.0)


def test_a_key_that_is_left_out_keeps_its_default() -> None:
    config = parse_config(Source("x", "version = 1\n[network]\nmdns = true\n"))
    assert config.network.mdns is True
    assert config.network.listen == Config().network.listen
    assert config.jobs == Config().jobs


def test_rendering_a_changed_configuration_and_reading_it_back_changes_nothing() -> None:
    text = f'version = 1\n[credit.lines]\n"{PEER}" = 5\n[network]\nallow = ["{PEER}"]\nheartbeat_s = 2\n'
    config = parse_config(Source("x", text))
    assert config.credit.lines == {PEER: 5}
    assert parse_config(Source("y", render(config))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "node.toml: `version = 1` is missing at the top"),
        ("version = 2\nnew = 1", "node.toml:1: version is 2; this program reads version 1"),
        ("version = 1\nnetwrk = 1", "node.toml:2: netwrk is not a known key; did you mean network?"),
        (
            "version = 1\n\n[network]\nheartbeats = 3",
            "node.toml:4: [network] heartbeats is not a known key; did you mean heartbeat_s?",
        ),
        (
            "version = 1\n[network]\nmdns = 1",
            "node.toml:3: [network] mdns must be true or false, not an integer",
        ),
        (
            "version = 1\nnetwork.bulk_max_mib = '9'",
            "node.toml:2: [network] bulk_max_mib must be an integer (1 to 4096), not a string",
        ),
        (
            "version = 1\n[network]\nbulk_max_mib = 0",
            "node.toml:3: [network] bulk_max_mib is 0; allowed is 1 to 4096",
        ),
        (
            "version = 1\n[network]\nheartbeat_s = nan",
            "node.toml:3: [network] heartbeat_s is nan; allowed is 0.5 to 4.5",
        ),
        (
            'version = 1\n[log]\nlevel = "loud"',
            'node.toml:3: [log] level is "loud"; allowed is one of "debug", "info", "warning", "error"',
        ),
        (
            "version = 1\n[network]\nlisten = 4001",
            'node.toml:3: [network] listen must be a list of strings, such as ["a", "b"]',
        ),
        ("version = 1\nnetwork = 3", "node.toml:2: network is a table, written as [network]; got an integer"),
        (
            'version = 1\n[credit.lines]\n"bob" = 3',
            'node.toml:3: [credit.lines] bob has "bob", which is not a peer id; they begin with 12D3Koo '
            "(see `swarmharness peers`)",
        ),
        (
            f'version = 1\n[credit.lines]\n{PEER} = "much"',
            f"node.toml:3: [credit.lines] {PEER} must be an integer (0 to 9007199254740992), not a string",
        ),
        (
            "version = 1\n[routing]\n\ntrust_wieght = 1",
            "node.toml:4: [routing] 'trust_wieght' is not a key of the routing policy; did you mean trust_weight?",
        ),
        (
            "version = 1\n[routing]\nform = 'additive'\ntime_weight = -1",
            "node.toml:4: [routing] time_weight is -1.0; allowed is 0 to 1000",
        ),
        ("version = 1\nrouting = 1", "node.toml:2: routing is a table, written as [routing]; got an integer"),
        (
            "version = 1\n[network]\nmdns = true\nmdns = true\n",
            "node.toml: not valid TOML: Cannot overwrite a value (at line 4, column 12)",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_key_and_allowed_values(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("listen", "127.0.0.1:4001"),
        ("listen", "/ip4/300.0.0.1/tcp/1"),
        ("listen", "/ip6/127.0.0.1/tcp/1"),
        ("listen", "/ip4/127.0.0.1/tcp/70000"),
        ("listen", "/ip4/127.0.0.1/udp/4001/quic-v1"),
        ("announce", f"/ip4/192.0.2.1/tcp/1/p2p/{PEER}"),
        ("allow", "12D3KooW"),
    ],
)
def test_a_malformed_address_or_peer_is_refused(key: str, value: str) -> None:
    assert f"node.toml:3: [network] {key} has " in refusal(f'version = 1\n[network]\n{key} = ["{value}"]')


@pytest.mark.parametrize("value", ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1/p2p/QmNotEd25519", "", "swarm1cut"])
def test_a_place_to_join_that_leads_nowhere_is_refused(value: str) -> None:
    text = f'version = 1\n[network]\nbootstrap = ["{value}"]'
    assert "node.toml:3: [network] bootstrap cannot be used: " in refusal(text)


@pytest.mark.parametrize("value", ["/ip4/0.0.0.0/tcp/4001", "/ip6/::1/tcp/0", "/ip4/127.0.0.1/tcp/65535/ws"])
def test_addresses_to_listen_on_are_accepted(value: str) -> None:
    assert parse_config(Source("x", f'version = 1\n[network]\nlisten = ["{value}"]')).network.listen == (value,)


def test_a_document_nested_too_deeply_is_refused() -> None:
    assert "nested too deeply" in refusal("version = 1\nx = " + "[" * 5000 + "]" * 5000)


def test_an_overlong_list_is_refused_before_its_entries_are_looked_at() -> None:
    entries = ", ".join(['"x"'] * 1025)
    assert "has 1025 entries; allowed are 1024" in refusal(f"version = 1\n[network]\nallow = [{entries}]")


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist: `swarmharness config init` writes one"):
        load_config(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"version = 1\n\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    ("data", "problem"), [(bytes(4096), "it holds zero bytes"), ("version = 1".encode("utf-16"), "save it as UTF-8")]
)
def test_a_file_of_zeros_or_of_another_encoding_gets_a_sentence(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "node.toml").write_bytes(data)
    with pytest.raises(ConfigurationError, match=problem):
        load_config(tmp_path / "node.toml")


def test_a_file_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("version = 1\r\n[jobs]\r\nkeep_days = 3.0\r\n", "utf-8-sig")
    assert load_config(tmp_path / "node.toml").jobs.keep_days == 3.0


def test_an_oversized_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="not a configuration"):
        load_config(path)


def test_the_key_file_is_found_beside_the_configuration_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('version = 1\n[network]\npsk_file = "swarm.psk"\n')
    secret = tmp_path / "swarm.psk"
    with pytest.raises(ConfigurationError, match=r"node.toml:3: \[network\] psk_file .*swarm.psk does not exist"):
        load_config(path)
    secret.write_text("ab" * 32 + "\n")
    secret.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_config(path)
    secret.chmod(0o600)
    assert load_config(path).network.psk_file == str(secret)
    assert read_psk(secret) == b"\xab" * 32
    secret.write_text("not hexadecimal")
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32"):
        load_config(path)


def test_a_file_with_an_invite_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    identity = Identity(bytes(32))
    invite = Invite(identity.peer_id, ("/ip4/192.0.2.1/tcp/1",), None, 0, bytes(16), 0)
    line = invite_text(invite, identity)
    path.write_text(f'version = 1\n[network]\nbootstrap = ["{line}"]\n')
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r":3: \[network\] bootstrap holds an invite.*chmod 600"):
        load_config(path)
    path.chmod(0o600)
    assert load_config(path).network.bootstrap == (line,)


def test_the_line_of_a_key_is_found_in_every_way_of_writing_it() -> None:
    text = 'a = 1\n[t]\nb = 2\n["q.x"]\n"c d" = 3\n[u]\nv.w = 4\n[t.n]\nb = 5\n'
    assert line_of(text, ("a",)) == 1
    assert line_of(text, ("t", "b")) == 3
    assert line_of(text, ("q.x", "c d")) == 5
    assert line_of(text, ("u", "v", "w")) == 7
    assert line_of(text, ("t", "n", "b")) == 9
    assert line_of(text, ("t",)) == 2
    assert line_of(text, ("z",)) is None
