"""Acting for somebody else: the cards that delegates and guardians hand to an owner, and what a delegate signs.

Both have a key of their own for each chart, derived from their own seed, so that nobody links the charts of two people
by who acts for them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from node.wallet.consent import Wish, tags_of
from node.wallet.file import DELEGATE, GUARDIAN
from node.wallet.wallet import Wallet
from protocol.crypto.envelopes import MLKEM768_X25519, check_public, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey
from protocol.crypto.wallet import delegate_keys, guardian_key
from protocol.errors import ChartledgerError, CryptoError
from protocol.types.operations import Grant, Operation

CARD = "chartledger delegate 1"
KEY_BYTES = 32


class NotADelegate(ChartledgerError):
    """This wallet is no delegate of that chart."""

    advice = "Make a card with `chartledger delegate key CHART`; the owner names you with `chartledger delegate add`."


class NotAGuardian(ChartledgerError):
    """This wallet is no guardian of that chart."""

    advice = "`chartledger guardian key CHART` shows this wallet's key for the chart; the owner names it."


class BadCard(ChartledgerError):
    """The file is not a delegate's card for this chart."""

    advice = "Ask the delegate for the file that `chartledger delegate key CHART` wrote, for this very chart."


class DelegateCard(Struct, frozen=True, forbid_unknown_fields=True):
    """What a delegate hands to the owner. Nothing in it is secret; hex throughout."""

    what: str
    chain: str
    chart: int
    key: str
    encryption_suite: int
    encryption_public: str

    @property
    def encryption_key(self) -> bytes:
        """The digest that stands on the ledger."""
        return encryption_key_digest(self.encryption_suite, bytes.fromhex(self.encryption_public))


def delegate_card(wallet: Wallet, chain: bytes, chart: int) -> DelegateCard:
    """This wallet's card for that chart, which it remembers to act for."""
    keys = delegate_keys(wallet.seed, chain, chart)
    _, public = keypair_from_seed(MLKEM768_X25519, keys.encryption_seed)
    wallet.act_for(chain, chart, DELEGATE)
    return DelegateCard(CARD, chain.hex(), chart, keys.signing_key().public.hex(), MLKEM768_X25519, public.hex())


def read_card(raw: bytes, chain: bytes, chart: int) -> DelegateCard:
    """A card for this chart. Raises `BadCard`."""
    try:
        card = msgspec.json.decode(raw, type=DelegateCard)
        key, public = bytes.fromhex(card.key), bytes.fromhex(card.encryption_public)
        check_public(card.encryption_suite, public)
    except (msgspec.DecodeError, ValueError, CryptoError):
        raise BadCard("the file is not a delegate's card") from None
    if card.what != CARD or len(key) != KEY_BYTES:
        raise BadCard("the file is not a delegate's card of a kind that this version knows")
    if (card.chain, card.chart) != (chain.hex(), chart):
        raise BadCard(f"the card was made for chart {card.chart} on chain {card.chain[:16]}")
    return card


def guardian_public(wallet: Wallet, chain: bytes, chart: int) -> bytes:
    """This wallet's public key as a guardian of that chart, which it remembers."""
    wallet.act_for(chain, chart, GUARDIAN)
    return guardian_key(wallet.seed, chain, chart).public


def delegacy(wallet: Wallet, chain: bytes, control: dict[str, Any], act: str | None = None) -> dict[str, Any]:
    """This wallet's entry among a chart's delegates: the newest in force that may do `act` (a name of `ACTS`), else the
    newest in force, else the newest. Raises `NotADelegate`."""
    key = delegate_signing_key(wallet, chain, control["chart"]).public.hex()
    mine = [one for one in control["delegates"] if one["key"] == key]
    if not mine:
        raise NotADelegate(f"the owner of chart {control['chart']} has not named this wallet")
    return max(mine, key=lambda one: (one["state"] == "live", act in one["acts"], one["delegate"]))


def delegate_signing_key(wallet: Wallet, chain: bytes, chart: int) -> SigningKey:
    """The key with which this wallet acts as a delegate of that chart."""
    return delegate_keys(wallet.seed, chain, chart).signing_key()


def delegated_grant(chart: int, bounds: dict[str, Any], wish: Wish) -> Grant:
    """A grant over all that lies within a delegate's bounds, since a delegate has no secret to make other tags with."""
    return Grant(chart, wish.terms(tags_of(bounds)))


def sign_as_delegate(
    wallet: Wallet, chain: bytes, mine: dict[str, Any], chart: int, operation: Operation, now_ms: int
) -> bytes:
    """The canonical bytes of `operation`, co-signed as the delegate that `mine` is."""
    acting = wallet.act_for(chain, chart, DELEGATE)
    key = delegate_signing_key(wallet, chain, chart)
    return wallet.sign_for(acting, key, mine["delegate"], operation, now_ms, mine["number"])
