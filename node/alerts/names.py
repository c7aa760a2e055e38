"""Family names as people would say they are the same: without accents, apostrophes, case and hyphens. Pure."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

import msgspec

PARTICLES: Final = frozenset(
    ("al", "bin", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "la", "le", "van", "von", "y")
)
"""Written or left out as it comes; a name of nothing else keeps them."""
LETTERS: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "\u0131": "i"}
)
"""Letters that do not come apart into one of ASCII's and an accent."""
NAMES_MOST: Final = 16


def parts(family: str) -> frozenset[str]:
    """The parts of a family name to compare by: "Dell'Acqua-O'Neill" has "dellacqua" and "oneill". Letters of scripts
    without case or accents stay as they are; what holds no letter is no part."""
    folded = unicodedata.normalize("NFKD", family.casefold()).translate(LETTERS)
    words = "".join(" " if _separates(c) else c for c in folded if not _vanishes(c)).split()
    named = [word for word in words if any(c.isalpha() for c in word)]
    return frozenset(word for word in named if word not in PARTICLES) or frozenset(named)


def same_family(one: str, other: str) -> bool:
    """Whether two family names share a part, as those of relatives often do."""
    return not parts(one).isdisjoint(parts(other))


def family_names(resource: bytes) -> list[str]:
    """The family names in a FHIR Patient resource; none for anything else."""
    try:
        patient: Any = msgspec.json.decode(resource)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        return []
    names = patient.get("name")
    if not isinstance(names, list):
        return []
    found = [one.get("family") for one in names[:NAMES_MOST] if isinstance(one, dict)]
    return [family for family in found if isinstance(family, str) and family.strip()]


def _separates(c: str) -> bool:
    """Blanks and hyphens; other punctuation vanishes, so that O'Neill is ONeill."""
    return c.isspace() or unicodedata.category(c) == "Pd"


def _vanishes(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] in "MC" or (category[0] in "PS" and category != "Pd")
