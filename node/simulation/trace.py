"""What a history kept of its end, made readable: things in words, each once with all the nodes that it happened to.

Relies on how `history.EventLog.tail` writes a line: a time, a node, and what happened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from protocol.types.block import Block
from protocol.types.votes import FINALIZE, NOTARIZE, Body, Certificate, Fetch, Proposal, Vote, VoteSubject

VIEWS = 3
LINES = 150
MENTIONS = 3
"""A view that fewer lines speak of may be a traitor's invention."""

_LINE = re.compile(r"^ *([\d,.]+) ms +node (\d+) +(.*)$")
_SERIAL = re.compile(r"#\d+ ")
_VIEW = re.compile(r"\b(?:notarize|nullify|finalize) (\d+)/(\d+)\b")
_NUMBERS = re.compile(r"\b\d+(?:,\d+){2,}")


class Event(Struct):
    """One line: what happened when, and at which nodes."""

    time: str
    what: str
    nodes: list[int]

    @property
    def views(self) -> list[tuple[int, int]]:
        """The (epoch, view) that votes in it are of."""
        return [(int(epoch), int(view)) for epoch, view in _VIEW.findall(self.what)]


def last_views(tail: Sequence[str], views: int = VIEWS, lines: int = LINES) -> tuple[str, ...]:
    """The lines from where the last `views` views begin, at most the last so many."""
    events = _merged(tail)
    mentions = Counter(view for event in events for view in set(event.views))
    newest = sorted(view for view, count in mentions.items() if count >= MENTIONS)[-views:]
    start = 0
    if newest:
        start = next(index for index, event in enumerate(events) if any(view >= newest[0] for view in event.views))
    kept = events[start:][-lines:]
    width = max((len(_nodes(event.nodes)) for event in kept), default=0)
    return tuple(f"{event.time:>12} ms  {_nodes(event.nodes):<{width}}  {_shortened(event.what)}" for event in kept)


def _merged(tail: Sequence[str]) -> list[Event]:
    """What happened at several nodes at once is one event."""
    found: dict[tuple[str, str], Event] = {}
    for line in tail:
        read = _LINE.match(line)
        if read is None:
            found[line, str(len(found))] = Event("", line.strip(), [])
            continue
        time, node, what = read[1], int(read[2]), _SERIAL.sub("", read[3])
        event = found.setdefault((time, what), Event(time, what, []))
        if node not in event.nodes:
            event.nodes.append(node)
    return list(found.values())


def _nodes(nodes: Iterable[int]) -> str:
    listed = ranges(nodes)
    return f"node{'s' if ',' in listed or '-' in listed else ''} {listed}" if listed else ""


def _shortened(what: str) -> str:
    return _NUMBERS.sub(lambda found: ranges(int(number) for number in found[0].split(",")), what)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as ranges: "0-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


# --- words -------------------------------------------------------------------------------------------------------

_KINDS = {NOTARIZE: "notarize", FINALIZE: "finalize"}
DIGEST_SHOWN = 6


def in_words(thing: Any) -> str:
    """A message, vote, block, event or effect in a few words."""
    return _WORDS.get(type(thing), _named)(thing)


def _certificate(certificate: Certificate) -> str:
    signers = ",".join(str(index) for index, _ in certificate.signatures)
    return f"certificate of {_subject(certificate.subject)}, by {signers}"


def _named(thing: Any) -> str:
    if not isinstance(thing, Struct):
        return str(thing)
    fields = " ".join(f"{name}={_plain(value)}" for name, value in asdict(thing).items())
    return f"{type(thing).__name__} {fields}".rstrip()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:DIGEST_SHOWN]
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        return "[" + " ".join(_plain(one) for one in value) + "]"
    return f"({in_words(value)})" if isinstance(value, Struct) else str(value)


def _subject(subject: VoteSubject) -> str:
    kind = _KINDS.get(subject.kind, "nullify")
    parent = f" on view {subject.parent_view}" if subject.kind == NOTARIZE else ""
    block = f" {subject.block.hex()[:DIGEST_SHOWN]}" if subject.kind in _KINDS else ""
    return f"{kind} {subject.epoch}/{subject.view}{block}{parent}"


def _block(block: Block) -> str:
    header = block.header
    end = ", which ends its epoch" if header.ends_epoch else ""
    return f"height {header.height} ({len(block.transactions)} transactions{end})"


_WORDS: dict[type, Callable[[Any], str]] = {
    Proposal: lambda one: f"proposal of {_block(one.block)}, {in_words(one.vote)}",
    Vote: lambda one: f"{_subject(one.subject)}, by {one.index}",
    Certificate: _certificate,
    Fetch: lambda one: f"request for views {one.first} to {one.last} of epoch {one.epoch}, bodies {_plain(one.blocks)}",
    Body: lambda one: f"body of {_block(one.block)}",
    Block: _block,
}
