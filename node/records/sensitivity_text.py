"""Reading what a record says: its strings and words, whatever the escapes, accents and encodings they are written in.

JSON may write any letter as an escape, narratives may write it as an entity, and attachments are base64 of text in
several encodings; a word must be found in all of them. What is no text that can be read is told apart, since somebody
must judge it in another way. Pure, and bounded by the length of what it reads.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

ATTACHMENT_BYTES: Final = 1024 * 1024
"""Of an attachment in base64, so much is looked into."""
STRANGE_LETTERS: Final = 40
"""A record with more letters than this of scripts in which no word is known was not understood."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?")
_BETWEEN: Final = str.maketrans({chr(n): " " for n in range(128) if not chr(n).isalnum()})
_WORD: Final = re.compile(r"[^\W_]+")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " ", "/": "/", '"': "'", "\\": " "}
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,20});")
_DATA: Final = re.compile(r'"data"\s*:\s*"([A-Za-z0-9+/=_\-\s]{4,})"')
_LINE_LETTERS: Final = 32
"""Base64 in lines has at least one so long; what has none is a series of numbers (SampledData)."""
_RUN: Final = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{60,}(?:\s+[A-Za-z0-9+/]{60,})*(?:\s+[A-Za-z0-9+/]+)?={0,2}")
_LONG_LINE: Final = b"a" * 60
_IN_BASE64: Final = bytes(97 if chr(n).isalnum() or n in b"+/" else 32 for n in range(128)) + b" " * 128
RUN_LETTERS: Final = 160
"""Letters in a row, or in lines, that are base64 wherever they stand: longer than words, digests and signatures."""
_LETTERS: Final = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
_LONG_DATA: Final = 64
_CHARSET: Final = re.compile(
    r"utf-?(8|16|16[bl]e|32)|(us-)?ascii|iso-8859-\d\d?|latin-?1|windows-125\d|cp(125\d|437|850)"
)
_MARKS: Final = re.compile("[\u0300-\u036f\u00ad\u200b-\u200d\u2060\ufeff]")
_CONTROL: Final = re.compile(b"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NOT_TEXT: Final = (b"%PDF", rb"{\rtf", b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04", b"II*\x00", b"MM\x00*")
_BEFORE_TEXT: Final = b" \t\r\n\xef\xbb\xbf"
_AFTER_LATIN: Final = "\u0250"
"""Where the Latin letters of European languages end."""


def fold(text: str) -> str:
    """`text` in lower case, without accents and soft hyphens; the same for every way to write it."""
    text = text.lower()
    if text.isascii():
        return text
    return _MARKS.sub("", unicodedata.normalize("NFKD", text.translate(_LETTERS)))


def unescaped(text: str) -> str:
    """JSON text with its escapes undone. A quote and a backslash become what cannot end a string."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    sign = match[1]
    if len(sign) == 1:
        return _ESCAPES.get(sign, sign)
    letter = chr(int(sign[1:], 16))
    return "'" if letter == '"' else " " if letter == "\\" or letter < " " else letter


def strings_of(text: str) -> set[str]:
    """All strings of JSON text without escapes, names of members too, and what stands between them: so none is lost,
    however the text is laid out."""
    return set(text.split('"'))


def tokens_of(text: str) -> set[str]:
    """What may be a code in text that is no JSON."""
    return set(_TOKEN.findall(text))


def words_of(folded: str) -> set[str]:
    """The words of text that was folded: letters and digits in a row."""
    return set(folded.translate(_BETWEEN).split() if folded.isascii() else _WORD.findall(folded))


def readable(text: str) -> str:
    """Text with the entities of HTML as the letters that they stand for."""
    return html.unescape(text) if "&" in text and _ENTITY.search(text) else text


def strange(text: str, known: frozenset[str] = frozenset()) -> bool:
    """Whether much of it is in scripts other than Latin, in which no built-in word is written, and those that are
    `known` (`scripts_of`) from words of a table."""
    if text.isascii() or sum(map(_is_strange, text)) <= STRANGE_LETTERS:
        return False
    return not known or sum(_is_strange(one) and _script(one) not in known for one in text) > STRANGE_LETTERS


def scripts_of(text: str) -> frozenset[str]:
    """The scripts other than Latin of its letters."""
    return frozenset(_script(one) for one in text if _is_strange(one))


def _script(letter: str) -> str:
    """As Unicode's name of the letter begins; what is written in one text in Japanese counts as one."""
    script = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if script in ("HIRAGANA", "KATAKANA") else script


def _is_strange(sign: str) -> bool:
    return sign >= _AFTER_LATIN and sign.isalpha()


def decoded(data: bytes, charset: str | None = None) -> str | None:
    """Bytes as text, by their byte order mark, the charset that is stated, UTF-8, or else Windows-1252; None for what
    is no text, or text that is mostly not words (PDF, RTF)."""
    if data[:64].lstrip(_BEFORE_TEXT).startswith(_NOT_TEXT):
        return None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    elif _CONTROL.search(data):
        return None
    if charset is not None and not _CHARSET.fullmatch(charset):
        return None
    try:
        return data.decode(charset or "utf-8")
    except (LookupError, UnicodeError):
        return None if charset else data.decode("cp1252", "replace")


def attachments(text: str) -> tuple[list[str], list[str]]:
    """What is attached in a resource's text, in members `data` in base64: what of it is text, and in words what could
    not be read. A signature is not for reading."""
    notes: list[str] = []
    lacks: list[str] = []
    if '"data"' not in text:
        return notes, lacks
    documents: set[str] | None = None
    for data in filter(None, map(_base64, _DATA.findall(text))):
        said, lack = _attached(data)
        if said is not None:
            notes.append(said)
        if lack:
            documents = _documents(text) if documents is None else documents
            if data in documents:
                lacks.append(lack)
    return notes, lacks


def embedded(text: str) -> tuple[list[str], list[str]]:
    """The same for base64 wherever else it stands: in other members of JSON, in XML (CDA), in HL7 v2, in a `data:` URI
    of a narrative."""
    notes: list[str] = []
    lacks: list[str] = []
    if _LONG_LINE not in text.encode(errors="replace").translate(_IN_BASE64):  # as nearly always, and soon told
        return notes, lacks
    for run in _RUN.finditer(text):
        if len(run[0]) >= RUN_LETTERS:
            said, lack = _attached("".join(run[0].split()))
            notes += [] if said is None else [said]
            lacks += [lack] if lack else []
    return notes, lacks


def without_attachments(text: str) -> str:
    """The text without its long base64, in which chance would find words."""
    if '"data"' not in text:
        return text
    return _DATA.sub(lambda one: '"data":""' if len(_base64(one[1])) > _LONG_DATA else one[0], text)


def _base64(data: str) -> str:
    """A member `data` in one line, as EHRs and mail programs break it into several; empty for what is no base64."""
    lines = data.split()
    return "".join(lines) if len(lines) == 1 or max(map(len, lines), default=0) >= _LINE_LETTERS else ""


def _attached(data: str) -> tuple[str | None, str]:
    """A member `data` as text (None if it is none), and what of it was not read."""
    head = data[: ATTACHMENT_BYTES // 3 * 4].replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(head + "=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return None, ""  # a member of that name that is no base64: its words are read where they stand
    if len(head) == len(data):
        said = decoded(raw)
        return said, "an attachment that is no text" if said is None else ""
    said = decoded(raw[: raw.rfind(b" ") + 1] or raw)  # a cut through a letter would make it look like no text
    return said, "an attachment that is no text" if said is None else "an attachment of more than 1 MiB"


def _documents(text: str) -> set[str]:
    """The members `data` of a resource that belong to no signature; all of them if it cannot be walked."""
    found: set[str] = set()

    def visit(pairs: list[tuple[str, Any]]) -> None:
        names = {name for name, _ in pairs}
        if "sigFormat" not in names and not {"who", "when", "type"} <= names:
            found.update(_base64(value) for name, value in pairs if name == "data" and isinstance(value, str))

    return found if _walk(text, visit) else set(map(_base64, _DATA.findall(text)))


def codings(text: str) -> set[tuple[str, str]]:
    """Every system with every code beside it in one object of JSON, at whatever depth; of a name that repeats, each
    value. Of what is no JSON, every string that might be a system with every other."""
    found: set[tuple[str, str]] = set()

    def visit(pairs: list[tuple[str, Any]]) -> None:
        codes = [value for name, value in pairs if name == "code" and isinstance(value, str)]
        systems = [value for name, value in pairs if name == "system" and isinstance(value, str)] if codes else []
        found.update((system, code) for system in systems for code in codes)

    if not _walk(text, visit):
        strings = strings_of(text)
        return {(system, code) for system in strings if ":" in system for code in strings}
    return found


def _walk(text: str, visit: Callable[[list[tuple[str, Any]]], None]) -> bool:
    """Show each object of JSON text to `visit`, innermost first; False for what cannot be walked to its end."""
    try:
        json.loads(text, object_pairs_hook=visit, parse_int=len, parse_float=len, parse_constant=len)
    except (ValueError, RecursionError):
        return False
    return True
