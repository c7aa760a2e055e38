"""A patient's wallet: one seed, and which charts it opened; everything that an owner signs is made here.

The seed alone brings everything back: keys derive from it, and what a grant covers is found by trying known labels.
The file adds what is convenient: the list of charts, and numbers used. Relies on `protocol.crypto` and
`node.keystore` for the sealed file. It makes operations and never sends them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from node.keystore import KeyfileRefused, open_file, write_file
from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import MLKEM768_X25519, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import cosign
from protocol.crypto.tags import GrantLabels, LabelList, grant_tags, tag
from protocol.crypto.wallet import ChartKeys, chart_keys
from protocol.errors import ChartledgerError, DecodeError
from protocol.types.base import Digest, Number, Wire
from protocol.types.operations import (
    ROLE_OWNER,
    Grant,
    GrantTags,
    GrantTerms,
    OpenChart,
    Operation,
    Reissue,
    Revoke,
    SignedOperation,
)

EXPIRY_MS = 60 * 60 * 1_000
"""How long a co-signature may be used: long enough to carry it from a phone to a desk."""


class NoSuchChart(ChartledgerError):
    """The wallet has no such chart."""

    advice = "`chartledger wallet show` lists its charts; `chartledger wallet restore` finds them again from the words."


class GrantTooWide(ChartledgerError):
    """The grant would list more than it may."""

    advice = "Name fewer categories, years or sensitivities, or leave categories and years out, which means any."


class WalletChart(Wire, frozen=True):
    """A chart and how its keys are found. `number` is None until it is known to be open; `used` is the highest
    number that its owner key has signed with."""

    chain: Digest
    custodian: Number
    index: Number
    number: Number | None = None
    used: Number = 0


class WalletFile(Wire, frozen=True):
    """What the sealed file holds. `labels` are those used in grants besides the ones that every wallet knows."""

    version: Annotated[int, Meta(ge=1, le=1)]
    seed: Annotated[bytes, Meta(min_length=32, max_length=32)]
    charts: tuple[WalletChart, ...] = ()
    labels: LabelList = ()


class OpenRequest(Struct, frozen=True):
    """What the desk needs to open a chart, in the shape of POST /v1/charts."""

    owner_key: str
    encryption_suite: int
    encryption_public: str
    chart_secret: str
    cosignature: dict[str, Any]

    def json(self) -> dict[str, Any]:
        """As a JSON document."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


