"""Why a record gets its labels: each sensitivity with the rules that gave it, and the elements where they apply.

For integrators who try a feed before it is live. A reason names rules and places and never quotes what the record says.
Relies on `node.records.fhir` for the labels themselves, so what is explained is what a node with the same settings
would write.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from node.records import sensitivity_text as reading
from node.records.errors import BadBundle, RecordsError
from node.records.fhir import FHIR_JSON, Described, Found, bundle_slices, charset, look
from node.records.labelling import Labelling
from node.records.sensitivity import Hit, spellings
from node.records.sensitivity_codes import UNEXAMINED
from protocol.crypto.tags import NONE, Labels

RULES: Final = 50
"""So many rules are counted in a summary, the most frequent first."""
PLACES: Final = 3
"""Of each reason, so many places are named; the rest is counted."""
ELEMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""Names of FHIR's elements; any other name may say something of a patient."""

Leaf = tuple[str, str]
"""Where a string stands, and the string."""


class Reason(Struct, frozen=True):
    """Why a record bears a sensitivity. `kind`: label, code, prefix, block, word or unread; `rule` as it is written,
    `source` where: built in, a line of the institution's table, or the sender. `more`: further places, not named."""

    sensitivity: str
    kind: str
    rule: str
    source: str
    places: list[str]
    more: int = 0


class Explained(Struct, frozen=True):
    """One record: its position in a Bundle that is split (None if it is none), its labels as they would be written, all
    sensitivities (of more than two, labels keep one), and why. `refused`: the node would not take it, and why."""

    entry: int | None
    category: str
    year: str
    labels: list[str]
    sensitivities: list[str]
    reasons: list[Reason]
    unread: list[str]
    refused: str | None = None


class Summary(Struct, frozen=True):
    """Counts over many records."""

    records: int
    marked: int
    unexamined: int
    refused: int
    by_category: dict[str, int]
    by_sensitivity: dict[str, int]
    by_both: dict[str, dict[str, int]]
    by_rule: dict[str, int]


def explain(
    data: bytes, media_type: str, by: Labelling, stated: Described | None = None, *, split: bool = True
) -> Iterator[Explained]:
    """One for each record that would come of a file: the resources of a Bundle if it is to be split, else the file."""
    sender = stated or Described()
    if split and media_type == FHIR_JSON:
        try:
            slices = bundle_slices(data)
        except BadBundle:
            slices = []  # no Bundle, or none that can be split: what is wrong with it is told below
        if slices:
            for number, one in enumerate(slices):
                yield _explained(number, one, media_type, by, sender)
            return
    yield _explained(None, data, media_type, by, sender)


def _explained(entry: int | None, data: bytes, media_type: str, by: Labelling, stated: Described) -> Explained:
    try:
        plain = stated.plain(data, media_type, by)
        found = look(data, media_type, by.marker)
    except RecordsError as error:
        return Explained(entry, NONE, NONE, [], [], [], [], f"{error} [{error.code}]")
    marks = stated.marks(found, by) | set(stated.sensitivities or ()) - {NONE}
    labels: Labels = plain.labels
    return Explained(
        entry,
        labels.category,
        labels.year,
        [one for one in (labels.sensitivity_1, labels.sensitivity_2) if one != NONE],
        sorted(marks),
        list(_reasons(data, media_type, by, found, stated, marks)),
        list(found.unread),
    )


def _reasons(
    data: bytes, media_type: str, by: Labelling, found: Found, stated: Described, marks: set[str]
) -> Iterator[Reason]:
    for code in sorted(set(stated.sensitivities or ()) - {NONE}):
        yield Reason(code, "label", code, "the sender", [])
    for code in sorted(found.labelled):
        yield Reason(code, "label", f"v3-ActCode|{code}", "the sender", _first(_labels_at(data, code)))
    if UNEXAMINED in marks and found.unread:
        for what in sorted(set(found.unread)):
            yield Reason(UNEXAMINED, "unread", what, "built in", [])
    if not found.sensitivities:
        return
    is_json = found.category is not None or media_type.partition(";")[0].strip().lower().endswith("json")
    text = reading.decoded(data, "utf-8" if is_json else charset(media_type)) or ""
    leaves = list(_leaves_of(text) if is_json else _lines_of(text))
    for hit in sorted(by.marker.hits(text, is_json=is_json), key=lambda one: (one.rule.label, one.rule.name)):
        rule = hit.rule
        places = list(dict.fromkeys(_places(hit, leaves, text if is_json else "")))
        name = f"{rule.system}|{rule.name}" if rule.system else f"{rule.name} {hit.block}".strip()
        yield Reason(rule.label, rule.kind, name, rule.source, places[:PLACES], max(0, len(places) - PLACES))


