"""Scenarios: what a simulation has, from a TOML file, with every key documented and checked; it runs nothing.

A scenario names groups of nodes (`[nodes.NAME]`), skills (`[skills.NAME]`) and faults (`[faults.NAME]`). `--nodes` and
`--hours` scale it: groups keep their shares, faults their place in the whole time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from swarmharness.errors import ConfigurationError
from swarmharness.jobs.context import VERIFY
from swarmharness.node.config_schema import Source, documented, key, read_table, suggestion, toml_table
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.randomness import LAWS
from swarmharness.text_bytes import text_from

VERSION = 1
FILE_BYTES_MAX = 256 * 1024
NODES_MAX = 100_000
HOURS_MAX = 720.0
TABLES_MAX = 64
_MOST_S = HOURS_MAX * 3600

ROLES = (
    "honest",
    "load-liar",
    "speed-liar",
    "noise",
    "stale",
    "copied",
    "lazy",
    "wrong",
    "cartel",
    "refuser",
    "withholder",
    "forker",
    "sybil",
    "eclipse",
)
FAULTS = (
    "partition",
    "one-way",
    "loss",
    "delay",
    "reorder",
    "duplicate",
    "clog",
    "crash",
    "stop",
    "move",
    "restore",
    "slow-disk",
    "slow-node",
    "clock",
    "surge",
)
ROUTERS = ("utility", "random", "round-robin", "least-outstanding", "two-choices", "peak-ewma", "prequal")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """`[network]`: what lies between the nodes."""

    delay_ms: float = key(5.0, "Mean one-way delay between two nodes.", least=0.01, most=60_000)
    spread: float = key(
        4.0, "Nodes differ in their distance from the middle of the network by this factor.", least=1, most=100
    )
    jitter_percent: int = key(20, "Mean random part of a delay, exponentially distributed.", least=0, most=1000)
    mbit_per_s: float = key(100.0, "What one message is sent with.", least=0.01, most=1e6)
    loss_permille: int = key(
        0, "Messages that never arrive, on calls that then wait for their deadline.", least=0, most=1000
    )
    duplicate_permille: int = key(0, "Messages that arrive twice.", least=0, most=1000)


@dataclass(frozen=True, slots=True)
class NodeModel:
    """`[node]`: settings of every node's services."""

    router: str = key("utility", "The policy that orders peers; all but the first are baselines.", choices=ROUTERS)
    refresh_s: float = key(60.0, "As in a node's configuration.", least=1, most=3600)
    peers_per_skill_max: int = key(128, "As in a node's configuration.", least=1, most=10_000)
    enough_peers: int = key(24, "A node that knows so many for a skill searches no more.", least=1, most=10_000)
    task_timeout_s: float = key(60.0, "How long a requester waits for one task.", least=0.1, most=3600)
    stranger_budget_microcredits: int = key(
        600_000_000, "What one node works for all strangers together in an hour.", least=0, most=2**53
    )
    verify: str = key("none", "How results are checked, as in `submit --verify`.", choices=VERIFY)
    replicas: int = key(2, "How many answers to what is checked must agree.", least=2, most=8)
    horizon_hours: int = key(720, "After which credit has melted (C-7).", least=1, most=8760)


@dataclass(frozen=True, slots=True)
class SkillModel:
    """`[skills.NAME]`: one kind of work."""

    work_ms: float = key(50.0, "Mean time of one item on a reference core; also its price.", least=0.001, most=1e6)
    price_percent: int = key(100, "What an item costs, in percent of its work.", least=1, most=10_000)
    law: str = key("exponential", "How the time of an item is distributed.", choices=LAWS)
    item_bytes: int = key(512, "Size of one item.", least=16, most=2**20)
    output_bytes: int = key(64, "Size of one output.", least=8, most=2**20)


