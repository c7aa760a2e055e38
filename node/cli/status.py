"""`chartledger status` and `peers`: how this node and the chain are doing, at a glance and in words."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from node.cli.client import Session, connect
from node.cli.exits import ExitCode, plain
from node.cli.options import SOCKET, JsonOption, SocketOption
from node.cli.output import console, counted, emit, fact_lines, say, size, table, table_of, when, wrapping
from node.client import NotAnswered, Unreachable

REFRESH_SECONDS = 1.0
WIDE = 120
"""Columns from which `peers` shows how much went each way."""


def status(
    socket: SocketOption = SOCKET,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """How this node and the chain are doing. Exits 5 if something is wrong."""
    with connect(socket) as session:
        if watch and not as_json:
            _watch(session)
            return
        document = session.status()
    emit(document, as_json, lambda: console.print(_picture(document), soft_wrap=False))
    if not document["healthy"]:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _watch(session: Session) -> None:
    """Show the picture again and again. A node that goes away is waited for, and what it last said stays in view."""
    last = _picture(session.status())
    seen = time.time()
    with suppress(KeyboardInterrupt), Live(last, console=wrapping, auto_refresh=False, screen=True) as live:
        while True:
            live.refresh()
            time.sleep(REFRESH_SECONDS)
            try:
                last = _picture(session.status())
            except (Unreachable, NotAnswered) as error:
                words = f"{error}; trying again. As it was {ago(time.time() - seen)} ago:"
                live.update(Group(Text(plain(words), style="bold red"), "", last))
            else:
                seen = time.time()
                live.update(last)
    console.print(last, soft_wrap=False)


def _picture(document: dict[str, Any]) -> Group:
    style = "bold green" if document["healthy"] else "bold red"
    authorities = table_of(
        ["authority", "institution", "state", "since (UTC)", "last view", "leads"],
        (
            [
                one["index"],
                one["name"],
                one["state"],
                since(one["since_ms"]),
                one["last_view"],
                "*" if one["leader"] else "",
            ]
            for one in document["authorities"]
        ),
    )
    overdue = _overdue(document["emergencies"])
    return Group(
        Text(plain(document["summary"]), style=style), *overdue, "", *fact_lines(_facts(document)), "", authorities
    )


def _facts(document: dict[str, Any]) -> Iterable[tuple[str, object]]:
    finality, blobs, disk = document["finality_ms"], document["blobs"], document["disk"]
    connected = sum(peer["state"] == "connected" for peer in document["peers"])
    institution = document["institution"]
    leader = document["leader"]["institution"]
    bad = "not examined yet: run `chartledger doctor`" if blobs["bad"] is None else f"{blobs['bad']} missing or damaged"
    return (
        ("institution", f"{institution['number']}, {institution['name']} ({document['role']})"),
        ("chain", f"{document['network']}, {document['chain'][:16]}"),
        ("height", f"{document['height']}, {ago(document['head_age_s'])} old"),
        ("finality", f"p50 {ms(finality['p50'])}, p99 {ms(finality['p99'])} over {finality['count']} blocks"),
        ("epoch", f"{document['epoch']}: {document['quorum']} of {len(document['authorities'])} authorities decide"),
        ("view", f"{document['view']}, led by institution {leader}"),
        ("peers", f"{connected} of {len(document['peers'])} connected"),
        *_clock(document["clock"]),
        *_motions(document["motions"]),
        *_emergencies(document["emergencies"]),
        *_erasures(document["erasures"]),
        *(("convicted", _convicted(one)) for one in document["convicted"]),
        ("pending", f"{counted(document['pending'], 'transaction')} here, {document['outbox']} of our own not final"),
        *_refused(document["refused_by_institution"]),
        ("blobs", f"{blobs['count']}, {size(blobs['size_bytes'])}; {bad}"),
        ("copies", _copies(document["copies"])),
        ("disk", f"{size(disk['data_bytes'])} used, {size(disk['free_bytes'])} free"),
        ("version", f"{document['version']}, up since {when(document['up_since_ms'])}"),
    )


def _copies(copies: dict[str, Any]) -> str:
    own = f"{copies['lacking']} of our records lack holders" if copies["lacking"] else "all of ours have their holders"
    misfits = ", ".join(f"institution {number} ({count})" for number, count in copies["misfits"].items())
    wrong = f"; shares that did not fit: {misfits}" if misfits else ""
    return f"{own}; {copies['held']} held for others{wrong}"


def _clock(clock: dict[str, Any]) -> Iterable[tuple[str, object]]:
    """Nothing while this node's clock agrees with the others' as far as blocks need it to."""
    ahead = clock["ahead_ms"]
    if ahead is not None and abs(ahead) > clock["limit_ms"]:
        yield "clock", f"{abs(ahead) / 1_000:.1f} s {'ahead of' if ahead > 0 else 'behind'} most authorities'"


def _motions(motions: dict[str, Any]) -> Iterable[tuple[str, object]]:
    if motions["open"]:
        awaiting = ", ".join(str(number) for number in motions["awaiting"]) or "none"
        yield "motions", f"{len(motions['open'])} open; awaiting this institution's vote: {awaiting}"


def _emergencies(counts: list[dict[str, Any]]) -> Iterable[tuple[str, object]]:
    """Only those who owe something, and who was found to have had no reason."""
    for one in counts:
        if one["unreviewed"] or one["unjustified"]:
            owed = f"institution {one['institution']}: {one['unreviewed']} unreviewed, {one['overdue']} overdue"
            found = f"of {one['opened']} in all {one['late']} reviewed late, {one['unjustified']} not justified"
            yield "emergencies", f"{owed}; {found}"


def _erasures(work: dict[str, Any]) -> Iterable[tuple[str, object]]:
    """Nothing where nothing is left to do."""
    if work["records"] or work["receipts"]:
        owed = counted(work["receipts"], "erasure")
        yield "erasures", f"{owed} not answered yet, {counted(work['records'], 'record')} not deleted to the end"


def _overdue(counts: list[dict[str, Any]]) -> Iterable[Text]:
    """Said in red, whoever owes it."""
    for one in counts:
        if one["overdue"]:
            many = counted(one["overdue"], "overdue review")
            yield Text(f"institution {one['institution']} owes {many} of what it read in emergencies", style="bold red")


def _refused(counts: dict[str, int]) -> Iterable[tuple[str, object]]:
    """Who signed what the ledger refused; who merely passed it on is not counted."""
    if counts:
        listed = ", ".join(f"{count} of institution {number}" for number, count in counts.items())
        yield "refused", f"invalid transactions since the start: {listed}"


def _convicted(one: dict[str, Any]) -> str:
    return (
        f"institution {one['institution']}, of contradicting itself in view {one['view']} of epoch {one['epoch']} "
        f"(block {one['height']})"
    )


def peers(socket: SocketOption = SOCKET, as_json: JsonOption = False) -> None:
    """The connections to the other institutions' nodes."""
    with connect(socket) as session:
        found: list[dict[str, Any]] = session.client.get("/v1/peers")
        names = session.institutions()
    emit(found, as_json, lambda: _show_peers(found, names))


