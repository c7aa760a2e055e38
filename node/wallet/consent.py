"""What an owner allows and forbids, made into operations: grants, revocations, policies, delegates.

`control` is the document of GET /v1/charts/{chart}/control: how things stand on the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from node.wallet.file import WalletChart
from node.wallet.tagging import BarTooWide, Forbidden, UnknownLabels, bars_through, tags_through
from node.wallet.wallet import Wallet
from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.tags import GrantLabels
from protocol.types.operations import (
    ACCESS_READ,
    ACT_GRANT,
    ACT_READ,
    ACT_REVOKE,
    Bar,
    BreakGlassMode,
    Delegate,
    DelegateReissue,
    DelegateTerms,
    Grant,
    GrantTags,
    GrantTerms,
    Policy,
    Reissue,
    Revoke,
    SetPolicy,
)

Control = dict[str, Any]

MODES: Final = {
    "allowed": BreakGlassMode.ALLOWED,
    "two-institutions": BreakGlassMode.TWO_INSTITUTIONS,
    "forbidden": BreakGlassMode.FORBIDDEN,
}
ACTS: Final = {"grant": ACT_GRANT, "revoke": ACT_REVOKE, "read": ACT_READ}
IN_FORCE: Final = ("live", "not-yet")
REVOKE_BYTES: Final = limits.TRANSACTION_BYTES - 16 * 1024
"""What a revocation may take of a transaction, the rest of which is envelope."""


class Wish(Struct, frozen=True):
    """What is to be permitted, in clear. `access` are bits of `ACCESS_*`; times are ms of ledger time."""

    grantees: tuple[int, ...]
    labels: GrantLabels
    purposes: tuple[str, ...]
    not_before: int
    not_after: int
    access: int = ACCESS_READ
    practitioners: tuple[bytes, ...] = ()

    def terms(self, tags: GrantTags) -> GrantTerms:
        """As it stands on the ledger, with these tags for its labels."""
        return GrantTerms(
            tuple(sorted(set(self.grantees))),
            tags,
            tuple(sorted(set(self.purposes))),
            self.not_before,
            self.not_after,
            self.access,
            tuple(sorted(set(self.practitioners))) or None,
        )


class NotRenewed(Struct, frozen=True):
    """What a revocation leaves behind in the old generation, so that it says nothing of records written from now on:
    grants and delegates by number, and whether bars, which then close all of those."""

    grants: list[int]
    delegates: list[int]
    bars: bool


def grant(wallet: Wallet, chart: WalletChart, generation: int, wish: Wish) -> Grant:
    """A grant over records of all the chart's generations so far. Raises `GrantTooWide`."""
    assert chart.number is not None, "a chart is granted once it is open"
    _remember(wallet, wish.labels)
    return Grant(chart.number, wish.terms(tags_through(wallet.chart_secret(chart), generation, wish.labels)))


def revocation(wallet: Wallet, chart: WalletChart, control: Control, number: int) -> tuple[Revoke, NotRenewed]:
    """The revocation of grant `number`, with fresh tags for what goes on: the policy's bars first, then delegates'
    bounds and the other grants in force or to come, as far as their labels are known and one operation holds them."""
    assert chart.number is not None, "a chart is open before anything is revoked"
    secret, generation = wallet.chart_secret(chart), control["generation"]
    meanings = wallet.meanings(chart, generation)
    bars, kept_bars = _fresh_bars(wallet, chart, control)
    left = NotRenewed([], [], kept_bars)
    room = REVOKE_BYTES - len(encode(Policy(bars=bars or ())))

    def fresh(tags: GrantTags) -> GrantTags | None:
        nonlocal room
        labels = meanings.grant(tags)
        new = None if labels is None else tags_through(secret, generation + 1, labels)
        if new is not None:
            room -= sum(18 * len(listed) + 8 for listed in new if listed is not None) + 16
        return new if room > 0 else None

    delegates: list[DelegateReissue] = []
    for one in control["delegates"]:
        if one["state"] in IN_FORCE:
            tags = fresh(tags_of(one)) if len(delegates) < limits.DELEGATES_PER_REVOKE else None
            if tags is None:
                left.delegates.append(one["delegate"])
            else:
                delegates.append(DelegateReissue(one["delegate"], tags))
    reissues: list[Reissue] = []
    for one in control["grants"]:
        if one["state"] in IN_FORCE and one["grant"] != number:
            tags = fresh(tags_of(one)) if len(reissues) < limits.REISSUES_PER_REVOKE else None
            if tags is None:
                left.grants.append(one["grant"])
            else:
                reissues.append(Reissue(one["grant"], tags))
    return Revoke(chart.number, number, tuple(reissues), tuple(delegates), bars), left