@dataclass(frozen=True, slots=True)
class Group:
    """`[nodes.NAME]`: nodes of one kind."""

    count: int = key(1, "How many there are.", least=0, most=NODES_MAX)
    role: str = key("honest", "How they behave.", choices=ROLES)
    cheats_percent: int = key(100, "On how many of its tasks a cheat about results cheats.", least=0, most=100)
    cheats_after: int = key(0, "So many tasks it does honestly first, to be believed.", least=0, most=1_000_000)
    serves: tuple[str, ...] = key((), "The skills that they serve.")
    chooses_every_s: float = key(
        0.0,
        "Owners look at earnings this often: who was busy drops the skill that pays least for its time, who was idle\n"
        "takes one back; 0: never.",
        least=0,
        most=_MOST_S,
    )
    serves_until_s: float = key(0.0, "From then on they serve nothing more; 0 means never.", least=0, most=_MOST_S)
    slots: int = key(1, "Items that a node works on at a time.", least=1, most=1024)
    speed: float = key(1.0, "Mean speed, in reference cores a slot.", least=0.001, most=1000)
    speed_spread: float = key(1.0, "The fastest is faster than the slowest by this factor.", least=1, most=1000)
    speed_sigma: float = key(
        0.0,
        "Speeds are spread as a log-normal law of this sigma around `speed`; 0: by `speed_spread`.",
        least=0,
        most=3,
    )
    proficiency_sigma: float = key(
        0.0,
        "How well a node does each skill, log-normal with this sigma; its advert does not show it.",
        least=0,
        most=3,
    )
    slowed_every_s: float = key(
        0.0, "Mean time between two slow-downs of a node, exponentially distributed; 0: none.", least=0, most=_MOST_S
    )
    slowed_for_s: float = key(15.0, "How long a slow-down lasts.", least=0.001, most=_MOST_S)
    slowed_percent: int = key(25, "The share of its speed that is left to it then.", least=1, most=100)
    requests_per_hour: float = key(0.0, "Requests that one node makes, at random times.", least=0, most=1e7)
    skill: str = key("", "What they ask for; empty means every skill in turn.")
    items: int = key(1, "Items of one request.", least=1, most=10_000)
    attempts: int = key(
        0,
        "Requests are single tasks, tried so often, the first at most for its share of the deadline; 0: they are jobs.",
        least=0,
        most=16,
    )
    pays: bool = key(True, "Whether answers to single tasks are settled; without, credit costs no time of the machine.")
    deadline_s: float = key(10.0, "A request that takes longer has failed.", least=0.01, most=3600)
    starts_s: float = key(0.0, "When they start, counted from the start of the simulation.", least=0, most=_MOST_S)
    session_s: float = key(0.0, "Mean time for which a node stays; 0 means always.", least=0, most=_MOST_S)
    session_law: str = key("heavy", "How that time is distributed.", choices=LAWS)
    away_s: float = key(60.0, "Mean time for which it is then away, exponentially distributed.", least=1, most=_MOST_S)
    crash_permille: int = key(500, "Departures without a farewell.", least=0, most=1000)
    clock_skew_s: float = key(0.0, "Clocks are wrong by up to this much, either way.", least=0, most=86_400)
    clock_drift_ppm: int = key(0, "Clocks are fast or slow by up to this much.", least=0, most=10_000)
    disk_ms: float = key(1.0, "Mean time of a durable write.", least=0, most=60_000)


@dataclass(frozen=True, slots=True)
class Fault:
    """`[faults.NAME]`: something that goes wrong for a while."""

    kind: str = key("partition", "What goes wrong.", choices=FAULTS)
    at_s: float = key(0.0, "When it begins.", least=0, most=_MOST_S)
    for_s: float = key(60.0, "How long it lasts; a crashed node is started again after it.", least=0, most=_MOST_S)
    groups: tuple[str, ...] = key((), "Which groups it strikes; empty means all.")
    percent: int = key(50, "The share of their nodes that it strikes, chosen at random.", least=0, most=100)
    amount: int = key(
        0,
        "Its strength: per mille of messages (loss, duplicate), milliseconds (delay, reorder, slow-disk), percent of\n"
        "the usual (slow-node, surge), seconds (clock; restore: the age of the backup), lost writes (crash).",
        least=-86_400,
        most=86_400,
    )


