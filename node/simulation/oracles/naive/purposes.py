"""The codes of HL7 v3 PurposeOfUse and which lies below which, as docs/spec/operations.md has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.simulation.oracles.naive.state import require

BRANCHES: Final = (
    ("", ("HMARKT", "HOPERAT", "HPAYMT", "HRESCH", "PATRQT", "PUBHLTH", "TREAT")),
    ("HOPERAT", ("CAREMGT", "DONAT", "FRAUD", "GOV", "HACCRED", "HCOMPL", "HDECD", "HDIRECT", "HDM", "HLEGAL")),
    ("HOPERAT", ("HOUTCOMS", "HPRGRP", "HQUALIMP", "HSYSADMIN", "MEMADMIN", "MILCDM", "PATADMIN", "PATSFTY")),
    ("HOPERAT", ("PERFMSR", "RECORDMGT", "SYSDEV", "TRAIN")),
    ("HSYSADMIN", ("LABELING", "METAMGT")),
    ("SYSDEV", ("HTEST",)),
    ("HPAYMT", ("CLMATTCH", "COVAUTH", "COVERAGE", "REMITADV")),
    ("COVERAGE", ("ELIGDTRM", "ELIGVER", "ENROLLM", "MILDCRG")),
    ("HRESCH", ("BIORCH", "CLINTRCH", "DSRCH", "POARCH", "TRANSRCH")),
    ("CLINTRCH", ("CLINTRCHNPC", "CLINTRCHPC", "PRECLINTRCH")),
    ("PATRQT", ("FAMRQT", "PWATRNY", "SUPNWK")),
    ("PUBHLTH", ("DISASTER", "THREAT")),
    ("TREAT", ("CLINTRL", "COC", "ETREAT", "POPHLTH")),
    ("ETREAT", ("BTG", "ERTREAT")),
)
ABOVE: Final = {code: above for above, codes in BRANCHES for code in codes}
"""Each code and the one above it; nothing stands above the first seven."""


def below(code: str, bound: str) -> bool:
    """Whether `code` is `bound` or lies below it."""
    while code:
        if code == bound:
            return True
        code = ABOVE[code]
    return False


def emergency(code: str) -> bool:
    """Whether it is ETREAT or lies below it."""
    return below(code, "ETREAT")


def check(codes: Sequence[str]) -> None:
    """What may be granted: known codes in one order, and no emergency."""
    require(list(codes) == sorted(set(codes)), "purposes do not ascend")
    require(all(code in ABOVE for code in codes), "a purpose is unknown")
    require(not any(emergency(code) for code in codes), "an emergency is never granted")
