"""The wallet's part in reading: passes by which a chart's owner reads it through any institution's node."""

from __future__ import annotations

from node.reading_pass import ReadingPass, make_pass
from node.wallet.file import WalletChart
from node.wallet.wallet import Wallet


def reading_pass(  # whose, with which key, through whom, and when
    wallet: Wallet, chart: WalletChart, suite: int, institution: int, height: int, now_ms: int
) -> ReadingPass:
    """A pass for reading the chart through this institution's node. `suite` is that of the owner's envelope key on the
    ledger, `height` the final height that the node is at, `now_ms` ledger time or close to it."""
    assert chart.number is not None, "a chart is open before it is read"
    key, public = wallet.keys(chart).signing_key(), wallet.encryption_public(chart, suite=suite)
    named = {"chart": chart.number, "institution": institution, "height": height, "now_ms": now_ms}
    return make_pass(key, chart.chain, suite, public, **named)
