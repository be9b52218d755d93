"""Plays random scenarios by their numbers for hours, in several processes; what it did is in a file, so it can go on.

    python -m swarmharness.simulation.overnight [--numbers 1-500] [--jobs 2] [--state FILE] [--list]

The state is a file of JSON lines, one for each scenario that was played. A number is played once with each version of
the program; what fails is shrunk, and kept beside the state as TOML that `swarmharness simulate` plays.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import swarmharness
from swarmharness.json_text import read_json
from swarmharness.simulation.playing import kept_text, play
from swarmharness.simulation.random_scenario import random_scenario
from swarmharness.simulation.shrink import shrink, symptom
from swarmharness.simulation.version import commit

HELD = "held"
PROCESS_PLAYS = 50
"""A process is replaced after so many scenarios, so that what one leaves behind does not gather."""
PROGRESS_EVERY_S = 15.0
SHRINK_S = 120.0


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one number."""

    number: int
    program: str
    """See `program_digest`."""
    commit: str
    verdict: str
    """`held`, or the symptom of the failure."""
    text: str = ""
    at_s: float = 0.0
    processor_s: float = 0.0
    kept: str = ""
    """The file with the shrunken scenario; only the first of a symptom is shrunk."""


def program_digest() -> str:
    """Return a digest of the package's source: what was played with another one says nothing about this one."""
    folder = Path(swarmharness.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\x00" + path.read_bytes() + b"\x00")
    return digest.hexdigest()[:12]


def play_number(
    number: int, program: str, commit: str, keep: Path, shrink_s: float, known: frozenset[str] = frozenset()
) -> Played:
    """Play one number; if it fails with a symptom that is not known, shrink it and keep the result."""
    scenario = random_scenario(number)
    begun_s = time.process_time()
    violation = play(scenario, number)
    spent_s = round(time.process_time() - begun_s, 2)
    if violation is None:
        return Played(number, program, commit, HELD, processor_s=spent_s)
    verdict, text, at_s = symptom(violation), violation.text, violation.at_us / 1e6
    if verdict in known:
        return Played(number, program, commit, verdict, text, at_s, spent_s)
    shrunk = shrink(scenario, number, violation, play=play, time_max_s=shrink_s)
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{violation.invariant}-number-{number}-seed-{shrunk.seed}.toml"
    path.write_text(kept_text(shrunk, f"number {number}", commit), encoding="utf-8")
    return Played(number, program, commit, verdict, text, at_s, spent_s, str(path))


def read_state(path: Path) -> list[Played]:
    """Return what was played so far; a line that was cut off in the middle is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(Played(**read_json(line)))
        except (json.JSONDecodeError, TypeError):
            continue
    return found


def _end_the_last_line(path: Path) -> None:
    """Have the next line begin after one that was cut off."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def play_all(numbers: range, jobs: int, state: Path, shrink_s: float) -> Iterator[Played]:
    """Play the numbers that the state lacks, and yield each as it ends, when it is in the state.

    Those that broke another version of the program come first.
    """
    program, version = program_digest(), commit()
    ever = read_state(state)
    here = [played for played in ever if played.program == program]
    done, known = {played.number for played in here}, {played.verdict for played in here if played.kept}
    broke = sorted({played.number for played in ever if played.verdict != HELD and played.number in numbers} - done)
    waiting = itertools.chain(broke, (number for number in numbers if number not in done and number not in broke))
    work = partial(play_number, program=program, commit=version, keep=state.parent / "failures", shrink_s=shrink_s)
    state.parent.mkdir(parents=True, exist_ok=True)
    _end_the_last_line(state)
    spawn = multiprocessing.get_context("spawn")
    with (
        state.open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=PROCESS_PLAYS) as pool,
    ):
        under_way: set[Future[Played]] = set()
        try:
            while True:
                begun = itertools.islice(waiting, jobs - len(under_way))
                under_way.update([pool.submit(work, number, known=frozenset(known)) for number in begun])
                if not under_way:
                    return
                ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ended:
                    played = future.result()
                    file.write(json.dumps(asdict(played)) + "\n")
                    file.flush()
                    if played.kept:
                        known.add(played.verdict)
                    yield played
        finally:
            for process in multiprocessing.active_children():
                process.terminate()  # idle, unless this was stopped: then nobody waits for what it does


def summary(played: Iterable[Played], program: str) -> list[str]:
    """Return lines that say how many numbers were played, and which failed how."""
    played = list(played)
    here = {one.number: one for one in played if one.program == program}
    distinct = {one.number for one in played}
    broken = [one for one in here.values() if one.verdict != HELD]
    by_symptom: dict[str, list[int]] = {}
    for one in broken:
        by_symptom.setdefault(one.verdict, []).append(one.number)
    spent = sorted(one.processor_s for one in here.values() if one.verdict == HELD)
    lines = [f"{len(distinct)} distinct numbers were played with all versions, {len(here)} with this one"]
    if spent:
        lines.append(f"processor time of those that held: median {spent[len(spent) // 2]} s, most {spent[-1]} s")
    lines.append(f"{len(broken)} broke with this version")
    lines += [f"  {found}: {', '.join(map(str, sorted(of_it)))}" for found, of_it in sorted(by_symptom.items())]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 1 if a number that was asked for fails with this version."""
    asked = _parser().parse_args(arguments)
    say = partial(print, file=sys.stderr, flush=True)
    if not asked.list:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        begun_s = told_s = time.monotonic()
        count = broke = 0
        try:
            for one in play_all(asked.numbers, asked.jobs, asked.state, asked.shrink_s):
                count += 1
                if one.verdict != HELD:
                    broke += 1
                    say(f"number {one.number} broke after {one.at_s:g} s: {one.verdict}; {one.kept or 'known'}")
                if time.monotonic() - told_s > PROGRESS_EVERY_S:
                    told_s = time.monotonic()
                    say(f"{count} played in {told_s - begun_s:.0f} s, {broke} broke; last was {one.number}")
        except KeyboardInterrupt:
            say("stopped; the same command goes on from here")
    program = program_digest()
    state = read_state(asked.state)
    print("\n".join(summary(state, program)))
    return int(any(one.verdict != HELD and one.program == program and one.number in asked.numbers for one in state))


def _numbers(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, and no two numbers with a - between") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate-overnight", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--numbers", type=_numbers, default="1-1000000", metavar="FIRST-LAST", help="which to play (1-1000000)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many processes play (1)")
    parser.add_argument("--state", type=Path, default=Path("build/overnight/played.jsonl"), metavar="FILE")
    parser.add_argument(
        "--shrink-s", type=float, default=SHRINK_S, metavar="S", help="processor time for a failure (120)"
    )
    parser.add_argument("--list", action="store_true", help="play nothing, say what the state has")
    return parser


if __name__ == "__main__":
    sys.exit(main())
