"""An institution's own table: what its codes and words mean, read from a text file and checked line by line.

One rule a line, blank lines and lines that begin with # aside (docs/operators.md says how to write it)::

    define   ONC  what concerns a cancer
    category Letter  letters of our departments
    mark     MH   code    urn:oid:1.2.40.0.34.5.16|PSY-017
    mark     MH   prefix  http://fhir.de/CodeSystem/bfarm/ops|9-6
    mark     SUD  range   http://fhir.de/CodeSystem/bfarm/icd-10-gm|F10-F19
    mark     PSY  system  urn:st-anna:psychiatry
    mark     SDV  word    de  häuslich* gewalt
    unmark   SEX  block   Z30

Rules add to the built-in ones. Only `unmark` takes one of those away, named as it stands there. Whatever is not exactly
so is refused with its line: a rule that silently does nothing would leave records open. Reads one file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

from node.records import sensitivity_text as reading
from node.records.fhir_types import RESOURCE_TYPES
from node.records.sensitivity import STEM_LETTERS, Marker, Rule, built_in
from node.records.sensitivity_codes import CLASSIFICATIONS, DISPLAYS, UNEXAMINED
from node.records.sensitivity_words import ANY
from protocol.crypto.tags import NONE, SEVERAL
from protocol.errors import ChartledgerError

TABLE_BYTES: Final = 8 * 1024 * 1024
TABLE_LINES: Final = 100_000
LINE_LETTERS: Final = 1_000
RANGE_BLOCKS: Final = 1_000
"""A range spans at most so many blocks."""
WRONG_LINES_NAMED: Final = 20
WORD_LETTERS: Final = 3
WORDS_TOGETHER: Final = 4
ADVICE: Final = "docs/operators.md says how to write the table; `chartledger labels check FILE` tells every wrong line."

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_-]{1,31}")
_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9_-]{1,47}")
_SYSTEM: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s|]{1,500}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_BLOCK: Final = re.compile(r"([A-Z]?)(\d{2,3})(?:\.(\d{1,2}))?")
_EVERYWHERE: Final = reading.words_of(
    "resource resourcetype coding system code display value text status subject reference div xmlns http https www hl7 "
    "fhir org identifier patient encounter meta profile generated terminology codesystem structuredefinition fullurl"
)
"""Words of nearly every FHIR resource."""


class SensitivityTableInvalid(ChartledgerError):
    """The institution's table of sensitivities cannot be used."""

    advice = ADVICE


class Wrong(Struct, frozen=True):
    """What is wrong in one line (from 1); 0 for the file as a whole."""

    line: int
    sentence: str


class _Refused(Exception):
    """One line's fault."""


class Table(Struct, frozen=True):
    """A table that was read: its rules, what it takes away of the built-in ones, and the labels of its own, each with
    what they mean. `digest` tells one file from another."""

    rules: tuple[Rule, ...] = ()
    taken_away: tuple[Rule, ...] = ()
    sensitivities: dict[str, str] = {}
    categories: dict[str, str] = {}
    digest: str = ""

    def marker(self) -> Marker:
        """The built-in rules with these."""
        away = {(rule.label, rule.kind, rule.name) for rule in self.taken_away}
        kept = [rule for rule in built_in() if (rule.label, rule.kind, rule.name) not in away]
        blocks = [(rule.label, rule.name) for rule in self.taken_away if rule.kind == "block"]
        scripts = reading.scripts_of("".join(rule.name for rule in self.rules if rule.kind == "word"))
        return Marker([*kept, *self.rules], blocks, scripts)


def load_table(file: Path) -> Table:
    """The table in a file. Raises `SensitivityTableInvalid`, which names the file and the lines that are wrong."""
    try:
        if file.stat().st_mode & 0o002:
            raise SensitivityTableInvalid(f"{file} can be written by every user", advice=f"Run `chmod o-w {file}`.")
        with file.open("rb") as opened:
            raw = opened.read(TABLE_BYTES + 1)
    except OSError as error:
        raise SensitivityTableInvalid(
            f"cannot read the table of sensitivities {file}: {error.strerror}",
            advice="Correct `sensitivity_table` in the configuration, or the file's mode.",
        ) from None
    table, wrong = parse_table(raw)
    if wrong:
        where = f"{file}, line {wrong[0].line}" if wrong[0].line else str(file)
        also = [str(one.line) for one in wrong[1:WRONG_LINES_NAMED]]
        more = "" if not also else f" (wrong, too: line {', '.join(also)}{'…' if len(wrong) > 1 + len(also) else ''})"
        raise SensitivityTableInvalid(f"{where}: {wrong[0].sentence}{more}")
    return table


