"""Finds the pre-shared key of a private swarm: in the configuration, in an invite, or remembered from one before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarmharness.errors import ConfigurationError
from swarmharness.node.config import Config
from swarmharness.node.config_file import read_psk
from swarmharness.node.data_dir import DataDir
from swarmharness.registry.invite import parse_join_target

REMEMBERED = "swarm.psk"


def swarm_psk(directory: DataDir, config: Config, join: Sequence[str], *, now_unix_s: int) -> bytes | None:
    """Return the swarm's key, or None for an open swarm; a key that came with an invite is kept, 0600.

    Raises ConfigurationError if two sources name different keys: a node is in one swarm at a time.
    """
    found: dict[str, bytes] = {}
    if config.network.psk_file:
        found["psk_file"] = read_psk(Path(config.network.psk_file))
    for target in join:
        invite = parse_join_target(target, now_unix_s=now_unix_s).invite
        if invite is not None and invite.pre_shared_key is not None:
            found[f"the invite of {invite.peer_id}"] = invite.pre_shared_key
    remembered = directory.read_secret(REMEMBERED)
    if remembered is not None:
        found[str(directory.path / REMEMBERED)] = remembered
    if len(set(found.values())) > 1:
        raise ConfigurationError(
            f"{' and '.join(found)} hold different keys; a node is in one swarm at a time: use another --data-dir"
        )
    psk = next(iter(found.values()), None)
    if psk is not None and remembered is None and not config.network.psk_file:
        directory.write_secret(REMEMBERED, psk)
    return psk
