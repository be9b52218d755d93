"""Looks for whatever keeps a node from working, and says how to mend each; it changes nothing on the machine."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from swarmharness.errors import ConfigurationError, SwarmError, leaf
from swarmharness.execution.catalog import find_skills
from swarmharness.execution.model_store import ModelStore
from swarmharness.hints import quoted
from swarmharness.node.attack_lines import attack_lines
from swarmharness.node.config import Config, load_config
from swarmharness.node.control import open_control
from swarmharness.node.data_dir import DataDir, cache_dir, model_folder, process_text
from swarmharness.node.doctor_machine import (
    Finding,
    clock,
    dependencies,
    exists,
    nearest_existing,
    platform,
    providers,
    python,
    space,
    stopped,
)
from swarmharness.node.doctor_network import addresses, ports
from swarmharness.node.not_offered import by_reason
from swarmharness.node.set_aside import find_set_aside
from swarmharness.owner.service import READ_TIMEOUT_S
from swarmharness.refusals import TWIN_REMEDY, Reason
from swarmharness.registry.invite import parse_join_target

DIAL_TIMEOUT_S = 3.0
STATUS_TIMEOUT_S = READ_TIMEOUT_S + 5
"""A sensor that hangs delays the status by the first of the two; the node is healthy all the same."""
REMEDIES = {
    "clock": "set the clock that is wrong, for example: timedatectl set-ntp true",
    Reason.TWIN: f"{TWIN_REMEDY}: each machine needs its own",
    Reason.SEQUENCE: "tell its operator: stop one of two nodes with one key, or set the clock there",
    Reason.HELLO: "bring both nodes to the same release",
}
"""What to do about a problem of discovery, by its subject."""
ATTACK_REMEDY = "none needed: the node refuses it; `deny` in [network] keeps a peer out, a firewall an address"


def examine(directory: DataDir, config_file: Path | None) -> Iterator[Finding]:
    """Yield the findings one by one, in the order in which a person would mend them."""
    config, mistake = None, ""
    try:
        config = load_config(config_file)
    except SwarmError as error:
        mistake = str(error)
    yield python()
    yield platform()
    yield from dependencies()
    yield providers(() if config is None else config.execution.providers)
    yield from _data_dir(directory)
    yield space("data directory space", directory.path)
    try:
        yield space("model cache space", cache_dir())
    except ConfigurationError as error:
        yield Finding("model cache space", "fail", str(error), "set HOME, or XDG_CACHE_HOME")
        return
    yield clock(directory)
    if config is None:
        yield Finding("configuration", "fail", mistake, "correct that line, then `swarmharness config check`")
        return
    yield Finding("configuration", "ok", str(config_file) if config_file else "the defaults (there is no file)")
    yield from ports(directory, config)
    yield from _bootstrap(config)
    yield from _models(directory)


def _data_dir(directory: DataDir) -> Iterator[Finding]:
    path = directory.path
    if not exists(path):
        nearest = nearest_existing(path)
        if os.access(nearest, os.W_OK | os.X_OK):
            yield Finding("data directory", "ok", f"{path} will be made by the first start")
        else:
            yield Finding("data directory", "fail", f"{nearest} is not writable", "choose another with --data-dir")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(
            "data directory", "fail", f"{path} is not writable", f"chmod 700 {quoted(path)}, or another --data-dir"
        )
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("data directory", "warn", f"{path} is open to others", f"chmod 700 {quoted(path)}")
    else:
        yield Finding("data directory", "ok", str(path))
    for one in find_set_aside(path):
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.since_unix_s))
        detail = f"{one.holds}: a damaged file was set aside on {since} as {one.path}"
        yield Finding("damaged file", "warn", detail, one.advice)
    yield from _node(directory)
    if not exists(directory.identity_file):
        yield Finding("key", "ok", "will be made by the first start")
        return
    try:
        yield Finding("key", "ok", directory.identity().peer_id)
    except SwarmError as error:
        yield Finding(
            "key", "fail", str(error), f"chmod 600 {quoted(directory.identity_file)}, or restore it from a backup"
        )


def _node(directory: DataDir) -> Iterator[Finding]:
    pid = directory.holder_pid()
    if pid is None:
        yield Finding("node", "ok", "does not run")
        return

    async def ask() -> Any:
        async with open_control(directory) as control:
            return await control.call("node.status", {}, STATUS_TIMEOUT_S)

    try:
        status = trio.run(ask)
    except (SwarmError, ExceptionGroup) as error:
        detail = f"{process_text(pid)} uses the directory but does not answer: {leaf(error)}"
        yield Finding("node", "fail", detail, _wake(pid))
        return
    yield Finding("node", "ok", f"runs, pid {pid}, {status['registry']['connected']} peers connected")
    if "reach" in status:  # else the node is of an older version
        yield addresses(status)
    if status.get("disk_problem"):
        yield Finding(
            "disk", "fail", f"others are not served: {status['disk_problem']}", "then it serves by itself again"
        )
    for reason in status["owner"]["reasons"]:
        yield Finding("owner", "warn", f"others are not served: {reason}", "`swarmharness node resume`, or see [owner]")
    for problem in status["registry"]["problems"]:
        remedy = REMEDIES.get(problem["subject"], "see that the other node runs and can be reached; then join again")
        yield Finding("node", "warn", f"{problem['subject']}: {problem['text']}", remedy)
    if attacks := attack_lines(status.get("attacks", ()), lines_max=2):
        yield Finding("attack", "warn", "; ".join(attacks), ATTACK_REMEDY)
    for reason, names in by_reason(status.get("not_offered", {})).items():
        detail = f"not offered: {', '.join(names)}: {reason}"
        yield Finding("skill", "warn", detail, f"do so, or see `swarmharness skills show {names[0]}`")


def _wake(pid: int) -> str:
    """Return what to do about a process that does not answer: it may be healthy, and only its owner can tell."""
    if stopped(pid):
        return f"it is stopped: `kill -CONT {pid}` lets it go on"
    shown = f"; `ps -p {pid}` shows what it is" if pid else ""
    return f"look again in a minute: it may start, stop or be busy{shown}"


def _bootstrap(config: Config) -> Iterator[Finding]:
    for target in config.network.bootstrap:
        try:
            addresses = parse_join_target(target, now_unix_s=int(time.time())).peer.addresses
        except SwarmError as error:
            yield Finding("bootstrap", "fail", str(error), "ask for a new invite: `swarmharness invite` over there")
            continue
        reasons = [reason for reason in map(_dial, addresses) if reason]
        if len(reasons) < len(addresses):
            yield Finding("bootstrap", "ok", f"{addresses[0]} answers")
        else:
            detail = f"no address of {target[:60]} answers: {'; '.join(reasons) or 'it has none'}"
            yield Finding(
                "bootstrap", "warn", detail, "see that the node runs, listens beyond loopback, and no firewall"
            )


def _dial(address: str) -> str:
    """Return why a TCP connection to the multiaddr fails, or an empty string."""
    parts = address.split("/")
    try:
        with closing(socket.create_connection((parts[2], int(parts[4])), timeout=DIAL_TIMEOUT_S)):
            return ""
    except (OSError, IndexError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"


def _models(directory: DataDir) -> Iterator[Finding]:
    catalog = find_skills(directory.skills_folder)
    store = ModelStore(model_folder())
    for folder, problem in sorted(catalog.problems.items()):
        yield Finding("skill", "warn", problem, f"mend or remove {quoted(directory.skills_folder / folder)}")
    for name, skill in sorted(catalog.skills.items()):
        missing = store.missing(skill.manifest)
        if missing:
            names = ", ".join(file.name for file in missing)
            yield Finding("model", "warn", f"{name} cannot run without {names}", f"swarmharness skills pull {name}")
        else:
            yield Finding("model", "ok", f"{name} is here")