def parse_table(raw: bytes) -> tuple[Table, list[Wrong]]:
    """The table that these bytes are, and what is wrong with them, by line. Never raises, whatever they are."""
    if len(raw) > TABLE_BYTES:
        return Table(), [Wrong(0, f"it is larger than {TABLE_BYTES} bytes")]
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        return Table(), [Wrong(raw[: error.start].count(b"\n") + 1, "it is not UTF-8: save the file in that encoding")]
    if len(lines) > TABLE_LINES:
        return Table(), [Wrong(0, f"it has more than {TABLE_LINES} lines")]
    return _Parser(lines).table(blake2b(raw, digest_size=8).hexdigest())


class _Parser:
    """Takes lines one after another: first those that define labels, wherever they stand, then the rules."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        self._seen: dict[tuple[str, ...], int] = {}
        self._rules: list[Rule] = []
        self._away: list[Rule] = []
        self._built_in = {(rule.label, rule.kind, rule.name) for rule in built_in()}
        self._built_in_words = {
            (label, frozenset(name.split("+"))): name for label, kind, name in self._built_in if kind == "word"
        }
        self._sensitivities: dict[str, str] = {}
        self._categories: dict[str, str] = {}

    def table(self, digest: str) -> tuple[Table, list[Wrong]]:
        verbs = {"define": self._define, "category": self._category, "mark": self._mark, "unmark": self._unmark}
        wrong, later = [], []
        for number, line in self._lines:
            if not line or line.startswith("#"):
                continue
            verb = line.split()[0]
            if verb in ("mark", "unmark"):
                later.append((number, line))
                continue
            wrong += self._take(number, line, verbs.get(verb))
        for number, line in later:
            wrong += self._take(number, line, verbs[line.split()[0]])
        found = Table(tuple(self._rules), tuple(self._away), self._sensitivities, self._categories, digest)
        return found, sorted(wrong, key=lambda one: one.line)

    def _take(self, number: int, line: str, verb: Callable[[int, list[str]], None] | None) -> list[Wrong]:
        if verb is None:
            return [Wrong(number, "it begins with none of define, category, mark, unmark")]
        if len(line) > LINE_LETTERS:
            return [Wrong(number, f"it is longer than {LINE_LETTERS} characters")]
        if not line.replace("\t", " ").isprintable():
            return [Wrong(number, "it holds a character that is not to be seen")]
        try:
            verb(number, line.split()[1:])
        except _Refused as error:
            return [Wrong(number, str(error))]
        return []

    def _once(self, number: int, *said: str) -> None:
        if said in self._seen:
            raise _Refused(f"it repeats line {self._seen[said]}")
        self._seen[said] = number

    # --- the verbs ---------------------------------------------------------------------------------------------------

    def _define(self, number: int, fields: list[str]) -> None:
        code, meaning = _named(fields, "define CODE what it means")
        if not _CODE.fullmatch(code):
            raise _Refused("a sensitivity's code is 2 to 32 capitals, digits, - and _, and begins with a capital")
        if code in DISPLAYS:
            raise _Refused(f"{code} is HL7's own, and means: {DISPLAYS[code]}")
        self._once(number, "define", code)
        self._sensitivities[code] = meaning

    def _category(self, number: int, fields: list[str]) -> None:
        name, meaning = _named(fields, "category NAME what it means")
        if not _NAME.fullmatch(name):
            raise _Refused("a category's name is 2 to 48 letters, digits, - and _, and begins with a capital")
        if name in RESOURCE_TYPES:
            raise _Refused(f"{name} is a resource type of FHIR, which is known already")
        self._once(number, "category", name)
        self._categories[name] = meaning

    def _mark(self, number: int, fields: list[str]) -> None:
        label, kind, rest = self._rule(fields, "mark SENSITIVITY code|prefix|range|system|word ...")
        source = f"line {number}"
        if kind == "word":
            rule = Rule(label, "word", _words(rest), source)
            self._once(number, "word", label, *rule.name.split("+"))
            self._rules.append(rule)
            return
        if kind not in ("code", "prefix", "range", "system"):
            raise _Refused(f"{kind!r} is none of code, prefix, range, system, word")
        system, bar, code = " ".join(rest).partition("|")
        if not _SYSTEM.fullmatch(system):
            raise _Refused("the system is missing or no URI; write SYSTEM|CODE, as in http://loinc.org|44261-6")
        if (kind == "system") is not (code == "") or (kind == "system" and bar):
            raise _Refused("nothing stands behind the |" if kind != "system" else "a whole system is named without |")
        self._once(number, "mark", label, kind, system, code)
        names = _range(code) if kind == "range" else [code]
        self._rules += [Rule(label, "code" if kind == "code" else "prefix", one, source, system) for one in names]

    def _unmark(self, number: int, fields: list[str]) -> None:
        label, kind, rest = self._rule(fields, "unmark SENSITIVITY code|block|word ...")
        source = f"line {number}"
        if kind == "block":
            name = " ".join(rest)
            known = any(one == label and found.match(name) for c in CLASSIFICATIONS for found, one in c.blocks)
            rule = Rule(label, "block", name, source)
        elif kind == "code":
            name = " ".join(rest)
            rule = Rule(label, "code", name, source)
            known = (label, "code", name) in self._built_in
        elif kind == "word":
            known = (label, frozenset(rest)) in self._built_in_words
            name = self._built_in_words.get((label, frozenset(rest)), "")
            rule = Rule(label, "word", name, source)
        else:
            raise _Refused(f"{kind!r} is none of code, block, word")
        if not known:
            raise _Refused(
                f"no built-in rule is so: {label} {kind} {' '.join(rest)}; `chartledger labels list --rules`"
            )
        if kind == "word":
            self._once(number, "word", label, *sorted({one.lower() for one in rest}))
        else:
            self._once(number, "unmark", label, kind, name)
        self._away.append(rule)

    def _rule(self, fields: list[str], form: str) -> tuple[str, str, list[str]]:
        if len(fields) < 3:
            raise _Refused(f"parts are missing: {form}")
        label, kind, *rest = fields
        if label not in DISPLAYS and label not in self._sensitivities:
            raise _Refused(f"{label!r} is no sensitivity; HL7's are known, others need a line with define")
        return label, kind, rest


def _named(fields: list[str], form: str) -> tuple[str, str]:
    if len(fields) < 2:
        raise _Refused(f"parts are missing: {form}")
    if fields[0].lower() in (NONE, SEVERAL, UNEXAMINED):
        raise _Refused(f"{fields[0]} has a meaning of its own")
    return fields[0], " ".join(fields[1:])


def _words(fields: list[str]) -> str:
    """`LANGUAGE word...` as the name of a rule."""
    language, *words = fields
    if (language != ANY and not _LANGUAGE.fullmatch(language)) or not words:
        raise _Refused("write the language before the words: two or three small letters, or any")
    for word in words:
        bare = word.removesuffix("*")
        letters = reading.fold(bare)
        if reading.words_of(letters) != {letters} or letters[:1].isdigit():
            raise _Refused("a word is letters and digits, and begins with a letter; write what has a hyphen as two")
        if len(letters) < (STEM_LETTERS if word.endswith("*") else WORD_LETTERS):
            raise _Refused(f"a word has at least {WORD_LETTERS} letters, one with * at least {STEM_LETTERS}")
    if len(words) > WORDS_TOGETHER:
        raise _Refused(f"at most {WORDS_TOGETHER} words stand together")
    rule = Rule("", "word", "+".join(sorted({word.lower() for word in words})))
    if Marker([rule]).hits(" ".join(_EVERYWHERE), is_json=False):
        raise _Refused("nearly every FHIR resource has these words, and would be marked")
    return rule.name


def _range(text: str) -> list[str]:
    """The blocks from one to another, as beginnings of codes, with and without the dot."""
    first, dash, last = text.partition("-")
    ends = _BLOCK.fullmatch(first), _BLOCK.fullmatch(last)
    if not dash or ends[0] is None or ends[1] is None:
        raise _Refused("a range is two blocks, as in F10-F19 or F10.2-F10.4")
    begin, end = ends[0].groups(), ends[1].groups()
    if begin[2] is not None or end[2] is not None:
        if begin[:2] != end[:2] or len(begin[2] or "") != len(end[2] or ""):
            raise _Refused("behind the dot, a range stays within one block and keeps the number of digits")
        stem, digits = f"{begin[0]}{begin[1]}", len(begin[2])
        found = [f"{n:0{digits}}" for n in range(int(begin[2]), int(end[2]) + 1)]
        return [name for one in found for name in (f"{stem}.{one}", f"{stem}{one}")] or _empty()
    if bool(begin[0]) is not bool(end[0]) or len(begin[1]) != len(end[1]):
        raise _Refused("the two ends of a range are of one form")
    digits = len(begin[1])
    low, high = (ord(e[0] or "A") * 10**digits + int(e[1]) for e in (begin, end))
    if high - low >= RANGE_BLOCKS:
        raise _Refused(f"a range spans at most {RANGE_BLOCKS} blocks")
    numbers = range(low, high + 1)
    letters = [chr(n // 10**digits) if begin[0] else "" for n in numbers]
    return [f"{letter}{n % 10**digits:0{digits}}" for letter, n in zip(letters, numbers, strict=True)] or _empty()


def _empty() -> NoReturn:
    raise _Refused("the range ends before it begins")
