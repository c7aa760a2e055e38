"""`chartledger labels`: which labels there are, why a record gets them, and whether a table of an institution is right.

Offline: no node is asked. Nothing that a record says is printed, only rules and places.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import to_builtins

from node.cli.exits import BadArgument, ExitCode
from node.cli.options import JsonOption
from node.cli.output import counted, emit, progress, say, table, warn
from node.cli.record import guess_type
from node.config import load_config
from node.records.explaining import Explained, Reason, explain, summary
from node.records.fhir import Described
from node.records.labelling import Labelling, Unexamined, labelling
from node.records.sensitivity import Rule
from node.records.sensitivity_table import parse_table

app = typer.Typer(no_args_is_help=True)
ConfigFileOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="CHARTLEDGER_CONFIG", help="Label as the node with these settings does."),
]
TableOption = Annotated[Path | None, typer.Option("--table", help="The institution's own table, instead.")]
UnexaminedOption = Annotated[
    str | None, typer.Option("--unexamined", help="What cannot be looked into: mark or plain, instead.")
]
FILE_BYTES = 64 * 1024 * 1024
"""A larger file is nothing that a node would look into."""


@app.command("explain")
def explain_files(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files: FHIR, text, PDF, anything.")],
    *,
    config: ConfigFileOption = None,
    own_table: TableOption = None,
    unexamined: UnexaminedOption = None,
    whole: Annotated[bool, typer.Option("--whole", help="A FHIR Bundle is one record.")] = False,
    media_type: Annotated[
        str | None, typer.Option("--media-type", help="How the files are to be read. Default: told from their names.")
    ] = None,
    sensitivity: Annotated[
        list[str] | None, typer.Option("--sensitivity", help='As the sender states it, or "none"; repeatable.')
    ] = None,
    counts: Annotated[bool, typer.Option("--summary", help="Counts alone, no list of records.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List records without marks, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Which category and sensitivities records would get, and because of which element and rule. Sends nothing."""
    by = _labelling(config, own_table, unexamined)
    stated = Described(sensitivities=tuple(sensitivity) if sensitivity else None)
    by.check(None, stated.sensitivities or ())
    files = list(_files(paths))
    done: list[tuple[Path, Explained]] = []
    with progress("explaining", len(files), quiet=as_json) as step:
        for file in files:
            if file.stat().st_size > FILE_BYTES:
                raise BadArgument(f"{file} is larger than {FILE_BYTES >> 20} MiB, which no node looks into")
            kind = media_type or guess_type(file)
            done += [(file, one) for one in explain(file.read_bytes(), kind, by, stated, split=not whole)]
            step(1)
    total = summary(one for _, one in done)
    document: dict[str, Any] = {"summary": to_builtins(total)}
    if not counts:
        document["records"] = [{"file": str(file)} | to_builtins(one) for file, one in done]

    def render() -> None:
        for file, one in [] if counts else done:
            _say_record(file, one, everything)
        rows = [(name, count, _counts(total.by_both[name])) for name, count in total.by_category.items()]
        table(["category", "records", "sensitivities"], rows, "no records")
        say(
            f"{counted(total.records, 'record')}, {total.marked} of them marked: {_counts(total.by_sensitivity)}",
            "bold",
        )
        for rule, count in list(total.by_rule.items())[: 10 if counts else 0]:
            say(f"  {count:>6}  {rule}")
        if total.refused:
            warn(f"{counted(total.refused, 'record')} would be refused")

    emit(document, as_json, render)
    if total.refused:
        raise typer.Exit(ExitCode.PARTLY)


def _say_record(file: Path, one: Explained, everything: bool) -> None:
    place = f"{file}" if one.entry is None else f"{file} entry {one.entry}"
    if one.refused:
        warn(f"{place}: refused: {one.refused}")
    elif one.sensitivities or everything:
        say(f"{place}: {one.category}, {one.year}: {', '.join(one.sensitivities) or 'not marked'}", "bold")
        for reason in one.reasons:
            say(f"    {reason.sensitivity:<10} {_because(reason)}")
        for what in one.unread:
            say(f"    not looked into: {what}")


def _because(reason: Reason) -> str:
    where = ", ".join(reason.places) + (f" and {reason.more} more" if reason.more else "")
    rule = reason.rule if reason.kind in ("label", "unread") else f"{reason.kind} {reason.rule} ({reason.source})"
    return f"{where}: {rule}" if where else rule


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The table.", exists=True, dir_okay=False)], as_json: JsonOption = False
) -> None:
    """Whether a table of sensitivities can be used; tells every wrong line. Exits 5 if there is one."""
    found, wrong = parse_table(file.read_bytes())
    document = {
        "file": str(file),
        "digest": found.digest,
        "rules": len(found.rules),
        "taken_away": len(found.taken_away),
        "sensitivities": found.sensitivities,
        "categories": found.categories,
        "wrong": to_builtins(wrong),
    }

    def render() -> None:
        for one in wrong:
            warn(f"{file}, line {one.line}: {one.sentence}" if one.line else f"{file}: {one.sentence}")
        own = [*found.sensitivities, *found.categories]
        say(f"{counted(len(found.rules), 'rule')}; labels of its own: {', '.join(own) or 'none'}")
        if found.taken_away:
            warn(f"{counted(len(found.taken_away), 'line')} of it take built-in rules away:")
            for rule in found.taken_away:
                warn(f"    {rule.source}: {rule.label} {rule.kind} {rule.name}")
        say("the table can be used" if not wrong else f"{counted(len(wrong), 'line')} wrong: a node would not start")

    emit(document, as_json, render)
    if wrong:
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command("list")
def list_labels(
    *,
    config: ConfigFileOption = None,
    own_table: TableOption = None,
    rules: Annotated[bool, typer.Option("--rules", help="The rules by which they are given, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The sensitivities that there are and what they mean, and the categories besides FHIR's resource types."""
    by = _labelling(config, own_table, None)
    known, listed = by.sensitivities(), [_rule_row(rule) for rule in by.marker.rules] if rules else []
    document: dict[str, Any] = {"sensitivities": known, "categories": by.table.categories}
    if rules:
        document["rules"] = [dict(zip(("sensitivity", "kind", "rule", "source"), row, strict=True)) for row in listed]

    def render() -> None:
        table(["sensitivity", "what it means"], list(known.items()))
        table(["category of our own", "what it means"], list(by.table.categories.items()), "no categories of our own")
        if rules:
            table(["sensitivity", "kind", "rule", "source"], sorted(listed))

    emit(document, as_json, render)


def _rule_row(rule: Rule) -> tuple[str, str, str, str]:
    name = rule.name.replace("+", " ")
    return rule.label, rule.kind, f"{rule.system}|{name}" if rule.system else name, rule.source


def _labelling(config: Path | None, own_table: Path | None, unexamined: str | None) -> Labelling:
    settings = None if config is None else load_config(config)
    if unexamined not in (None, "mark", "plain"):
        raise BadArgument(f"{unexamined!r} is neither mark nor plain")
    wish: Unexamined = "plain" if unexamined == "plain" else "mark"
    if unexamined is None and settings is not None:
        wish = settings.unexamined
    return labelling(own_table or (None if settings is None else settings.sensitivity_table), wish)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        elif path.is_file():
            yield path
        else:
            raise BadArgument(f"there is no file {path}")
