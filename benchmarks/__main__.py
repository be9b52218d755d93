"""The command `python -m benchmarks`: lists the benchmarks, runs those named, prints a table or JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from benchmarks.harness import Benchmark, Choosable, Row, discover


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 when a benchmark failed to run, never because of a figure."""
    known = discover()
    options = _parser(known).parse_args(arguments)
    if options.list:
        width = max(map(len, known), default=0)
        for name, benchmark in known.items():
            print(f"{name:{width}}  {benchmark.DESCRIPTION}")
        return 0
    names = list(known) if options.names == ["all"] else options.names
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        problem = f"no such benchmark: {', '.join(unknown)}" if unknown else "name a benchmark, or `all`"
        print(f"error: {problem} (known: {', '.join(known)})", file=sys.stderr)
        return 2
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}", file=sys.stderr)
    for name in names:
        if isinstance(benchmark := known[name], Choosable):
            benchmark.configure(options)
    failed = [name for name in names if not _run(known[name], quick=options.quick, as_json=options.json)]
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parser(known: Mapping[str, Benchmark]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run, or `all`")
    parser.add_argument("--list", action="store_true", help="print the names and what they measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a rough answer in seconds")
    for name, benchmark in known.items():
        if isinstance(benchmark, Choosable):
            benchmark.add_options(parser.add_argument_group(name))
    return parser


def _run(benchmark: Benchmark, *, quick: bool, as_json: bool) -> bool:
    print(f"{benchmark.NAME}: {benchmark.DESCRIPTION} ...", file=sys.stderr, flush=True)
    try:
        rows = benchmark.run(quick)
    except Exception:
        traceback.print_exc()
        return False
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row), allow_nan=False), flush=True)
    else:
        print("\n".join(_table(rows)), flush=True)
    return True


def _table(rows: Sequence[Row]) -> list[str]:
    cells = [[field.name for field in fields(Row)]]
    for row in rows:
        met = {True: "yes", False: "NO", None: ""}[row.met]
        cells.append([row.name, _number(row.value), row.unit, _number(row.floor), _number(row.ratio), row.goal, met])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    numbers = (1, 3, 4)
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
