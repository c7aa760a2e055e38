"""What a record is about that a patient may want kept apart, told by its codes and its words.

EHRs rarely label what is sensitive (`meta.security`), so a record that nobody labelled is looked into: clinical codes
and blocks of classifications (`sensitivity_codes`), words of displays, narratives, notes and attachments
(`sensitivity_words`), and the rules of an institution's own table (`sensitivity_table`). Built-in codes are compared
whatever their system and words wherever they stand: a label too many hides, one too few would open. What no rule knows
is not found; a sender who knows better states sensitivities with the record.

Runs over each record once and costs tens of microseconds for one of median size. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final, Literal

from msgspec import Struct

from node.records import sensitivity_text as reading
from node.records.sensitivity_codes import CLASSIFICATIONS, CODES
from node.records.sensitivity_words import UNLESS, WORDS

STEM_LETTERS: Final = 5
"""A stem is at least so long; shorter ones would begin too many words."""
PHRASE_LETTERS: Final = 40
"""How far before and behind a word a phrase is looked for in which it does not count."""
BUILT_IN: Final = "built in"
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_NAMED: Final = ("icd", "icpc", "/atc", "cim-10", "cie-10", "2.16.840.1.113883.6.", "1.2.276.0.76.5.")
"""Without one of these, no classification is named."""


class Rule(Struct, frozen=True):
    """One reason to mark: `name` is the rule as it is written, and `source` says where. `unless`: phrases in which the
    word does not count."""

    label: str
    kind: Literal["code", "prefix", "block", "word"]
    name: str
    source: str = BUILT_IN
    system: str = ""
    unless: str = ""


class Hit(Struct, frozen=True):
    """A rule that applies, and for a block which one of them."""

    rule: Rule
    block: str = ""


def built_in() -> Iterator[Rule]:
    """All built-in rules; blocks are one rule for each classification and label."""
    for code, label in CODES.items():
        yield Rule(label, "code", code)
    for one in CLASSIFICATIONS:
        for _, label in one.blocks:
            yield Rule(label, "block", one.name)
    named: set[tuple[str, str]] = set()
    for by_label in WORDS.values():
        for label, text in by_label.items():
            for name in text.split():
                if (label, name) not in named:
                    named.add((label, name))
                    yield Rule(label, "word", name, unless=UNLESS.get(name, ""))


def spellings(word: str) -> set[str]:
    """The ways to write a word that are told apart no more: folded, and with its umlauts as two letters."""
    return {reading.fold(word), reading.fold(word.lower().translate(_UMLAUTS))}


class _Words:
    """Finds words and beginnings of words: each written `word`, or `stem*`, and given a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._stems: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def number(self, word: str) -> int:
        if word not in self._numbers:
            number = self._numbers[word] = len(self._numbers)
            for one in spellings(word.removesuffix("*")):
                if word.endswith("*"):
                    self._stems[one[:STEM_LETTERS]].append((one, number))
                else:
                    self._exact[one].append(number)
        return self._numbers[word]

    def found(self, words: set[str]) -> set[int]:
        """The numbers of those that are among `words`."""
        hits = {number for word in words & self._exact.keys() for number in self._exact[word]}
        if begun := {word[:STEM_LETTERS] for word in words} & self._stems.keys():
            for word in words:
                if (start := word[:STEM_LETTERS]) in begun:
                    hits.update(number for stem, number in self._stems[start] if word.startswith(stem))
        return hits


