"""The script of `swarmharness demo`: six real nodes on loopback, one job, one murder, one search, one reckoning.

It only starts processes, asks them through their control sockets, and prints; everything it shows was computed by them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from swarmharness.cli.options import print_json, print_table
from swarmharness.demo.corpus import load_corpus
from swarmharness.errors import SwarmError, UnavailableError
from swarmharness.execution.items import item_from_text, to_json
from swarmharness.execution.skill import Kind
from swarmharness.node.control import Control, open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from swarmharness.node.signals import run_until_told

Narrator = Callable[[str], None]

SKILL = "text-embedding"
CPU_SHARES = (1.0, 0.7, 0.4, 0.2)
"""How much of the time each worker may compute: real devices are never alike."""
QUERIES = (
    "an animal that hunts at night",
    "something to eat with cheese and tomatoes",
    "fear of something bad that may happen",
    "a person who takes care of sick people",
)
FOUND_PER_QUERY = 3
SETTLED_WITHIN_S = 30.0
HISTORY_MAX = 10_000
JOB_DEADLINE_S = 120.0
ASKING_CONFIG = """\
version = 1

[execution]
skills = []
"""
WORKER_CONFIG = """\
version = 1

[execution]
threads = 1
cpu_share = {cpu_share}
"""


@dataclass(slots=True)
class Story:
    """What happened, as `--json` reports it."""

    items: int = 0
    answered: int = 0
    seconds_to_ready: float = 0.0
    seconds_to_answer: float = 0.0
    killed: str = ""
    answered_before_kill: int = 0
    searches: list[dict[str, Any]] = field(default_factory=list)
    peers: list[dict[str, Any]] = field(default_factory=list)
    unsettled_microcredits: int = 0
    """Owed for answers that wait for a check: they are paid within seconds."""


def run(*, as_json: bool) -> None:
    """Run the demonstration; raises SwarmError if any text was left without an answer."""
    with tempfile.TemporaryDirectory(prefix="swarmharness-demo-") as base, NodeGroup() as group:
        story = run_until_told(lambda: _play(Path(base), group, as_json))
    if as_json:
        print_json({"event": "done", **{name: getattr(story, name) for name in Story.__slots__}})


async def _play(base: Path, group: NodeGroup, as_json: bool) -> Story:
    words, glosses = zip(*load_corpus(), strict=True)
    story = Story(items=len(glosses))
    say = _narrator(as_json)
    started = time.monotonic()
    client, workers = _start_swarm(base, group, say)
    story.seconds_to_ready = round(time.monotonic() - started, 2)
    names = {node.peer_id: f"worker {number}" for number, node in enumerate(workers, start=1)}
    async with open_control(client.data_dir) as control:
        await _until_known(control, len(workers))
        say(f"embedding {len(glosses)} definitions on {len(workers)} workers; worker 2 will be killed half-way")
        started = time.monotonic()
        vectors, log = await _embed_all(control, glosses, story, workers[1], say)
        story.seconds_to_answer = round(time.monotonic() - started, 2)
        say(f"all {story.answered} answered in {story.seconds_to_answer:.1f} s\n")
        story.searches = [await _search(control, query, words, glosses, vectors) for query in QUERIES]
        story.unsettled_microcredits = await _until_settled(control, killed=story.killed)
        story.peers = await _reckoning(control, names, log)
    if not as_json:
        _print_searches(story)
        _print_reckoning(story)
    return story


def _start_swarm(base: Path, group: NodeGroup, say: Narrator) -> tuple[NodeProcess, list[NodeProcess]]:
    """Start a bootstrap node, then the workers and the client side by side; returns the client and the workers."""
    say("starting a bootstrap node, four workers of uneven speed and a client, each a process of its own")
    (bootstrap,) = group.start(NodeLaunch(base / "bootstrap", config=ASKING_CONFIG))
    join = (bootstrap.join_address,)
    workers = [
        NodeLaunch(base / f"worker-{number}", join, (SKILL,), WORKER_CONFIG.format(cpu_share=cpu_share))
        for number, cpu_share in enumerate(CPU_SHARES, start=1)
    ]
    *started, client = group.start(*workers, NodeLaunch(base / "client", join, config=ASKING_CONFIG))
    return client, started


async def _until_known(control: Control, workers: int) -> None:
    """Wait until the client sees every worker with its model loaded and measured."""
    with trio.move_on_after(30):
        while True:
            try:
                explanation = await control.call("router.explain", {"skill": SKILL})
                if sum(candidate["advertised_ms"] > 0 for candidate in explanation["candidates"]) >= workers:
                    return
            except UnavailableError:
                pass
            await trio.sleep(0.05)
    raise UnavailableError("the workers did not find their way to the client within 30 s; see `swarmharness doctor`")


async def _embed_all(
    control: Control, glosses: Sequence[str], story: Story, victim: NodeProcess, say: Narrator
) -> tuple[list[list[float]], list[dict[str, Any]]]:
    """Embed every gloss, killing `victim` when half are answered; returns the vectors and every result."""
    job = await control.call("job.open", {"skill": SKILL, "deadline_s": JOB_DEADLINE_S})
    items = [item_from_text(Kind.TEXT_EMBEDDING, gloss) for gloss in glosses]
    await control.call("job.feed", {"job": job["job"], "items": items, "last": True})
    vectors: list[list[float]] = []
    results: list[dict[str, Any]] = []
    done = False
    while not done:
        answer = await control.call("job.results", {"job": job["job"]})
        done = answer["done"]
        for result in answer["results"]:
            if result["error"]:
                raise SwarmError(f"text {result['index']} was not embedded: {result['error']}")
            vectors.append(to_json(Kind.TEXT_EMBEDDING, result.pop("output")))
            results.append(result)
        story.answered = len(results)
        items_done = answer["progress"]["items_done"]
        if not story.killed and items_done >= len(glosses) // 2:
            victim.kill()
            story.killed, story.answered_before_kill = victim.peer_id, items_done
            say(f"  {items_done} done: worker 2 (pid {victim.process.pid}) killed with SIGKILL")
    return vectors, results


async def _search(
    control: Control, query: str, words: Sequence[str], glosses: Sequence[str], vectors: Sequence[Sequence[float]]
) -> dict[str, Any]:
    job = await control.call("job.open", {"skill": SKILL, "deadline_s": 30.0})
    await control.call(
        "job.feed", {"job": job["job"], "items": [item_from_text(Kind.TEXT_EMBEDDING, query)], "last": True}
    )
    results: list[dict[str, Any]] = []
    while not results:
        results = (await control.call("job.results", {"job": job["job"]}))["results"]
    if results[0]["error"]:
        raise SwarmError(f"the query was not embedded: {results[0]['error']}")
    wanted = to_json(Kind.TEXT_EMBEDDING, results[0]["output"])
    # The vectors have length one, so the dot product is the cosine of the angle.
    scored = ((sum(map(float.__mul__, wanted, vector)), index) for index, vector in enumerate(vectors))
    best = sorted(scored, reverse=True)[:FOUND_PER_QUERY]
    found = [
        {"word": words[index], "definition": glosses[index], "similarity": round(score, 3)} for score, index in best
    ]
    return {"query": query, "peer": results[0]["peer"], "found": found}


async def _receipts(control: Control) -> list[dict[str, Any]]:
    answer: dict[str, Any] = await control.call("credit.history", {"limit": HISTORY_MAX})
    return list(answer["entries"])


async def _until_settled(control: Control, *, killed: str) -> int:
    """Wait until everything that was answered is paid, and return what is not: checks take up to ten seconds."""
    owed = 0
    with trio.move_on_after(SETTLED_WITHIN_S):
        while True:
            status = await control.call("node.status", {})
            owed = status["verification"]["unsettled_microcredits"]
            if not owed and all(
                one["state"] == "receipt" or one["peer_id"] == killed for one in await _receipts(control)
            ):
                return 0
            await trio.sleep(0.1)
    return owed


async def _reckoning(control: Control, names: dict[str, str], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return who did what, from the client's own receipts and estimates.

    A peer is paid alike for the items that it answered and for those with which it checked others; they are told apart.
    """
    known = {row["peer"]: row for row in await control.call("peers.list", {})}
    spent = {row["peer_id"]: row for row in (await control.call("credit.balance", {}))["by_peer"]}
    receipts = await _receipts(control)
    rows = []
    for peer_id, name in names.items():
        times_ms = sorted(result["service_ms"] for result in results if result["peer"] == peer_id)
        paid_items = sum(receipt["items"] for receipt in receipts if receipt["peer_id"] == peer_id)
        paid = spent.get(peer_id, {}).get("spent_microcredits", 0)
        answered = min(len(times_ms), paid_items)
        rows.append(
            {
                "name": name,
                "peer": peer_id,
                "items": len(times_ms),
                "share": round(len(times_ms) / len(results), 4),
                "service_ms_median": times_ms[len(times_ms) // 2] if times_ms else None,
                "trust": next((skill["trust"] for skill in known.get(peer_id, {}).get("skills", ())), None),
                "credits_microcredits": paid * answered // paid_items if paid_items else 0,
                "checked_items": paid_items - answered,
                "checks_microcredits": paid - paid * answered // paid_items if paid_items else 0,
            }
        )
    return rows


def _narrator(as_json: bool) -> Narrator:
    """Return a function that tells a person what happens; with `--json`, on standard error."""
    return lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def _print_searches(story: Story) -> None:
    for search in story.searches:
        print(f'"{search["query"]}"')
        for found in search["found"]:
            print(f"   {found['similarity']:.2f}  {found['word']}: {found['definition']}")
    print()


def _print_reckoning(story: Story) -> None:
    columns = ("", "peer", "items", "share", "median ms", "trust", "credits", "checks", "credits for checks")
    rows = [
        (
            row["name"] + (" (killed)" if row["peer"] == story.killed else ""),
            row["peer"][-8:],
            row["items"],
            f"{row['share']:.1%}",
            "-" if row["service_ms_median"] is None else f"{row['service_ms_median']:.1f}",
            "-" if row["trust"] is None else f"{row['trust']:.2f}",
            f"{row['credits_microcredits'] / 1e6:.3f}",
            row["checked_items"],
            f"{row['checks_microcredits'] / 1e6:.3f}",
        )
        for row in story.peers
    ]
    print_table("who did what", columns, rows)
    if story.unsettled_microcredits:
        owed = story.unsettled_microcredits / 1e6
        print(f"{owed:.3f} credits more are owed for answers one of which is being checked; they are paid within 10 s")
