"""An opened wallet: which charts it has, their keys, and the numbers that it signs with.

Relies on `protocol.crypto` and `node.keystore` for the sealed file. It makes operations and never sends them. The file
is written before anything that it signed is handed out. Two commands may use one file at once: each change begins with
what the other wrote, under the file's lock, so that neither loses the other's charts nor signs with its number. A
second device with the same seed has a file of its own, so the ledger's number counts where it is higher.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from node.keystore import KEYFILE_BYTES, locked, open_file, read_private, write_file
from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from node.wallet.file import VERSION, Acting, Group, NoSuchChart, WalletChart, WalletFile, read_content
from node.wallet.tagging import Meanings
from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.envelopes import MLKEM768_X25519, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import SigningKey, cosign
from protocol.crypto.wallet import ChartKeys, chart_keys
from protocol.errors import ChartledgerError
from protocol.types.operations import ROLE_OWNER, OpenChart, Operation, OwnerKeys, SignedOperation

EXPIRY_MS = 60 * 60 * 1_000
"""How long a co-signature may be used: long enough to carry it from a phone to a desk."""
FILE_BYTES = KEYFILE_BYTES - 1024
"""What may be sealed into a file that opens again."""
VERSIONS_AHEAD = 16
"""How many rotations another device may have made since this file was last used."""


class NotTheOwner(ChartledgerError):
    """The ledger names another key as the owner's than this wallet has."""

    advice = (
        "`chartledger recovery status` shows whether a change waits; a chart that was moved to another wallet is that "
        "one's now."
    )


class NoChartSecret(ChartledgerError):
    """This chart came to the wallet by a recovery, and its secret has not been fetched yet."""

    advice = "Run `chartledger recovery complete CHART` at the custodian's socket, once the change is complete."


class WalletFull(ChartledgerError):
    """The wallet's file would hold more than can be read back."""

    advice = "Forget groups with `chartledger group remove`, or make a second wallet for further charts."


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

    def __repr__(self) -> str:
        return "OpenRequest(hidden)"


