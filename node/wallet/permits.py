"""What an owner hands to an institution that it lets write: tags for the labels of the grant, and no secret.

The ledger has the grant's tags only, so the labels are found as everywhere in the wallet, by trying those that it
knows. Where the grant says any, the permit lists the labels that every wallet knows, and none of this wallet's own.
"""

from __future__ import annotations

from typing import Any

from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from node.wallet.file import WalletChart
from node.wallet.wallet import Wallet
from node.write_permits import UNSIGNED, WritePermit, sign_permit
from protocol.crypto.tags import NONE, POSITIONS, tag
from protocol.errors import ChartledgerError

_KNOWN = ((*RESOURCE_TYPES, NONE), YEARS, SENSITIVITY_LABELS, SENSITIVITY_LABELS)


class NoWriteGrant(ChartledgerError):
    """The chart has no such grant in force that lets anybody write."""

    advice = "`chartledger grants CHART` shows them; `chartledger grant CHART … --write` makes one."


class NothingPermitted(ChartledgerError):
    """The grant covers no label, in the chart's present generation, that this wallet knows."""

    advice = "Revoke the grant and grant anew with this wallet: it remembers the labels that it grants."


def write_permit(wallet: Wallet, chart: WalletChart, control: dict[str, Any], number: int, suite: int) -> WritePermit:
    """The signed permit for grant `number` in the chart's present generation. `control` is the document of GET
    /v1/charts/{chart}/control, `suite` that of the owner's envelope key on the ledger. Raises `NoWriteGrant`,
    `NothingPermitted` or `NoChartSecret`."""
    assert chart.number is not None, "a chart is open before anything is granted"
    grant = next((one for one in control["grants"] if one["grant"] == number), None)
    if grant is None or "write" not in grant["access"] or grant["state"] not in ("live", "not-yet"):
        raise NoWriteGrant(f"chart {chart.number} has no grant {number} in force that lets anybody write")
    secret, generation = wallet.chart_secret(chart), control["generation"]
    tables: list[tuple[tuple[str, bytes], ...]] = []
    for position in range(POSITIONS):
        listed = grant["tags"][position]
        names = {*_KNOWN[position], *(() if listed is None else wallet.content.labels)}
        pairs = [(name, tag(secret, generation, position, name)) for name in sorted(names)]
        tables.append(tuple(pair for pair in pairs if listed is None or pair[1].hex() in listed))
        if not tables[-1]:
            raise NothingPermitted
    categories, years, first, second = tables
    public = wallet.encryption_public(chart, suite=suite)
    tags = (categories, years, first, second)
    made = WritePermit(chart.number, number, generation, suite, public, tags, UNSIGNED)
    return sign_permit(wallet.keys(chart).signing_key(), chart.chain, made)
