"""The configuration of a node: every key with its default, limits and documentation, read from one TOML file.

It never starts anything and holds no secret: keys lie in files of their own, and the configuration names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from swarmharness.credit.admission import STRANGER_BUDGET_MICROCREDITS, Policy
from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.errors import ConfigurationError
from swarmharness.hints import quoted
from swarmharness.identity import PeerId
from swarmharness.jobs.verification.policy import Mode
from swarmharness.node.config_file import read_psk, read_text
from swarmharness.node.config_limits import LimitsConfig
from swarmharness.node.config_schema import Source, documented, key, read_table, toml_table
from swarmharness.node.config_values import (
    complain_about_join,
    complain_about_listen,
    complain_about_peer,
    complain_about_provider,
    complain_about_remote,
    complain_about_skill,
)
from swarmharness.owner.limits import Limits, OwnerSettings
from swarmharness.owner.schedule import complain_about_hours, parse_hours
from swarmharness.routing.policy import RoutingPolicy

VERSION = 1


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """`[network]`."""

    listen: tuple[str, ...] = key(
        ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"),
        "Where to listen. Port 0 is replaced by a free port on first start, which the data directory remembers. The\n"
        'default is reachable from this machine only; "/ip4/0.0.0.0/tcp/4001" opens the node to every network, and\n'
        "what it tells others follows the addresses that the machine has.",
        complain=complain_about_listen,
    )
    announce: tuple[str, ...] = key(
        (),
        "Addresses to tell others in place of those that the node listens on, for example behind a forwarded port.",
        complain=complain_about_remote,
    )
    bootstrap: tuple[str, ...] = key(
        (),
        "Nodes to meet first: invites, or addresses that end in /p2p/ and a peer id.\n"
        "A file that holds an invite must be private (0600).",
        complain=complain_about_join,
    )
    psk_file: str = key(
        "",
        "File with the pre-shared key of a private swarm: 64 hexadecimal digits, mode 0600 (`openssl rand -hex 32`).\n"
        "A relative path starts at this file's folder. Empty: the swarm is open to whoever can reach it.",
    )
    allow: tuple[str, ...] = key((), "Peer ids that may connect; empty means everyone.", complain=complain_about_peer)
    deny: tuple[str, ...] = key(
        (), "Peer ids that may not connect, whatever `allow` says.", complain=complain_about_peer
    )
    mdns: bool = key(False, "Look for nodes on the local network by multicast DNS, and answer others who look.")
    bulk_max_mib: int = key(256, "Largest payload that one call may carry, in MiB.", least=1, most=4096)
    heartbeat_s: float = key(
        3.0, "Seconds between two heartbeats on a channel; a peer that misses two is dropped.", least=0.5, most=4.5
    )


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """`[registry]`."""

    refresh_s: float = key(
        60.0,
        "Seconds after which adverts and provider records are refreshed; a silent node is forgotten after three times\n"
        "as long.",
        least=1,
        most=3600,
    )
    peers_per_skill_max: int = key(128, "Most peers remembered for one skill.", least=1, most=10_000)


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """`[execution]`."""

    skills: tuple[str, ...] = key(
        ("*",),
        'Skills to offer. "*" is every skill whose model is on this machine; with an empty list the node only asks.',
        complain=complain_about_skill,
    )
    threads: int = key(
        0,
        "Threads that a model may use; 0 means one for each core that this node may use (affinity, cgroups).",
        least=0,
        most=1024,
    )
    cpu_share: float = key(
        1.0,
        "Share of the time that a model may compute: with 0.5 it rests for as long as it worked.",
        least=0.05,
        most=1,
    )
    memory_limit_mib: int = key(
        4096,
        "Memory that one worker process may use, in MiB; beyond it the process is ended.",
        least=64,
        most=1_048_576,
    )
    queue_items_max: int = key(
        4096, "Items of one skill that may wait here; further requests are refused.", least=1, most=1_000_000
    )
    providers: tuple[str, ...] = key(
        ("auto",),
        'ONNX Runtime execution providers, best first, such as "cuda". "auto" takes the best that is installed, the\n'
        'CPU last. If none of a list is to be had, nothing is offered; with "cpu" at its end, the processor works.',
        complain=complain_about_provider,
    )
    model_size_max_mib: int = key(2048, "Largest model file that may be loaded, in MiB.", least=1, most=1_048_576)
    fetch_models: bool = key(
        False,
        "Also offer skills whose model is not on this machine; it is fetched from the skill's sources when somebody\n"
        'first asks. Others then cause downloads here, so name the skills above rather than leave "*" there.',
    )
    idle_unload_s: float = key(
        600.0, "Seconds without a request after which a model's worker process ends.", least=1, most=86_400
    )


@dataclass(frozen=True, slots=True)
class CreditConfig:
    """`[credit]`."""

    price_factor: float = key(
        1.0, "The price asked here, as a multiple of each skill's declared work.", least=0, most=1000
    )
    own_peers: tuple[str, ...] = key(
        (),
        "Peer ids of your own nodes: they are served first, and nothing is charged against their credit.",
        complain=complain_about_peer,
    )
    stranger_budget_microcredits: int = key(
        STRANGER_BUDGET_MICROCREDITS,
        "What all strangers together may have done here each hour; 600 million are ten core-minutes.",
        least=0,
        most=2**53,
    )
    horizon_epochs: int = key(
        HORIZON_EPOCHS,
        "Hours after which a receipt counts nothing. All nodes of a swarm must agree; a change needs a restart.",
        least=2,
        most=87_600,
    )
    invite_line_microcredits: int = key(
        3_600_000_000,
        "Credit line for each node that joins with an invite of this one; 3600 million are one core-hour.",
        least=0,
        most=2**53,
    )
    lines: Mapping[str, int] = key(
        {},
        "Credit lines in micro-credits for peers of yours: their requests are served up to this debt.\n"
        'Written as "12D3Koo…" = 600_000_000',
        least=0,
        most=2**53,
        complain=complain_about_peer,
    )

    @property
    def policy(self) -> Policy:
        """What admission goes by."""
        return Policy(
            own=frozenset(map(PeerId, self.own_peers)),
            lines={PeerId(peer): line for peer, line in self.lines.items()},
            stranger_budget_microcredits=self.stranger_budget_microcredits,
            horizon_epochs=self.horizon_epochs,
        )


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """`[jobs]`."""

    chunk_target_ms: int = key(
        400, "How long one chunk of a job should keep its peer busy, in milliseconds.", least=10, most=60_000
    )
    attempts_max: int = key(
        4, "Tries of one item that breaks the worker which runs it, before its error is the answer.", least=1, most=100
    )
    deadline_s: float = key(3600.0, "Deadline of a job that names none, in seconds.", least=0.1, most=604_800)
    verify: str = key(
        "adaptive",
        'How results are checked where a job does not say: "always" delivers nothing that no second node confirmed,\n'
        '"adaptive" checks all of a new peer and one task in twenty of a proven one, and believes `own_peers`; "none"\n'
        "believes everybody.",
        choices=tuple(mode.value for mode in Mode),
    )
    replicas: int = key(2, "How many nodes must agree on what is checked.", least=2, most=9)
    tolerance: float = key(
        1e-3, "How far apart two tensors may lie and agree, relative to their largest element.", least=0, most=0.1
    )
    spot_checks: bool = key(
        True, "Mix items with known answers, of earlier jobs, into tasks; their new worker sees those items too."
    )
    keep_days: float = key(
        7.0, "Days after which a job that has ended is forgotten, with its results.", least=0, most=36_500
    )
    keep_mib: int = key(
        1024,
        "Size of the file of jobs, in MiB, beyond which the oldest ended jobs are forgotten sooner.",
        least=1,
        most=1_048_576,
    )


@dataclass(frozen=True, slots=True)
class OwnerConfig:
    """`[owner]`."""

    schedule: tuple[str, ...] = key(
        (),
        'When to serve others, by this machine\'s clock: entries such as "mon-fri 19:00-07:00" (over midnight),\n'
        '"sat,sun" (the whole days) or "daily 22:00-06:00". Any of them allows; empty means always.',
        complain=complain_about_hours,
    )
    cpu_others_max_percent: float = key(
        100.0,
        "Most that other programs may use of all cores together, in percent; 100 is no limit. 50 suits a desktop.",
        least=1,
        most=100,
    )
    memory_available_min_mib: int = key(
        256, "Memory that must be left for other programs, in MiB; 0 is no limit.", least=0, most=1_048_576
    )
    on_battery: bool = key(False, "Serve others while the machine runs on its battery.")
    battery_min_percent: float = key(
        50.0, "With `on_battery`, the charge that the battery must have, in percent; 0 is no limit.", least=0, most=100
    )
    gpu_others_max_percent: float = key(
        100.0,
        "Most that other programs may use of any GPU, in percent; 100 is no limit. Read for NVIDIA's, with the\n"
        "package nvidia-ml-py (`.[gpu]`).",
        least=1,
        most=100,
    )
    temperature_max_c: float = key(
        0.0, "Hottest that the processor may be, in degrees Celsius; 0 is no limit.", least=0, most=150
    )
    calm_s: float = key(
        30.0,
        "After a limit was crossed, seconds for which the reading must be well inside it before the node serves again.",
        least=0,
        most=86_400,
    )
    check_s: float = key(5.0, "Seconds between two looks at the sensors.", least=0.1, most=3600)
    drain_s: float = key(
        10.0,
        "Seconds that tasks of others get to finish once the node must not serve; then they are handed back, unpaid.",
        least=0,
        most=3600,
    )

    @property
    def settings(self) -> OwnerSettings:
        """What the owner's service goes by."""
        limits = Limits(
            schedule=tuple(map(parse_hours, self.schedule)),
            cpu_others_max_percent=self.cpu_others_max_percent,
            memory_available_min_mib=self.memory_available_min_mib,
            on_battery=self.on_battery,
            battery_min_percent=self.battery_min_percent,
            gpu_others_max_percent=self.gpu_others_max_percent,
            temperature_max_c=self.temperature_max_c,
            calm_s=self.calm_s,
        )
        return OwnerSettings(limits, self.check_s, self.drain_s)


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """`[trace]`."""

    file: str = key(
        "",
        "File to which every routed task is recorded, one JSON line each, for `swarmharness router replay`: what the\n"
        "choice saw, whom it took, sizes and times, nothing of the inputs. A relative path starts at this file's\n"
        "folder. Empty: no record. Changes here are read without a restart.",
    )
    max_mib: int = key(
        64,
        "Size at which the file is renamed to end in .1, in place of the last such one, and a new file begins.",
        least=1,
        most=65_536,
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`[log]`."""

    level: str = key(
        "warning", "How much the node writes to standard error.", choices=("debug", "info", "warning", "error")
    )


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration."""

    version: int = key(VERSION, "The version of this format.")
    network: NetworkConfig = field(
        default_factory=NetworkConfig, metadata=documented("Addresses, neighbours and who may connect.")
    )
    limits: LimitsConfig = field(
        default_factory=LimitsConfig, metadata=documented("How much of this node strangers may take up.")
    )
    registry: RegistryConfig = field(
        default_factory=RegistryConfig, metadata=documented("Who is out there, and what each can do.")
    )
    execution: ExecutionConfig = field(
        default_factory=ExecutionConfig, metadata=documented("What this node offers, and what it may cost the machine.")
    )
    owner: OwnerConfig = field(
        default_factory=OwnerConfig,
        metadata=documented(
            "When this node serves others; its own user is always served. A sensor that the machine lacks limits\n"
            "nothing. Changes here are read without a restart; `swarmharness node pause` and `resume` need no file."
        ),
    )
    routing: RoutingPolicy = field(
        default_factory=RoutingPolicy,
        metadata=documented(
            "Which peer gets a task. Changes here are read without a restart.", read=RoutingPolicy.from_mapping
        ),
    )
    credit: CreditConfig = field(default_factory=CreditConfig, metadata=documented("Prices, and who may owe how much."))
    jobs: JobsConfig = field(default_factory=JobsConfig, metadata=documented("How a submission is split and tried."))
    trace: TraceConfig = field(default_factory=TraceConfig, metadata=documented("A record of the routed tasks."))
    log: LogConfig = field(default_factory=LogConfig, metadata=documented("Diagnostics."))


def parse_config(source: Source) -> Config:
    """Return the configuration in a TOML text; raises ConfigurationError at the first mistake."""
    table = toml_table(source)
    # Before anything else, so that a file of a newer version is not reported as a misspelt key.
    if "version" not in table:
        raise ConfigurationError(f"{source.name}: `version = {VERSION}` is missing at the top")
    if table["version"] != VERSION:
        raise source.error(("version",), f"is {table['version']}; this program reads version {VERSION}")
    return read_table(Config, table, source, ())


def load_config(path: Path | None) -> Config:
    """Return the configuration in the file at `path`, or the defaults if `path` is None.

    A relative `psk_file` or trace file is resolved against the file's folder; the first's permissions are checked.
    """
    if path is None:
        return Config()
    text, mode = read_text(path)
    source = Source(str(path), text)
    config = parse_config(source)
    if mode & 0o077 and any(not target.startswith("/") for target in config.network.bootstrap):
        problem = (
            f"holds an invite, which may carry the swarm's key, and others can read this file: chmod 600 {quoted(path)}"
        )
        raise source.error(("network", "bootstrap"), problem)
    if config.network.psk_file:
        psk_file = path.parent / config.network.psk_file
        try:
            read_psk(psk_file)
        except ConfigurationError as error:
            raise source.error(("network", "psk_file"), f"cannot be used: {error}") from None
        config = replace(config, network=replace(config.network, psk_file=str(psk_file)))
    if config.trace.file:
        config = replace(config, trace=replace(config.trace, file=str(path.parent / config.trace.file)))
    return config