def _first(places: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(places))[:PLACES]


def _places(hit: Hit, leaves: list[Leaf], text: str) -> Iterator[str]:
    rule = hit.rule
    if rule.kind == "word":
        sought = {spelling for word in rule.name.split("+") for spelling in _patterns(word)}
        for where, said in leaves:
            words = reading.words_of(reading.fold(reading.readable(said)))
            if any(_among(spelling, words) for spelling in sought):
                yield where
    elif rule.system and text:
        yield from _codings_at(text, rule.system, rule.name, rule.kind == "prefix")
    else:
        for where, said in leaves:
            attached = where.endswith(".data") or len(said) > reading.RUN_LETTERS
            strings = {said} if text and not attached else {said} | reading.tokens_of(said)
            if rule.system and rule.name in said:  # in text: as JSON, it was told above
                applies = True
            elif rule.kind == "code":
                applies = rule.name in strings
            else:
                applies = any(one.startswith(hit.block or rule.name) for one in strings)
            if applies:
                yield where


def _patterns(word: str) -> set[str]:
    star = "*" if word.endswith("*") else ""
    return {one + star for one in spellings(word.removesuffix("*"))}


def _among(spelling: str, words: set[str]) -> bool:
    if spelling.endswith("*"):
        return any(word.startswith(spelling[:-1]) for word in words)
    return spelling in words


# --- where things stand ----------------------------------------------------------------------------------------------


def _walk(text: str) -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document with its place, as FHIRPath writes it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    waiting: list[tuple[str, Any]] = [
        (_name(document.get("resourceType")) if isinstance(document, dict) else "", document)
    ]
    while waiting:
        where, value = waiting.pop()
        yield where, value
        if isinstance(value, dict):
            inner = [(f"{where}.{_name(name)}".lstrip("."), one) for name, one in value.items()]
        elif isinstance(value, list):
            inner = [(f"{where}[{n}]", one) for n, one in enumerate(value)]
        else:
            inner = []
        waiting.extend(reversed(inner))


def _name(name: object) -> str:
    return name if isinstance(name, str) and ELEMENT.fullmatch(name) else "?"


def _leaves_of(text: str) -> Iterator[Leaf]:
    """Strings, members' names, and what is attached as text."""
    for where, value in _walk(text):
        if isinstance(value, str):
            yield where, value
            if where.endswith(".data"):
                for said in reading.attachments(f'"data":"{value}"')[0]:
                    yield where, said
                    yield from ((where, inner) for inner in reading.embedded(said)[0])
            else:
                yield from ((where, said) for said in reading.embedded(value)[0])
        elif isinstance(value, dict):
            for name in value:
                yield where, name


def _lines_of(text: str) -> Iterator[Leaf]:
    for number, line in enumerate(text.split("\n"), 1):
        yield f"line {number}", line
        yield from ((f"line {number}", said) for said in reading.embedded(line)[0])


def _codings_at(text: str, system: str, name: str, begins: bool) -> Iterator[str]:
    for where, value in _walk(text):
        if not isinstance(value, dict) or value.get("system") != system:
            continue
        code = value.get("code")
        if isinstance(code, str) and (code == name or (begins and code.startswith(name))):
            yield where


def _labels_at(data: bytes, code: str) -> Iterator[str]:
    for where, value in _walk(data.decode("utf-8", "replace")):
        if isinstance(value, dict) and value.get("code") == code and ".security" in f".{where}":
            yield where


def summary(explained: Iterable[Explained]) -> Summary:
    """Counts over what was explained."""
    category: Counter[str] = Counter()
    sensitivity: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    both: dict[str, Counter[str]] = {}
    records = marked = refused = 0
    for one in explained:
        records += 1
        if one.refused:
            refused += 1
            continue
        marked += bool(one.sensitivities)
        category[one.category] += 1
        sensitivity.update(one.sensitivities)
        both.setdefault(one.category, Counter()).update(one.sensitivities or [NONE])
        rules.update({f"{reason.sensitivity} {reason.kind} {reason.rule}" for reason in one.reasons})
    return Summary(
        records,
        marked,
        sensitivity[UNEXAMINED],
        refused,
        dict(category.most_common()),
        dict(sensitivity.most_common()),
        {name: dict(counts.most_common()) for name, counts in sorted(both.items())},
        dict(rules.most_common(RULES)),
    )
