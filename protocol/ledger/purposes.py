"""Purposes of use: the codes of HL7 v3 ActReason below PurposeOfUse, and which of them a grant covers.

Source: http://terminology.hl7.org/CodeSystem/v3-ActReason, value set v3-PurposeOfUse, as shipped with FHIR R4 4.0.1.
A grant for a purpose covers what lies below it, except emergencies: ETREAT and below come only by break-glass.
"""

from __future__ import annotations

from typing import Final

_TREE: Final = """
HMARKT
HOPERAT: CAREMGT DONAT FRAUD GOV HACCRED HCOMPL HDECD HDIRECT HDM HLEGAL HOUTCOMS HPRGRP HQUALIMP HSYSADMIN
HOPERAT: MEMADMIN MILCDM PATADMIN PATSFTY PERFMSR RECORDMGT SYSDEV TRAIN
HSYSADMIN: LABELING METAMGT
SYSDEV: HTEST
HPAYMT: CLMATTCH COVAUTH COVERAGE REMITADV
COVERAGE: ELIGDTRM ELIGVER ENROLLM MILDCRG
HRESCH: BIORCH CLINTRCH DSRCH POARCH TRANSRCH
CLINTRCH: CLINTRCHNPC CLINTRCHPC PRECLINTRCH
PATRQT: FAMRQT PWATRNY SUPNWK
PUBHLTH: DISASTER THREAT
TREAT: CLINTRL COC ETREAT POPHLTH
ETREAT: BTG ERTREAT
"""
EMERGENCY: Final = "ETREAT"


def _parents() -> dict[str, str | None]:
    parents: dict[str, str | None] = {}
    for line in _TREE.split("\n"):
        parent, _, children = line.partition(":")
        if parent:
            parents.setdefault(parent, None)
        parents.update(dict.fromkeys(children.split(), parent))
    return parents


PARENTS: Final = _parents()
"""Each known code and the code above it; None for those directly below PurposeOfUse."""


def _line(code: str) -> frozenset[str]:
    above: set[str] = set()
    at: str | None = code
    while at is not None:
        above.add(at)
        at = PARENTS[at]
    return frozenset(above)


LINEAGE: Final = {code: _line(code) for code in PARENTS}
"""Each code with every code above it, itself included."""


def is_emergency(code: str) -> bool:
    """Whether a known code is ETREAT or lies below it."""
    return EMERGENCY in LINEAGE[code]


def covers(granted: str, asked: str) -> bool:
    """Whether a grant for `granted` permits `asked`: the same code or one below it, and never an emergency code."""
    return granted in LINEAGE[asked] and not is_emergency(asked)