@dataclass(frozen=True, slots=True)
class Expectation:
    """`[expect]`: what must hold at the end, beyond the invariants; 0 or an empty value means: nothing said."""

    answered_permille: int = key(0, "Requests of honest nodes answered in time, at least.", least=0, most=1000)
    latency_p50_ms: int = key(0, "Median latency of honest nodes' answered requests, at most.", least=0, most=3_600_000)
    latency_p99_ms: int = key(0, "The same for the 99th percentile.", least=0, most=3_600_000)
    converges_s: int = key(
        900,
        "After so long without faults, nodes that have run for as long know who serves what they use (R-3).",
        least=1,
        most=86_400,
    )
    agrees_s: int = key(
        900,
        "After so long without faults, both parties of a receipt count it, if both have run for as long (S-4).",
        least=1,
        most=86_400,
    )
    starved_permille: int = key(
        0, "Requests of free riders (`sybil`, and groups that serve nothing) answered, at most.", least=0, most=1000
    )
    wrong_permille: int = key(0, "Answers to honest nodes that were wrong, at most.", least=0, most=1000)
    cheats_income_permille: int = key(
        0, "What a cheat about results earns, against what an honest worker earns, at most.", least=0, most=100_000
    )
    specialised_permille: int = key(
        0,
        "In the last third of the time, the part of a node's work that is in the skill that it does best, at least.",
        least=0,
        most=1000,
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole, valid scenario."""

    title: str
    shows: str
    hours: float
    network: NetworkModel
    node: NodeModel
    routing: RoutingPolicy
    expect: Expectation
    skills: Mapping[str, SkillModel]
    nodes: Mapping[str, Group]
    faults: Mapping[str, Fault] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return sum(group.count for group in self.nodes.values())

    def scaled(self, *, nodes: int | None = None, hours: float | None = None) -> Scenario:
        """Return the scenario with about so many nodes, and stretched or cut to so many hours."""
        scenario = self
        if nodes is not None:
            if not 1 <= nodes <= NODES_MAX:
                raise ConfigurationError(f"--nodes is {nodes}; allowed is 1 to {NODES_MAX}")
            total = self.count
            groups = {
                name: replace(group, count=max(1, round(group.count * nodes / total)) if group.count else 0)
                for name, group in self.nodes.items()
            }
            scenario = replace(scenario, nodes=groups)
        if hours is not None:
            if not 0 < hours <= HOURS_MAX:
                raise ConfigurationError(f"--hours is {hours:g}; allowed is above 0 to {HOURS_MAX:g}")
            factor = hours / self.hours
            faults = {
                name: replace(fault, at_s=fault.at_s * factor, for_s=fault.for_s * factor)
                for name, fault in self.faults.items()
            }
            started = {
                name: replace(group, starts_s=group.starts_s * factor, serves_until_s=group.serves_until_s * factor)
                for name, group in scenario.nodes.items()
            }
            node = replace(scenario.node, stranger_budget_microcredits=_budget(scenario, hours))
            scenario = replace(scenario, hours=hours, faults=faults, nodes=started, node=node)
        return scenario


def _budget(scenario: Scenario, hours: float) -> int:
    """Keep the strangers' budget in proportion to what they ask for in a run of less than an hour."""
    return round(scenario.node.stranger_budget_microcredits * min(1.0, hours) / min(1.0, scenario.hours))


@dataclass(frozen=True, slots=True)
class _Head:
    """The keys at the top of a scenario, and its plain tables."""

    version: int = key(VERSION, "The version of this format.")
    title: str = key("", "A few words.")
    shows: str = key("", "What this scenario shows, and what to look at in its report.")
    hours: float = key(1.0, "Virtual time.", least=0.001, most=HOURS_MAX)
    network: NetworkModel = field(default_factory=NetworkModel, metadata=documented("What lies between the nodes."))
    node: NodeModel = field(default_factory=NodeModel, metadata=documented("Settings of every node."))
    routing: RoutingPolicy = field(
        default_factory=RoutingPolicy, metadata=documented("The weights.", read=RoutingPolicy.from_mapping)
    )
    expect: Expectation = field(default_factory=Expectation, metadata=documented("What must hold at the end."))


def parse_scenario(source: Source) -> Scenario:
    """Return the scenario in a TOML text; raises ConfigurationError at the first mistake."""
    table = toml_table(source)
    if table.get("version") != VERSION:
        raise ConfigurationError(f"{source.name}: `version = {VERSION}` is missing at the top")
    named: dict[str, dict[str, Any]] = {}
    for section in ("skills", "nodes", "faults"):
        value = table.pop(section, {})
        if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
            raise source.error((section,), f"holds tables, each written as [{section}.NAME]")
        if len(value) > TABLES_MAX:
            raise source.error((section,), f"has {len(value)} tables; allowed are {TABLES_MAX}")
        named[section] = value
    for name in table:
        known = {**dict.fromkeys(_Head.__dataclass_fields__), **dict.fromkeys(named)}
        if name not in known:
            raise source.error((name,), f"is not a known key{suggestion(name, known)}")
    head = read_table(_Head, table, source, ())
    scenario = Scenario(
        title=head.title or source.name,
        shows=head.shows,
        hours=head.hours,
        network=head.network,
        node=head.node,
        routing=head.routing,
        expect=head.expect,
        skills=_tables(SkillModel, "skills", named["skills"], source),
        nodes=_tables(Group, "nodes", named["nodes"], source),
        faults=_tables(Fault, "faults", named["faults"], source),
    )
    _check(scenario, source)
    return scenario


def load_scenario(path: Path) -> Scenario:
    """Return the scenario in a file."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = text_from(data)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; scenarios are in configs/scenarios") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path} is larger than {FILE_BYTES_MAX} bytes: it is not a scenario")
    return parse_scenario(Source(str(path), text))


def _tables(cls: type[T], section: str, tables: Mapping[str, Any], source: Source) -> dict[str, T]:
    return {name: read_table(cls, table, source, (section, name)) for name, table in tables.items()}


def _check(scenario: Scenario, source: Source) -> None:
    if not scenario.count:
        raise source.error(("nodes",), "has no nodes; write [nodes.NAME] with a count")
    if not scenario.skills:
        raise source.error(("skills",), "is missing; write [skills.NAME]")
    for name, group in scenario.nodes.items():
        for skill in (*group.serves, *((group.skill,) if group.skill else ())):
            if skill not in scenario.skills:
                path = ("nodes", name, "serves" if skill in group.serves else "skill")
                raise source.error(path, f'names "{skill}"{suggestion(skill, scenario.skills)}')
    for name, fault in scenario.faults.items():
        for group_name in fault.groups:
            if group_name not in scenario.nodes:
                raise source.error(
                    ("faults", name, "groups"), f'names "{group_name}"{suggestion(group_name, scenario.nodes)}'
                )