def _show_peers(found: list[dict[str, Any]], names: dict[int, str]) -> None:
    columns = [
        "institution",
        "address",
        "state",
        "since (UTC)",
        "height",
        "round trip",
        "clock",
        "queued",
        "dropped",
        "in",
        "out",
    ]
    shown = len(columns) if console.width >= WIDE else -2
    rows = [
        [
            f"{one['institution']}, {names.get(one['institution'], '')}",
            one["address"],
            one["state"],
            since(one.get("since_ms")),
            one.get("height"),
            ms(one.get("rtt_ms")),
            offset(one.get("clock_offset_ms")),
            size(one.get("queue_bytes", 0)),
            one.get("dropped", 0),
            size(one.get("bytes_in", 0)),
            size(one.get("bytes_out", 0)),
        ]
        for one in found
    ]
    table(columns[:shown], [row[:shown] for row in rows], "no peers")
    for one in found:
        if one.get("last_error"):
            name = names.get(one["institution"], one["institution"])
            before = ", before this connection" if one["state"] == "connected" else ""
            say(f"{name}{before}: {one['last_error']}", "dim")


def since(time_ms: int | None) -> str:
    """A time, or nothing."""
    return "" if time_ms is None else when(time_ms)


def ms(value: float | None) -> str:
    """A duration that may not be known yet."""
    return "-" if value is None else f"{value:.0f} ms"


def offset(ahead_ms: int | None) -> str:
    """How far another clock is ahead of this node's, which may not be known yet."""
    return "-" if ahead_ms is None else f"{ahead_ms / 1_000:+.1f} s"


def ago(seconds: float) -> str:
    """A duration for people."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
