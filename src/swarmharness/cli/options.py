"""The options that several commands share, and how a command shows its result; it never talks to a node."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from swarmharness.errors import ConfigurationError
from swarmharness.text_bytes import visible

WIDTH_PIPED = 100
WIDTH_LEAST = 40
_WIDTH_MAX = 4096

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="SWARMHARNESS_DATA_DIR",
        metavar="DIR",
        help="The node's data directory (default: $XDG_DATA_HOME/swarmharness).",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration file (default: node.toml in the data directory, if there is one).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JoinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--join",
        metavar="INVITE|MULTIADDR",
        help="A swarm to join, by an invite or by a node's address. May be repeated.",
        show_default=False,
    ),
]


def new_app(summary: str | None = None) -> typer.Typer:
    """Return a Typer app whose help is plain text, because rich is slow to import."""
    return typer.Typer(
        help=summary,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def checked(flag: str, values: Sequence[str] | None, complain: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return the values of a repeated option; raises ConfigurationError with what `complain` says about one."""
    for value in values or ():
        if problem := complain(value):
            raise ConfigurationError(f"{flag} {problem}")
    return tuple(values or ())


def print_json(value: Any) -> None:
    """Print one value as one line of JSON."""
    sys.stdout.write(json_text(value, sys.stdout.encoding) + "\n")
    sys.stdout.flush()


def json_text(value: Any, encoding: str | None) -> str:
    r"""Return a value as one line of JSON, escaped where the encoding lacks a letter or one would steer a terminal.

    A byte of a path that is no UTF-8 is the escape `\udc80` to `\udcff`, as Python has it: `os.fsencode` gives it back.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    if not text.isprintable():
        text = "".join(one if one.isprintable() or _is_byte(one) else json.dumps(one)[1:-1] for one in text)
    try:
        text.encode(encoding or "utf-8")
        return text
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), default=_plain)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table that fits the screen, numbers aligned right; long cells are folded, ids shortened if need be."""
    from rich.console import Console
    from rich.table import Table

    from swarmharness.cli.table import lay_out

    content = [list(row) for row in rows]
    width = screen_width()
    layout = lay_out(columns, [[_cell(value) for value in row] for row in content], width)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        numeric = bool(content) and all(isinstance(row[number], int | float) for row in content)
        table.add_column(
            name, justify="right" if numeric else "left", width=layout.widths[number], overflow="fold", no_wrap=False
        )
    for row in layout.rows:
        table.add_row(*row)
    console = Console(width=_WIDTH_MAX, highlight=False, markup=False)
    console.width = max(console.measure(table).maximum, len(title))
    console.print(table)
    if layout.shortened:
        print("(shortened; --json has all of it)")


def screen_width() -> int:
    """Return how many characters a line may have: $COLUMNS, else those of the terminal, else 100."""
    return max(WIDTH_LEAST, shutil.get_terminal_size((WIDTH_PIPED, 24)).columns)


def print_records(records: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings with the same keys as a table, one column a key."""
    names = list(records[0])
    print_table(
        "", [name.replace("_", " ") for name in names], [[record.get(name) for name in names] for record in records]
    )


def print_fields(fields: Mapping[str, Any], indent: str = "") -> None:
    """Print a mapping as aligned lines; nested mappings are indented, lists of mappings become tables."""
    width = max([len(one_line(name)) for name in fields], default=0)
    for name, value in fields.items():
        label = one_line(name.replace("_", " "))
        if isinstance(value, Mapping) and value:
            print(f"{indent}{label}:")
            print_fields(value, indent + "  ")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            print(f"{indent}{label}:")
            print_records(value)
        elif isinstance(value, list | tuple) and value:
            for number, item in enumerate(value):
                print(f"{indent}{label if number == 0 else '':<{width}}  {_cell(item)}")
        else:
            print(f"{indent}{label:<{width}}  {_cell(value)}")


def _cell(value: object) -> str:
    if value is None or value in ((), [], {}):
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else one_line(str(value))


def one_line(text: str) -> str:
    """Return a text, which others may have written, on one line and without what would steer a terminal."""
    return visible(" ".join(text.splitlines()))


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines for a person in which others may have written something."""
    for line in lines:
        print(one_line(line), file=file, flush=True)


def _is_byte(letter: str) -> bool:
    """Tell whether a letter stands for a byte that is no text, as Python has those of paths."""
    return "\udc80" <= letter <= "\udcff"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