class Wallet:
    """An opened wallet. Each change is written before anything that it signed is handed out."""

    def __init__(self, path: Path, passphrase: bytes, content: WalletFile, cost: Cost | None = None) -> None:
        self.path = path
        self._passphrase = passphrase
        self._cost = cost
        self.content = content

    @classmethod
    def create(cls, path: Path, passphrase: bytes, seed: bytes | None = None, cost: Cost | None = None) -> Wallet:
        """A new wallet file around `seed` (32 bytes), or a fresh one. Raises `KeyfileRefused` if the file exists."""
        content = WalletFile(1, seed or secrets.token_bytes(32))
        write_file(path, encode(content), passphrase, cost)
        return cls(path, passphrase, content, cost)

    @classmethod
    def open(cls, path: Path, passphrase: bytes, cost: Cost | None = None) -> Wallet:
        """The wallet at `path`. Raises `KeyfileRefused` or `WrongPassphrase`."""
        try:
            return cls(path, passphrase, decode(WalletFile, open_file(path, passphrase)), cost)
        except DecodeError:
            raise KeyfileRefused(f"{path} is a key file, but not a wallet") from None

    def chart(self, chain: bytes, number: int) -> WalletChart:
        """The chart with this number on that chain. Raises `NoSuchChart`."""
        for chart in self.content.charts:
            if chart.chain == chain and chart.number == number:
                return chart
        raise NoSuchChart(f"the wallet {self.path} has no chart {number} on chain {chain.hex()[:16]}")

    def keys(self, chart: WalletChart) -> ChartKeys:
        """The secrets of one of its charts."""
        return chart_keys(self.content.seed, chart.chain, chart.custodian, chart.index)

    def reserve_chart(self, chain: bytes, custodian: int) -> WalletChart:
        """The next unused derivation for a chart with this custodian, noted in the file.

        An earlier one whose opening was never confirmed is taken again: its key opens at most one chart.
        """
        mine = [c for c in self.content.charts if c.chain == chain and c.custodian == custodian]
        for chart in mine:
            if chart.number is None:
                return chart
        chart = WalletChart(chain, custodian, len(mine))
        self._save(charts=(*self.content.charts, chart))
        return chart

    def opening(self, chart: WalletChart, now_ms: int) -> OpenRequest:
        """What to hand over so that `chart` is opened. `now_ms` is ledger time, or close to it."""
        keys = self.keys(chart)
        key = keys.signing_key()
        _, public = keypair_from_seed(MLKEM768_X25519, keys.encryption_seed)
        encryption_key = encryption_key_digest(MLKEM768_X25519, public)
        operation = OpenChart(chart.custodian, key.public, MLKEM768_X25519, encryption_key)
        number = self._use_number(chart, 0)
        signed = cosign(key, chart.chain, operation, ROLE_OWNER, number, now_ms + EXPIRY_MS)
        return OpenRequest(
            owner_key=key.public.hex(),
            encryption_suite=MLKEM768_X25519,
            encryption_public=public.hex(),
            chart_secret=keys.chart_secret.hex(),
            cosignature={"number": number, "expires_at": signed.expires_at, "signature": signed.signature.hex()},
        )

    def opened(self, chart: WalletChart, number: int) -> WalletChart:
        """Note that `chart` is open under `number`."""
        return self._change(self._current(chart), number=number)

    def found(self, chain: bytes, custodian: int, index: int, number: int) -> None:
        """Note a chart that the ledger shows to be this wallet's."""
        known = any(c.chain == chain and c.custodian == custodian and c.index == index for c in self.content.charts)
        if not known:
            chart = WalletChart(chain, custodian, index, number)
            self._save(charts=(*self.content.charts, chart))

    def sign(self, chart: WalletChart, operation: Operation, now_ms: int, ledger_used: int = 0) -> bytes:
        """The canonical bytes of `operation` co-signed by the chart's owner.

        `ledger_used` is the highest number that the ledger has seen of this owner, if known.
        """
        number = self._use_number(chart, ledger_used)
        key = self.keys(chart).signing_key()
        signed = cosign(key, chart.chain, operation, ROLE_OWNER, number, now_ms + EXPIRY_MS)
        return encode(SignedOperation(operation, (signed,)))

    def grant(
        self,
        chart: WalletChart,
        generation: int,
        grantees: Iterable[int],
        labels: GrantLabels,
        *,
        purposes: Iterable[str],
        not_before: int,
        not_after: int,
    ) -> Grant:
        """A grant over records of all the chart's generations so far; times in ms of ledger time."""
        assert chart.number is not None, "a chart is granted once it is open"
        self._remember(labels)
        tags = tags_through(self.keys(chart).chart_secret, generation, labels)
        terms = GrantTerms(tuple(sorted(set(grantees))), tags, tuple(sorted(set(purposes))), not_before, not_after)
        return Grant(chart.number, terms)

    def revocation(
        self, chart: WalletChart, generation: int, grant: int, live: Mapping[int, GrantTags]
    ) -> tuple[Revoke, list[int]]:
        """The revocation of `grant`, with fresh tags for the other `live` grants (number -> tags).

        Also returns the grants whose tags hold a label that this wallet does not know: those go on as they are and
        cover no record written afterwards.
        """
        assert chart.number is not None, "a chart is open before anything is revoked"
        secret = self.keys(chart).chart_secret
        reissues: list[Reissue] = []
        unknown: list[int] = []
        for number, tags in sorted(live.items()):
            labels = self.labels_of(chart, generation, tags)
            if labels is None or len(reissues) == limits.REISSUES_PER_REVOKE:
                unknown.append(number)
            else:
                reissues.append(Reissue(number, tags_through(secret, generation + 1, labels)))
        return Revoke(chart.number, grant, tuple(reissues)), unknown

    def labels_of(self, chart: WalletChart, generation: int, tags: GrantTags) -> GrantLabels | None:
        """What a grant's tags mean, or None if one of them is of a label that this wallet does not know."""
        secret = self.keys(chart).chart_secret
        known = (RESOURCE_TYPES, YEARS, SENSITIVITY_LABELS, SENSITIVITY_LABELS)
        found: list[tuple[str, ...] | None] = []
        for position, listed in enumerate(tags):
            if listed is None:
                found.append(None)
                continue
            candidates = (*known[position], *self.content.labels)
            meaning = {
                tag(secret, age, position, label): label for age in range(generation + 1) for label in candidates
            }
            if any(one not in meaning for one in listed):
                return None
            found.append(tuple(sorted({meaning[one] for one in listed})))
        sensitivities = set(found[2] or ()) | set(found[3] or ())
        return GrantLabels(found[0], found[1], tuple(sorted(sensitivities - {"none"})))

    def _remember(self, labels: GrantLabels) -> None:
        named = {*(labels.categories or ()), *(labels.years or ()), *labels.sensitivities}
        fresh = named - {*RESOURCE_TYPES, *YEARS, *SENSITIVITY_LABELS, *self.content.labels}
        if fresh:
            self._save(labels=(*self.content.labels, *sorted(fresh)))

    def _use_number(self, chart: WalletChart, ledger_used: int) -> int:
        current = self._current(chart)
        number = max(current.used, ledger_used) + 1
        self._change(current, used=number)
        return number

    def _current(self, chart: WalletChart) -> WalletChart:
        place = (chart.chain, chart.custodian, chart.index)
        return next(c for c in self.content.charts if (c.chain, c.custodian, c.index) == place)

    def _change(self, old: WalletChart, **changes: Any) -> WalletChart:
        new = msgspec.structs.replace(old, **changes)
        self._save(charts=tuple(new if c is old else c for c in self.content.charts))
        return new

    def _save(self, **changes: Any) -> None:
        content = msgspec.structs.replace(self.content, **changes)
        write_file(self.path, encode(content), self._passphrase, self._cost, replace=True)
        self.content = content


def tags_through(chart_secret: bytes, generation: int, labels: GrantLabels) -> GrantTags:
    """Tags for `labels` of every generation up to `generation`, since a record keeps those it was written with.

    When that is more than a grant may list, the oldest generations go first. Raises `GrantTooWide` if even one
    generation is too many.
    """
    positions: list[set[bytes] | None] = [None, None, set(), set()]
    for age in range(generation, -1, -1):
        tags = grant_tags(chart_secret, age, labels)
        wider = [None if new is None else (old or set()) | set(new) for old, new in zip(positions, tags, strict=True)]
        if any(listed is not None and len(listed) > limits.TAGS_PER_POSITION for listed in wider):
            if age == generation:
                raise GrantTooWide(f"a grant lists at most {limits.TAGS_PER_POSITION} labels of each kind")
            break
        positions = wider
    category, year, first, second = (None if p is None else tuple(sorted(p)) for p in positions)
    assert first is not None, "sensitivities are always listed"
    assert second is not None, "sensitivities are always listed"
    return category, year, first, second


def label_list(values: Sequence[str]) -> tuple[str, ...] | None:
    """Labels as given on a command line: none given means any."""
    return tuple(sorted(set(values))) or None
