"""The labels that wallets know without being told: FHIR R4's resource types, years, and HL7's sensitivity codes.

A wallet that was restored from its words finds out what an old grant covers by trying these against its tags, so it
need not remember. What a custodian labels otherwise, the wallet remembers from the grants that named it.
"""

from __future__ import annotations

from typing import Final

from node.records.fhir_types import RESOURCE_TYPES
from node.records.sensitivity_codes import SENSITIVITIES, UNEXAMINED
from protocol.crypto.tags import NONE, SEVERAL

__all__ = ["RESOURCE_TYPES", "SENSITIVITY_LABELS", "YEARS"]

YEARS: Final = (NONE, *(str(year) for year in range(1900, 2101)))
SENSITIVITY_LABELS: Final = (NONE, SEVERAL, UNEXAMINED, *sorted(SENSITIVITIES))
