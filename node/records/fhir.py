"""FHIR R4 as it arrives: exact slices of a Bundle's entries, and the labels that a resource earns.

Nothing here serialises: a record is the bytes that the integrator sent, since a commitment covers bytes. Relies on
msgspec for slicing (`Raw`), and closes its gaps: it checks UTF-8, names that repeat, byte order marks and depth.

Labels: category is the resource type; clinical year is the year of what the resource is about (not of its
paperwork, where both stand); sensitivities are the codes of HL7 v3 InformationSensitivityPolicy (v3-ActCode) in
`meta.security` (https://hl7.org/fhir/R4/security-labels.html), the resource's own and those of whatever it holds (the
entries of a Bundle that is kept whole, for one), and what its clinical codes and words show
(`node.records.sensitivity`).
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import msgspec
from msgspec import Struct

from node.records import sensitivity_text as reading
from node.records.errors import BadBundle, BadRecord, NotFhir, SensitivitiesUnstated
from node.records.labelling import Labelling
from node.records.seal import Plain
from node.records.sensitivity import DEFAULT, Marker
from node.records.sensitivity_codes import SENSITIVITIES, UNEXAMINED
from node.records.sensitivity_words import LANGUAGES
from protocol.crypto.tags import NONE, record_labels

FHIR_JSON = "application/fhir+json"
OTHER_CATEGORY = "Binary"
"""What is no FHIR resource is labelled as FHIR itself calls arbitrary content."""

SENSITIVITY_SYSTEMS = (
    None,
    "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "http://hl7.org/fhir/v3/ActCode",
    "urn:oid:2.16.840.1.113883.5.4",
)
"""A coding without a system counts: a label too many hides, one too few would open."""

TEXT_TYPES = frozenset(
    {"application/json", "application/xml", "application/xhtml+xml", "application/hl7-v2", "x-application/hl7-v2+er7"}
)
"""Text that is not called so."""

BUILT_IN = Labelling()
"""The built-in rules alone."""

_SPACE = b" \t\r\n"
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._:+-]{1,40})")
_LANGUAGE = re.compile(r'"language"\s*:\s*"([A-Za-z]{2,3})(?:-[A-Za-z0-9-]*)?"')
_RESOURCE_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_YEAR = re.compile(r"(\d{4})(-|$)")
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_arrays = msgspec.json.Decoder(list[msgspec.Raw])


class _Glance(Struct, gc=False):
    """The few members that category and year come from; the rest is skipped, and no type is insisted on.

    The dates stand in the order in which they are asked for the clinical year.
    """

    resourceType: Any = None
    effectiveDateTime: Any = None
    effectivePeriod: Any = None
    onsetDateTime: Any = None
    occurrenceDateTime: Any = None
    performedDateTime: Any = None
    performedPeriod: Any = None
    started: Any = None
    period: Any = None
    billablePeriod: Any = None
    authoredOn: Any = None
    recordedDate: Any = None
    date: Any = None
    created: Any = None
    issued: Any = None
    meta: Any = None


_DATES = _Glance.__struct_fields__[1:-1]
_glances = msgspec.json.Decoder(_Glance)


def bundle_slices(bundle: bytes) -> list[bytes]:
    """The exact bytes of each `entry[i].resource`, in order, each a copy of its own.

    Entries without a resource (a response, a delete) are passed over. Raises `BadBundle`.
    """
    try:
        bundle.decode()
        top = _object(bundle)
        if _string(top.get("resourceType")) != "Bundle":
            raise BadBundle("the body is not a FHIR Bundle: its resourceType says otherwise")
        entries = _arrays.decode(top["entry"]) if "entry" in top else []
        found = [_object(entry).get("resource") for entry in entries]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadBundle("the body is not JSON in UTF-8, or not shaped like a FHIR Bundle") from None
    slices = [bytes(raw) for raw in found if raw is not None]
    if not slices:
        raise BadBundle("the Bundle holds no resource")
    return slices


def _object(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object as they stand; refuses one that repeats a name, of which msgspec keeps the last.

    Without its whitespace an object is exactly as long as its members, so a lost one shows in the sum.
    """
    members = _objects.decode(data)
    compact = 2 + max(len(members) - 1, 0)
    for name, raw in members.items():
        compact += len(msgspec.json.encode(name).translate(None, _SPACE)) + 1 + len(bytes(raw).translate(None, _SPACE))
    if compact != len(bytes(data).translate(None, _SPACE)):
        raise BadBundle("an object of the Bundle repeats a name, or writes one with escapes")
    return members


