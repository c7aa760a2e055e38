"""What commands print: JSON for programs, tables and sentences for people, progress on standard error.

Text that came from the ledger is never interpreted: markup is off and control characters are shown as escapes, since
an institution's name or a label could otherwise repaint the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from node.cli.exits import plain

PIPED = 1_000
"""Columns for who reads our output without a terminal and without COLUMNS: a row of a table then stays one line."""
SENTENCE = 24
"""A column of sentences is not made narrower than this."""
LAST_MS = 253_402_300_800_000
"""The first instant of the year 10000."""
GAP = 2
"""What a table puts between columns."""


class _Console(Console):
    """rich ends a command with 1 when whoever reads its output has left; that is no refusal, `exits` says."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = _Console(
    markup=False,
    highlight=False,
    emoji=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED,
)
wrapping = _Console(markup=False, highlight=False, emoji=False)
"""For a live picture: `Live` prints by its console's own habit, and `console` would cut long lines there."""
_errors = _Console(stderr=True, markup=False, highlight=False, emoji=False)


def emit(document: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Print `document` as JSON, or let `render` print it for people."""
    if as_json:
        print_json(document)
    else:
        render()


def print_json(document: Any) -> None:
    """Print JSON, indented."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """Print one line for people."""
    console.print(Text(plain(text), style=style))


def prose(*lines: str, style: str = "", indent: int = 0) -> None:
    """Print sentences, broken between words. What is to be copied goes through `say`, which breaks nothing."""
    for line in lines:
        console.print(Padding(Text(plain(line), style=style), (0, 0, 0, indent), expand=False), soft_wrap=False)


def warn(text: str) -> None:
    """Print one line on standard error."""
    _errors.print(Text(plain(text), style="yellow"), soft_wrap=True)


def tell(text: str) -> None:
    """Print one line on standard error, if that is a terminal: what somebody who watches may want to know."""
    if _errors.is_terminal:
        warn(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "none") -> None:
    """Print a table, or `empty` if there are no rows."""
    listed = list(rows)
    if not listed:
        say(empty, "dim")
    else:
        console.print(table_of(columns, listed), soft_wrap=False)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> RenderableType:
    """A table to be printed. Where the terminal is too narrow to keep its words whole, each row is a block of lines."""
    cells = [[plain(_cell(value)) for value in row] for row in rows]
    widths = _widths(list(zip(columns, *cells, strict=True)), console.width)
    if widths is None:
        blocks = (fact_lines(pair for pair in zip(columns, row, strict=True) if pair[1]) for row in cells)
        return Group(*(Padding(Group(*lines), (0, 0, 1, 0)) for lines in blocks))
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for name, width in zip(columns, widths, strict=True):
        grid.add_column(name, width=width, overflow="fold")
    for row in cells:
        grid.add_row(*map(Text, row))
    return grid


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """How wide each column becomes in `room`, from its cells: no word is cut and no sentence squeezed, or None."""
    widths = [max(map(cell_len, column)) for column in columns]
    least = [
        max(min(width, SENTENCE) if width > 2 * SENTENCE else 0, *(cell_len(word) for word in " ".join(column).split()))
        for column, width in zip(columns, widths, strict=True)
    ]
    room -= GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda n: widths[n] - least[n])
        widths[widest] -= 1
    return widths


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values under one another."""
    for line in fact_lines(pairs):
        console.print(line)


def fact_lines(pairs: Iterable[tuple[str, object]]) -> list[Text]:
    """Names and values, to be printed under one another."""
    listed = [(name, plain(_cell(value))) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    return [Text(f"{name:<{width}}  ", style="dim") + Text(value) for name, value in listed]


@contextmanager
def progress(label: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; yields what to call with each step's size. Silent without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, disable=quiet or not _errors.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.advance(task, step)


@contextmanager
def spinner(label: str, quiet: bool = False) -> Iterator[Callable[[str, int], None]]:
    """For work whose size is not known: yields what to call with a word and how much of it is done."""
    if quiet or not _errors.is_terminal:
        yield lambda _what, _done: None
        return
    with _errors.status(label) as shown:
        yield lambda what, done: shown.update(f"{label}: {what} {done}")


def when(time_ms: int | None) -> str:
    """A time for people, in UTC. The ledger takes times that no calendar here knows; they are words."""
    if time_ms is None:
        return "-"
    if time_ms >= LAST_MS:
        return "after the year 9999"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def numbers(listed: Sequence[int]) -> str:
    """Ascending numbers for people: "1-400, 402"."""
    runs: list[list[int]] = []
    for one in listed:
        if runs and one == runs[-1][-1] + 1:
            runs[-1][1:] = [one]
        else:
            runs.append([one])
    return ", ".join("-".join(map(str, run)) for run in runs)


def counted(number: int, what: str) -> str:
    """A number of things for people: "1 record", "2 records"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(one) for one in value)
    return str(value)
