"""Every operation's rule, in one table. A new family of operations adds its file and one line here."""

from __future__ import annotations

from typing import Final

from protocol.ledger import (
    access,
    charts,
    consent,
    control,
    emergency,
    erasure,
    evidence,
    governance,
    records,
    recovery,
    rotation,
)
from protocol.ledger.rules import Rule

RULES: Final[dict[type, Rule]] = {
    **charts.RULES,
    **records.RULES,
    **consent.RULES,
    **access.RULES,
    **control.RULES,
    **recovery.RULES,
    **emergency.RULES,
    **erasure.RULES,
    **governance.RULES,
    **rotation.RULES,
    **evidence.RULES,
}
