"""The chart's secret, as the custodian hands it over to a wallet that came to the chart by a recovery."""

from __future__ import annotations

from node.wallet.file import WalletChart
from node.wallet.wallet import Wallet
from protocol.crypto.envelopes import keypair_from_seed, open_envelope, secret_info
from protocol.errors import SealBroken

SECRET_BYTES = 32


def open_secret(wallet: Wallet, chart: WalletChart, envelope: bytes, suite: int) -> bytes:
    """The 32-byte secret in the custodian's envelope, sealed to the owner's key of this suite. Raises `SealBroken` for
    one that is not for this owner."""
    assert chart.number is not None, "a chart that was recovered has a number"
    keys = wallet.owner_keys(chart, suite=suite)
    private, _ = keypair_from_seed(keys.encryption_suite, wallet.keys(chart).encryption_seed)
    info = secret_info(chart.chain, chart.number, keys.encryption_key)
    secret = open_envelope(keys.encryption_suite, private, info, envelope)
    if len(secret) != SECRET_BYTES:
        raise SealBroken("what the custodian handed over is no chart's secret")
    return secret