def _fresh_bars(wallet: Wallet, chart: WalletChart, control: Control) -> tuple[tuple[Bar, ...] | None, bool]:
    if not control["policy"]["bars"]:
        return None, False
    try:
        rules = forbidden_by(wallet, chart, control)
        return bars_through(wallet.chart_secret(chart), control["generation"] + 1, rules), False
    except (UnknownLabels, BarTooWide):
        return None, True


def forbidden_by(wallet: Wallet, chart: WalletChart, control: Control) -> list[Forbidden]:
    """What the chart's policy forbids, in clear. Raises `UnknownLabels`."""
    return wallet.meanings(chart, control["generation"]).forbidden([bar_of(one) for one in control["policy"]["bars"]])


def policy(wallet: Wallet, chart: WalletChart, control: Control, mode: str, rules: Iterable[Forbidden]) -> SetPolicy:
    """The chart's policy, whole: the mode of break-glass by name, and all that is forbidden. Raises `BarTooWide`."""
    assert chart.number is not None, "a chart has a policy once it is open"
    listed = sorted(set(rules), key=repr)
    for rule in listed:
        wallet.remember([*(rule.categories or ()), *(rule.years or ()), *(rule.sensitivities or ())])
    bars = bars_through(wallet.chart_secret(chart), control["generation"], listed)
    return SetPolicy(chart.number, Policy(MODES[mode], bars))


class DelegateWish(Struct, frozen=True):
    """Who is to act for the owner, and how far. `acts` are bits of `ACT_*`."""

    key: bytes
    encryption_suite: int
    encryption_key: bytes
    acts: int
    labels: GrantLabels
    purposes: tuple[str, ...]
    not_before: int
    not_after: int


def delegation(wallet: Wallet, chart: WalletChart, generation: int, wish: DelegateWish) -> Delegate:
    """Name a delegate, its bounds over all the chart's generations so far. Raises `GrantTooWide`."""
    assert chart.number is not None, "a chart has delegates once it is open"
    _remember(wallet, wish.labels)
    terms = DelegateTerms(
        wish.key,
        wish.encryption_suite,
        wish.encryption_key,
        wish.acts,
        tags_through(wallet.chart_secret(chart), generation, wish.labels),
        tuple(sorted(set(wish.purposes))),
        wish.not_before,
        wish.not_after,
    )
    return Delegate(chart.number, terms)


def tags_of(document: Control) -> GrantTags:
    """A grant's tags, or a delegate's bounds, from JSON."""
    first, second, third, fourth = map(_listed, document["tags"])
    assert third is not None, "sensitivities are always listed"
    assert fourth is not None, "sensitivities are always listed"
    return first, second, third, fourth


def bar_of(document: Control) -> Bar:
    """A bar from JSON."""
    first, second, third = map(_listed, document["tags"])
    return Bar(document["institution"], (first, second, third), document["emergencies"], document["generation"])


def _listed(listed: Sequence[str] | None) -> tuple[bytes, ...] | None:
    return None if listed is None else tuple(bytes.fromhex(one) for one in listed)


def _remember(wallet: Wallet, labels: GrantLabels) -> None:
    wallet.remember([*(labels.categories or ()), *(labels.years or ()), *labels.sensitivities])
