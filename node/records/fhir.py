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

from node.records import sensitivity
from node.records.errors import BadBundle, BadRecord, NotFhir, SensitivitiesUnstated
from node.records.seal import Plain
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

# fmt: off
SENSITIVITIES = frozenset(
    {
        "ADOL",
        "CEL",
        "DIA",
        "DRGIS",
        "EMP",
        "PDS",
        "PHY",
        "PRS",
        "ETH",
        "GDIS",
        "HIV",
        "MST",
        "SCA",
        "SDV",
        "SEX",
        "SPI",
        "STD",
        "TBOO",
        "VIO",
        "SICKLE",
        "DEMO",
        "DOB",
        "GENDER",
        "LIVARG",
        "MARST",
        "RACE",
        "REL",
        "B",
        "EMPL",
        "LOCIS",
        "SSP",
        "BH",
        "MH",
        "PSY",
        "PSYTHPN",
        "SUD",
        "COGN",
        "DVD",
        "EMOTDIS",
        "ETHUD",
        "OPIOIDUD",
    }
)
"""HL7 v3 InformationSensitivityPolicy without its abstract codes, R4 4.0.1."""
# fmt: on

_SPACE = b" \t\r\n"
_RESOURCE_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_YEAR = re.compile(r"(\d{4})(-|$)")
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_arrays = msgspec.json.Decoder(list[msgspec.Raw])


class _Glance(msgspec.Struct, gc=False):
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


_DATES = _Glance.__struct_fields__[1:]
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


class Described(msgspec.Struct, frozen=True):
    """What is said of a record besides its bytes, by its sender or by itself; None where nothing is."""

    category: str | None = None
    year: str | None = None
    sensitivities: tuple[str, ...] | None = None
    supersedes: int | None = None

    def plain(self, data: bytes, media_type: str) -> Plain:
        """The record with its labels: as stated here, else as found in it.

        Stated sensitivities add to those found and never replace them. Raises `NotFhir` for what is sent as FHIR JSON
        and is none, and `SensitivitiesUnstated` for FHIR in a form that is not looked into, when nothing is stated.
        """
        found = _found(data, media_type)
        if found.sensitivities is None and self.sensitivities is None and is_fhir(media_type):
            raise SensitivitiesUnstated("FHIR is looked into in JSON alone, and this record is in another form")
        labels = record_labels(
            self.category or found.category or OTHER_CATEGORY,
            self.year or found.year or NONE,
            (*(found.sensitivities or ()), *(self.sensitivities or ())),
        )
        return Plain(data, media_type, labels, self.supersedes)


def is_fhir(media_type: str) -> bool:
    """Whether a media type says FHIR, in whatever form or version."""
    return "fhir" in _base(media_type)


def _base(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _found(data: bytes, media_type: str) -> Described:
    base = _base(media_type)
    if base == FHIR_JSON:
        return described(data)
    if base == "application/json":
        with contextlib.suppress(NotFhir):  # any other JSON document
            return described(data)
    return Described()


def described(resource: bytes) -> Described:
    """What one FHIR resource in JSON says of itself. Raises `NotFhir`, and never fails for an odd member."""
    try:
        text = resource.decode()
        glance = _glances.decode(resource)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotFhir("the record is not a JSON object in UTF-8") from None
    kind = glance.resourceType
    if not isinstance(kind, str) or not _RESOURCE_TYPE.fullmatch(kind):
        raise NotFhir("the record has no resourceType")
    return Described(kind, _year(glance), tuple(sorted({*_labelled(text), *sensitivity.found_in(text)})))


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