def _string(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else None


class Found(Struct, frozen=True):
    """What a record says of itself. `sensitivities` is None where nothing of it was looked into; `unread` says in words
    what of it was not, and `judged` whether the resource as a whole bears a label of sensitivity: one on a part of it,
    as on an entry of a Bundle that is kept whole, says nothing of the other parts."""

    category: str | None = None
    year: str | None = None
    labelled: frozenset[str] = frozenset()
    sensitivities: frozenset[str] | None = None
    unread: tuple[str, ...] = ()
    judged: bool = False


class Described(Struct, frozen=True):
    """What is said of a record besides its bytes, by its sender; None where nothing is. `custom`: labels may be such as
    nobody else knows."""

    category: str | None = None
    year: str | None = None
    sensitivities: tuple[str, ...] | None = None
    supersedes: int | None = None
    custom: bool = False

    def plain(self, data: bytes, media_type: str, by: Labelling = BUILT_IN) -> Plain:
        """The record with its labels: as stated here, else as found in it.

        Stated sensitivities add to those found and never replace them. Raises `NotFhir` for what is sent as FHIR JSON
        and is none, `SensitivitiesUnstated` for FHIR in a form that is not looked into, when nothing is stated, and
        `UnknownCategory` or `UnknownSensitivity` for labels that are not known here.
        """
        if not self.custom:
            by.check(self.category, self.sensitivities or ())
        found = look(data, media_type, by.marker)
        if found.sensitivities is None and self.sensitivities is None and is_fhir(media_type):
            raise SensitivitiesUnstated("FHIR is looked into in JSON alone, and this record is in another form")
        labels = record_labels(
            self.category or found.category or OTHER_CATEGORY,
            self.year or found.year or NONE,
            (*self.marks(found, by), *(self.sensitivities or ())),
        )
        return Plain(data, media_type, labels, self.supersedes)

    def marks(self, found: Found, by: Labelling) -> set[str]:
        """The sensitivities that were found, and `unexamined` if something was not looked into and nobody who knows
        has judged it: the sender, by a statement, or the EHR, by a label of sensitivity in the resource."""
        marks = set(found.sensitivities or ())
        if found.unread and self.sensitivities is None and not found.judged and by.unexamined == "mark":
            marks.add(UNEXAMINED)
        return marks


def is_fhir(media_type: str) -> bool:
    """Whether a media type says FHIR, in whatever form or version."""
    return "fhir" in _base(media_type)


def is_text(media_type: str) -> bool:
    """Whether a media type that is no FHIR says text whose words can be looked into."""
    base = _base(media_type)
    if "fhir" in base or base.endswith("rtf"):
        return False
    return base.startswith("text/") or base in TEXT_TYPES or base.endswith(("+xml", "+json"))


def _base(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def look(data: bytes, media_type: str, marker: Marker = DEFAULT) -> Found:
    """What a record of any media type says of itself. Raises `NotFhir` for what is sent as FHIR JSON and is none."""
    base = _base(media_type)
    if base == FHIR_JSON:
        return described(data, marker)
    if base == "application/json":
        with contextlib.suppress(NotFhir):  # any other JSON document
            return described(data, marker)
    if is_fhir(media_type):
        return Found()
    text = reading.decoded(data, charset(media_type)) if is_text(media_type) else None
    if text is None:
        what = "text in no encoding that is known" if is_text(media_type) else f"a whole document of type {base}"
        return Found(unread=(what,))
    hits, unread = marker.look(text, is_json=base.endswith("json"))
    return Found(sensitivities=frozenset(hit.rule.label for hit in hits), unread=tuple(unread))


def charset(media_type: str) -> str | None:
    """The encoding that a media type states."""
    found = _CHARSET.search(media_type)
    return found[1].lower() if found else None


def described(resource: bytes, marker: Marker = DEFAULT) -> Found:
    """What one FHIR resource in JSON says of itself. Raises `NotFhir`, and never fails for an odd member."""
    try:
        text = resource.decode()
        glance = _glances.decode(resource)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotFhir("the record is not a JSON object in UTF-8") from None
    kind = glance.resourceType
    if not isinstance(kind, str) or not _RESOURCE_TYPE.fullmatch(kind):
        raise NotFhir("the record has no resourceType")
    labelled = _labelled(text)
    hits, unread = marker.look(text)
    if '"language"' in text:
        unread += _foreign(text)
    sensitivities = labelled.union(hit.rule.label for hit in hits)
    return Found(kind, _year(glance), labelled, sensitivities, tuple(unread), bool(labelled) and _judged(glance))


def _judged(glance: _Glance) -> bool:
    """Whether the resource's own `meta.security` names a sensitivity."""
    security = glance.meta.get("security") if isinstance(glance.meta, dict) else None
    codings = [one for one in security if isinstance(one, dict)] if isinstance(security, list) else []
    return any(one.get("code") in SENSITIVITIES for one in codings if one.get("system") in SENSITIVITY_SYSTEMS)


def _foreign(text: str) -> list[str]:
    """Languages that the resource, or text in it, says it is in, and of which no word is known."""
    named = {one.lower() for one in _LANGUAGE.findall(text)}
    return [f"text in the language {one}" for one in sorted(named - {*LANGUAGES})]


def _year(glance: _Glance) -> str | None:
    for name in _DATES:
        value = getattr(glance, name)
        if isinstance(value, dict):
            value = value.get("start") or value.get("end")
        if isinstance(value, str) and (match := _YEAR.match(value)):
            return match[1]
    return None


def _labelled(text: str) -> frozenset[str]:
    """The codes under any member `security`, at whatever depth and however often its name repeats: other readers may
    take the first of two, or open what lies inside, and no sensitivity may be lost on the way there."""
    if '"security"' not in text and "\\u" not in text:  # a name may be written with escapes
        return frozenset()
    found: set[str] = set()

    def visit(pairs: list[tuple[str, Any]]) -> frozenset[str] | None:
        """An object's sensitivity codes, if it is a coding; all else of it is let go."""
        for name, value in pairs:
            if name == "security":
                for coding in value if isinstance(value, list) else [value]:
                    if isinstance(coding, frozenset):
                        found.update(coding)
        codes = {value for name, value in pairs if name == "code" and isinstance(value, str)} & SENSITIVITIES
        systems = [value for name, value in pairs if name == "system"] or [None]
        known = any(value is None or (isinstance(value, str) and value in SENSITIVITY_SYSTEMS) for value in systems)
        return frozenset(codes) if codes and known else None

    try:
        json.loads(text, object_pairs_hook=visit, parse_int=len, parse_float=len, parse_constant=len)
    except (ValueError, RecursionError):
        raise BadRecord("the record cannot be looked into for sensitivities: it is nested too deep") from None
    return frozenset(found)
