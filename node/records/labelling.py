"""How one institution labels: by which rules, what it does with what it cannot look into, and which labels it knows.

Made once at a node's start from its configuration; without any, the built-in rules, and what cannot be looked into is
marked. Relies on `sensitivity` for the rules and on `sensitivity_table` for the institution's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from node.records.errors import UnknownCategory, UnknownSensitivity
from node.records.fhir_types import RESOURCE_TYPES
from node.records.sensitivity import DEFAULT, Marker
from node.records.sensitivity_codes import DISPLAYS, UNEXAMINED
from node.records.sensitivity_table import Table, load_table
from protocol.crypto.tags import NONE

Unexamined = Literal["mark", "plain"]
"""What is done with what cannot be looked into: marked as such, or taken for not sensitive."""


class Labelling(Struct, frozen=True):
    """`table` is the institution's own, and `marker` the rules with it."""

    marker: Marker = DEFAULT
    unexamined: Unexamined = "mark"
    table: Table = Table()

    def sensitivities(self) -> dict[str, str]:
        """The codes of sensitivity that are known here, with what they mean."""
        own = {UNEXAMINED: "nobody looked into it, neither the node nor its sender"}
        return dict(sorted((DISPLAYS | self.table.sensitivities).items())) | own

    def check(self, category: str | None, sensitivities: Iterable[str]) -> None:
        """Refuse labels that are not known here: a slip in one would keep a patient's prohibition from fitting it.
        Raises `UnknownCategory` or `UnknownSensitivity`, which list what is known and never what was said."""
        if category is not None and category not in RESOURCE_TYPES and category not in self.table.categories:
            own = ", ".join(self.table.categories) or "none"
            raise UnknownCategory(
                advice=f"Known are FHIR R4's resource types, and of this institution's table: {own}. {CUSTOM}"
            )
        stated = set(sensitivities) - {NONE}
        if stated and not stated <= (known := self.sensitivities()).keys():
            raise UnknownSensitivity(advice=f"Known are: {', '.join(known)}. {CUSTOM}")


CUSTOM: Final = (
    "Correct it; define it in the node's table of sensitivities; or say that you mean it so with custom=true (--custom "
    "on the command line)."
)


def labelling(table: Path | None, unexamined: Unexamined) -> Labelling:
    """What the configuration asks for. Raises `SensitivityTableInvalid`."""
    if table is None:
        return Labelling(DEFAULT, unexamined)
    own = load_table(table)
    return Labelling(own.marker(), unexamined, own)