class Marker:
    """Rules, made ready to be asked. `taken_away` are blocks that do not count, each with its label."""

    def __init__(
        self, rules: Iterable[Rule], taken_away: Iterable[tuple[str, str]] = (), scripts: frozenset[str] = frozenset()
    ) -> None:
        """`scripts`: those besides Latin in which text is understood, since rules have words in them."""
        self.rules = tuple(rules)
        self._scripts = scripts
        self._codes: dict[str, list[Hit]] = defaultdict(list)
        self._owned: dict[str, list[Rule]] = defaultdict(list)
        self._prefixes: dict[int, dict[str, list[Rule]]] = defaultdict(lambda: defaultdict(list))
        self._in_pieces: list[Rule] = []
        self._words = _Words()
        self._by_word: dict[int, list[tuple[frozenset[int], Hit]]] = defaultdict(list)
        self._blocks: dict[tuple[str, str], Hit] = {}
        self._taken_away = tuple(taken_away)
        for rule in self.rules:
            self._add(rule)
        self._lengths = tuple(sorted(self._prefixes))

    def _add(self, rule: Rule) -> None:
        if rule.system and reading.tokens_of(rule.name) != {rule.name}:
            self._in_pieces.append(rule)
        if rule.kind == "word":
            numbers = frozenset(self._words.number(word) for word in rule.name.split("+"))
            self._by_word[max(numbers)].append((numbers, Hit(rule)))
        elif rule.kind == "block":
            self._blocks[rule.name, rule.label] = Hit(rule)
        elif rule.kind == "prefix":
            self._prefixes[len(rule.name)][rule.name].append(rule)
        elif rule.system:
            self._owned[rule.name].append(rule)
        else:
            self._codes[rule.name].append(Hit(rule))

    # --- a record ----------------------------------------------------------------------------------------------------

    def found_in(self, text: str) -> set[str]:
        """The sensitivities that a resource's own text (JSON) shows. Raises nothing, whatever it says."""
        return {hit.rule.label for hit in self.hits(text)}

    def hits(self, text: str, *, is_json: bool = True) -> set[Hit]:
        """Every rule that applies to a record's text, as JSON or as any other text."""
        return self.look(text, is_json=is_json)[0]

    def look(self, text: str, *, is_json: bool = True) -> tuple[set[Hit], list[str]]:
        """Every rule that applies, and what could not be looked into, in words; mostly nothing."""
        notes: list[str] = []
        lacks: list[str] = []
        if is_json:
            text = reading.unescaped(text)
            notes, lacks = reading.attachments(text)
            text = reading.without_attachments(text)
        waiting = [text, *notes]
        while waiting:  # an attachment may hold another, as CDA holds a PDF; each is shorter than what it stands in
            inner, missing = reading.embedded(waiting.pop())
            waiting += inner
            notes, lacks = notes + inner, lacks + missing
        strings = reading.strings_of(text) if is_json else reading.tokens_of(text)
        said = [reading.readable(one) for one in (" ".join(strings) if is_json else text, *notes)]
        if any(reading.strange(one, self._scripts) for one in said):
            lacks.append("text in another script")
        folded = [reading.fold(one) for one in said]
        hits = self._hits(strings, folded, text, is_json)
        for note, words in zip(notes, folded[1:], strict=True):
            hits |= self._hits(reading.tokens_of(note), [words], note, is_json=False)
        return hits, lacks

    def _hits(self, strings: set[str], folded: Sequence[str], text: str, is_json: bool) -> set[Hit]:
        hits = self._by_words(folded)
        return hits | self._by_code(strings, text, is_json) | self._by_block(strings, folded[0])

    # --- its parts ---------------------------------------------------------------------------------------------------

    def _by_code(self, strings: set[str], text: str, is_json: bool) -> set[Hit]:
        hits = {hit for one in strings & self._codes.keys() for hit in self._codes[one]}
        owned = {rule for one in strings & self._owned.keys() for rule in self._owned[one]}
        for length in self._lengths:
            starts = self._prefixes[length]
            owned.update(rule for start in {one[:length] for one in strings} & starts.keys() for rule in starts[start])
        if not is_json:  # a code with other signs than a token's stands there in pieces
            owned.update(rule for rule in self._in_pieces if rule.name in text)
        if owned and (owned := {rule for rule in owned if _system_in(rule.system, text, is_json)}):
            if is_json:
                codings = reading.codings(text)
                owned = {rule for rule in owned if any(_applies(rule, *coding) for coding in codings)}
            hits |= {Hit(rule) for rule in owned}
        return hits

    def _by_block(self, strings: set[str], text: str) -> set[Hit]:
        if not any(part in text for part in _NAMED):
            return set()
        hits = set()
        for one in CLASSIFICATIONS:
            if any(name in text for name in one.named):
                for pattern, label in one.blocks:
                    known = self._blocks.get((one.name, label))
                    for string in strings:
                        if known and (match := pattern.match(string)) and not self._is_taken_away(string, label):
                            hits.add(Hit(known.rule, match[0].rstrip(".")))
        return hits

    def _is_taken_away(self, string: str, label: str) -> bool:
        return any(label == gone and string.startswith(block) for gone, block in self._taken_away)

    def _by_words(self, texts: Sequence[str]) -> set[Hit]:
        words = reading.words_of(texts[0])
        for text in texts[1:]:
            words |= reading.words_of(text)
        found = self._words.found(words)
        return {
            hit
            for number in found
            for numbers, hit in self._by_word.get(number, ())
            if numbers <= found and (not hit.rule.unless or _said(hit.rule, texts))
        }


def _said(rule: Rule, texts: Sequence[str]) -> bool:
    """Whether each of a rule's words stands somewhere outside the phrases in which it does not count."""
    phrases = _phrases(rule.unless)
    return all(any(_stands(word, text, phrases) for text in texts) for word in rule.name.split("+"))


def _stands(word: str, text: str, phrases: re.Pattern[str]) -> bool:
    for spelling in spellings(word.removesuffix("*")):
        at = -1
        while (at := text.find(spelling, at + 1)) >= 0:
            end = at + len(spelling)
            if text[at - 1 : at].isalnum() or (not word.endswith("*") and text[end : end + 1].isalnum()):
                continue  # within another word
            first = max(0, at - PHRASE_LETTERS)
            around = text[first : end + PHRASE_LETTERS]
            if not any(one.start() <= at - first < one.end() for one in phrases.finditer(around)):
                return True
    return False


@cache
def _phrases(unless: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9])({unless})")


def _system_in(system: str, text: str, is_json: bool) -> bool:
    return system in text or (not is_json and system.removeprefix("urn:oid:") in text)


def _applies(rule: Rule, system: str, code: str) -> bool:
    return system == rule.system and (code == rule.name or (rule.kind == "prefix" and code.startswith(rule.name)))


DEFAULT: Final = Marker(built_in())
found_in: Final = DEFAULT.found_in