class Wallet:
    """An opened wallet. Each change is written before anything that it signed is handed out."""

    def __init__(
        self, path: Path, passphrase: bytes, content: WalletFile, raw: bytes, cost: Cost | None = None
    ) -> None:
        """`raw`: the file's bytes, in which `content` lies sealed."""
        self.path = path
        self._passphrase = passphrase
        self._cost = cost
        self._raw = raw
        self._changing = False
        self.content = content

    @classmethod
    def create(cls, path: Path, passphrase: bytes, seed: bytes | None = None, cost: Cost | None = None) -> Wallet:
        """A new wallet file around `seed` (32 bytes), or a fresh one. Raises `KeyfileRefused` if the file exists."""
        content = WalletFile(VERSION, seed or secrets.token_bytes(32))
        return cls(path, passphrase, content, write_file(path, encode(content), passphrase, cost), cost)

    @classmethod
    def open(cls, path: Path, passphrase: bytes, cost: Cost | None = None) -> Wallet:
        """The wallet at `path`. Raises `KeyfileRefused` or `WrongPassphrase`."""
        plain, raw = open_file(path, passphrase)
        return cls(path, passphrase, read_content(plain, path), raw, cost)

    @property
    def seed(self) -> bytes:
        """32 bytes from which every key derives."""
        return self.content.seed

    # --- charts ----------------------------------------------------------------------------------------------

    def chart(self, chain: bytes, number: int) -> WalletChart:
        """The chart with this number on that chain, the last one if it came back to this wallet. Raises
        `NoSuchChart`."""
        for chart in reversed(self.content.charts):
            if chart.chain == chain and chart.number == number:
                return chart
        raise NoSuchChart(f"the wallet {self.path} has no chart {number} on chain {chain.hex()[:16]}")

    def keys(self, chart: WalletChart, version: int | None = None) -> ChartKeys:
        """The secrets of one of its charts, of its present version or another; for tags use `chart_secret`."""
        at = chart.version if version is None else version
        return chart_keys(self.seed, chart.chain, chart.custodian, chart.index, at)

    def owner_keys(self, chart: WalletChart, version: int | None = None, suite: int = MLKEM768_X25519) -> OwnerKeys:
        """The public keys that stand on the ledger for those, with an envelope key of this suite."""
        keys = self.keys(chart, version)
        digest = encryption_key_digest(suite, self.encryption_public(chart, version, suite))
        return OwnerKeys(keys.signing_key().public, suite, digest)

    def encryption_public(self, chart: WalletChart, version: int | None = None, suite: int = MLKEM768_X25519) -> bytes:
        """The public envelope key of the chart's owner, which the custodian needs besides its digest."""
        return keypair_from_seed(suite, self.keys(chart, version).encryption_seed)[1]

    def chart_secret(self, chart: WalletChart) -> bytes:
        """32 bytes: what the chart's tags are made with. Raises `NoChartSecret`."""
        if not chart.recovered:
            return self.keys(chart).chart_secret
        if chart.secret is None:
            raise NoChartSecret(f"the secret of chart {chart.number} has not been fetched yet")
        return chart.secret

    def meanings(self, chart: WalletChart, generation: int) -> Meanings:
        """What the tags of the chart mean. Raises `NoChartSecret`."""
        return Meanings(self.chart_secret(chart), generation, self.content.labels)

    def reserve_chart(self, chain: bytes, custodian: int) -> WalletChart:
        """The next unused derivation for a chart with this custodian, noted in the file.

        An earlier one whose opening was never confirmed is taken again: its key opens at most one chart.
        """
        with self._alone():
            mine = [c for c in self.content.charts if c.chain == chain and c.custodian == custodian]
            for chart in mine:
                if chart.number is None:
                    return chart
            return self._add(WalletChart(chain, custodian, _next_index(mine)))

    def reserve_recovered(self, chain: bytes, custodian: int, number: int) -> WalletChart:
        """Keys to which guardians are to move chart `number`; the same when they are asked for again."""
        with self._alone():
            mine = [c for c in self.content.charts if c.chain == chain and c.custodian == custodian]
            for chart in mine:
                if chart.number == number and chart.recovered and chart.secret is None and chart.version == 0:
                    return chart
            return self._add(WalletChart(chain, custodian, _next_index(mine), number, recovered=True))

    def opening(self, chart: WalletChart, now_ms: int) -> OpenRequest:
        """What to hand over so that `chart` is opened. `now_ms` is ledger time, or close to it."""
        keys, public = self.owner_keys(chart), self.encryption_public(chart)
        operation = OpenChart(chart.custodian, keys.owner_key, keys.encryption_suite, keys.encryption_key)
        number = self._use_number(chart, 0)
        signed = cosign(self.keys(chart).signing_key(), chart.chain, operation, ROLE_OWNER, number, now_ms + EXPIRY_MS)
        return OpenRequest(
            owner_key=keys.owner_key.hex(),
            encryption_suite=keys.encryption_suite,
            encryption_public=public.hex(),
            chart_secret=self.keys(chart).chart_secret.hex(),
            cosignature={"number": number, "expires_at": signed.expires_at, "signature": signed.signature.hex()},
        )

    def opened(self, chart: WalletChart, number: int) -> WalletChart:
        """Note that `chart` is open under `number`."""
        with self._alone():
            return self._change(self._current(chart), number=number)

    def found(
        self, chain: bytes, custodian: int, index: int, number: int, *, version: int = 0, recovered: bool = False
    ) -> None:
        """Note a chart that the ledger shows to be this wallet's."""
        with self._alone():
            known = any(c.chain == chain and c.custodian == custodian and c.index == index for c in self.content.charts)
            if not known:
                self._add(WalletChart(chain, custodian, index, number, version=version, recovered=recovered))

    def version_of(self, chart: WalletChart, owner_key: bytes, first: int = 0) -> int | None:
        """Which version of this chart's keys `owner_key` is, from `first` on."""
        for version in range(first, max(first, chart.version) + VERSIONS_AHEAD + 1):
            if self.keys(chart, version).signing_key().public == owner_key:
                return version
        return None

    def catch_up(self, chart: WalletChart, owner_key: bytes) -> WalletChart:
        """The chart at the version whose key the ledger names as the owner's: a rotation may have come through, or
        another device rotated. Raises `NotTheOwner`."""
        current = self._current(chart)
        version = self.version_of(current, owner_key, current.version)
        if version is None:
            raise NotTheOwner(f"this wallet does not own chart {chart.number}: the ledger names another owner key")
        if version == current.version:
            return current
        with self._alone():
            current = self._current(chart)
            return current if version <= current.version else self._change(current, version=version, used=0)

    def keep_secret(self, chart: WalletChart, secret: bytes) -> WalletChart:
        """Note the secret of a chart that was recovered."""
        with self._alone():
            return self._change(self._current(chart), secret=secret)

    # --- signing ---------------------------------------------------------------------------------------------

    def sign(self, chart: WalletChart, operation: Operation, now_ms: int, ledger_used: int = 0) -> bytes:
        """The canonical bytes of `operation` co-signed by the chart's owner.

        `ledger_used` is the highest number that the ledger has seen of this owner, if known.
        """
        number = self._use_number(chart, ledger_used)
        key = self.keys(self._current(chart)).signing_key()
        signed = cosign(key, chart.chain, operation, ROLE_OWNER, number, now_ms + EXPIRY_MS)
        return encode(SignedOperation(operation, (signed,)))

    def sign_for(  # whom for, what, when, and what the ledger knows
        self, acting: Acting, key: SigningKey, actor: int, operation: Operation, now_ms: int, ledger_used: int
    ) -> bytes:
        """The same as a delegate (number `actor` in the ledger) of somebody else's chart."""
        with self._alone():
            known = next(one for one in self.content.acting if _same(one, acting))
            number = max(known.used, ledger_used) + 1
            used = msgspec.structs.replace(known, used=number)
            self._save(acting=tuple(used if one is known else one for one in self.content.acting))
        signed = cosign(key, acting.chain, operation, acting.role, number, now_ms + EXPIRY_MS, actor=actor)
        return encode(SignedOperation(operation, (signed,)))

    # --- what a seed cannot tell -------------------------------------------------------------------------------

    def act_for(self, chain: bytes, chart: int, role: int) -> Acting:
        """Note that this wallet acts for the owner of that chart in this role."""
        acting = Acting(chain, chart, role)
        with self._alone():
            for known in self.content.acting:
                if _same(known, acting):
                    return known
            self._save(acting=(*self.content.acting, acting))
            return acting

    def set_group(self, name: str, chain: bytes, institutions: Iterable[int]) -> None:
        """Give institutions a name; no institutions take it away. What was granted under it before stays as it is."""
        numbers = tuple(sorted(set(institutions)))
        with self._alone():
            others = tuple(one for one in self.content.groups if (one.name, one.chain) != (name, chain))
            self._save(groups=(*others, Group(name, chain, numbers)) if numbers else others)

    def remember(self, named: Iterable[str]) -> None:
        """Note labels, so that this wallet can tell later what it granted or forbade."""
        unusual = set(named) - {*RESOURCE_TYPES, *YEARS, *SENSITIVITY_LABELS}
        if unusual <= set(self.content.labels):
            return
        with self._alone():
            labels = (*self.content.labels, *sorted(unusual - set(self.content.labels)))
            self._save(labels=labels[-limits.TAGS_PER_POSITION :])  # those forgotten first were made up first

    def _add(self, chart: WalletChart) -> WalletChart:
        self._save(charts=(*self.content.charts, chart))
        return chart

    def _use_number(self, chart: WalletChart, ledger_used: int) -> int:
        with self._alone():
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
        plain = encode(content)
        if len(plain) > FILE_BYTES:
            raise WalletFull(f"the wallet {self.path} would hold more than {FILE_BYTES} bytes")
        self._raw = write_file(self.path, plain, self._passphrase, self._cost, replace=True)
        self.content = content

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile, and what another command changed since it was read is known. Raises
        `KeyfileRefused` or `WrongPassphrase` for a file that is gone, or sealed anew."""
        if self._changing:
            yield
            return
        with locked(self.path):
            if read_private(self.path, KEYFILE_BYTES) != self._raw:
                plain, self._raw = open_file(self.path, self._passphrase)
                self.content = read_content(plain, self.path)
            self._changing = True
            try:
                yield
            finally:
                self._changing = False


def _next_index(charts: Iterable[WalletChart]) -> int:
    return max((chart.index for chart in charts), default=-1) + 1


def _same(one: Acting, other: Acting) -> bool:
    return (one.chain, one.chart, one.role) == (other.chain, other.chart, other.role)
