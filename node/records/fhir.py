"""FHIR R4 as it arrives: exact slices of a Bundle's entries, and the labels that a resource earns.

Nothing here serialises: a record is the bytes that the integrator sent, since a commitment covers bytes. Relies on
msgspec for slicing (`Raw`), and closes its gaps: it checks UTF-8, names that repeat, byte order marks and depth.

Labels: category is the resource type; clinical year is the year of what the resource is about (not of its
paperwork, where both stand); sensitivities are the codes of HL7 v3 InformationSensitivityPolicy (v3-ActCode) in
`meta.security` (https://hl7.org/fhir/R4/security-labels.html).
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import msgspec

from node.records.errors import BadBundle, NotFhir
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
    """The few members that labels come from; whatever else stands there is skipped, and no type is insisted on.

    The dates stand in the order in which they are asked for the clinical year.
    """

    resourceType: Any = None
    meta: Any = None
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


_DATES = _Glance.__struct_fields__[2:]
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
    """What is said of a record besides its bytes, by its sender or by itself; None and () where nothing is."""

    category: str | None = None
    year: str | None = None
    sensitivities: tuple[str, ...] = ()
    supersedes: int | None = None

    def plain(self, data: bytes, media_type: str) -> Plain:
        """The record with its labels: as stated here, else as found in it.

        Stated sensitivities add to those found and never replace them. Raises `NotFhir` for what is sent as FHIR JSON
        and is none.
        """
        found = _found(data, media_type)
        labels = record_labels(
            self.category or found.category or OTHER_CATEGORY,
            self.year or found.year or NONE,
            (*found.sensitivities, *self.sensitivities),
        )
        return Plain(data, media_type, labels, self.supersedes)


def _found(data: bytes, media_type: str) -> Described:
    base = media_type.partition(";")[0].strip().lower()
    if base == FHIR_JSON:
        return described(data)
    if base == "application/json":
        with contextlib.suppress(NotFhir):  # any other JSON document
            return described(data)
    return Described()


def described(resource: bytes) -> Described:
    """What one FHIR resource in JSON says of itself. Raises `NotFhir`, and never fails for an odd member."""
    try:
        resource.decode()
        glance = _glances.decode(resource)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotFhir("the record is not JSON in UTF-8") from None
    kind = glance.resourceType
    if not isinstance(kind, str) or not _RESOURCE_TYPE.fullmatch(kind):
        raise NotFhir("the record has no resourceType")
    return Described(kind, _year(glance), _sensitivities(glance.meta))


def _year(glance: _Glance) -> str | None:
    for name in _DATES:
        value = getattr(glance, name)
        if isinstance(value, dict):
            value = value.get("start") or value.get("end")
        if isinstance(value, str) and (match := _YEAR.match(value)):
            return match[1]
    return None


def _sensitivities(meta: Any) -> tuple[str, ...]:
    security = meta.get("security") if isinstance(meta, dict) else None
    if not isinstance(security, list):
        return ()
    return tuple(
        coding["code"]
        for coding in security
        if isinstance(coding, dict)
        and coding.get("system") in SENSITIVITY_SYSTEMS
        and isinstance(coding.get("code"), str)
        and coding["code"] in SENSITIVITIES
    )
