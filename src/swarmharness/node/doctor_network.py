"""The part of `doctor` that looks at ports and at who can reach the node; it dials nobody and keeps no port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swarmharness.errors import ConfigurationError
from swarmharness.network.addresses import Reach, check_listen
from swarmharness.node.chosen_ports import remembered_listen
from swarmharness.node.config import Config
from swarmharness.node.data_dir import DataDir
from swarmharness.node.doctor_machine import Finding


def addresses(status: Mapping[str, Any]) -> Finding:
    """Say who can reach the running node now; `status` is its answer to `node.status`."""
    listening, told = ", ".join(status["listening"]), ", ".join(status["addresses"])
    match Reach(status["reach"]):
        case Reach.NETWORK:
            return Finding("addresses", "ok", f"others reach the node at {told}")
        case Reach.LOOPBACK:
            return Finding("addresses", "ok", f"programs on this machine alone reach the node, at {told}")
        case Reach.NO_NETWORK:
            detail = f"it listens on {listening}, and this machine has no network address now: nobody else reaches it"
            return Finding("addresses", "warn", detail, "connect the machine; the node announces what it gets then")
        case Reach.LOST:
            detail = f"it listens on {listening}, which this machine does not have now: nobody reaches it"
            return Finding("addresses", "warn", detail, "listen on /ip4/0.0.0.0 instead: then the node follows changes")
        case Reach.NOT_LISTENING:
            return Finding("addresses", "warn", "it does not listen: nobody reaches it", "start it with --listen")


def ports(directory: DataDir, config: Config) -> Iterator[Finding]:
    """Say whether a start could listen where it is to."""
    if directory.holder_pid() is not None:
        yield Finding("ports", "ok", "the running node listens on them")
        return
    remembered = remembered_listen(directory, config.network.listen)
    yield from map(_port, config.network.listen, remembered)


def _port(wanted: str, address: str | None) -> Finding:
    """Judge one address; `address` has the port that an earlier start chose, if `wanted` leaves the choice to it."""
    if address is None:
        host = wanted.split("/tcp/")[0]
        return Finding("port", "ok", f"on {host}, the first start chooses a free one")
    try:
        check_listen([address])
    except ConfigurationError as error:
        reason, _, remedy = str(error).removeprefix(f"cannot listen on {address}: ").partition(": ")
        if address != wanted:
            detail = f"{address}, which this node chose earlier: {reason}"
            return Finding("port", "warn", detail, "none needed: the next start chooses another, and says so")
        return Finding("port", "fail", f"{address}: {reason}", remedy or "listen elsewhere ([network] listen)")
    return Finding("port", "ok", f"{address} is free")
