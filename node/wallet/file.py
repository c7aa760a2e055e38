"""What a wallet's sealed file holds, and how files of earlier versions are read.

The seed alone brings the keys back; the rest is what is convenient, and what a seed cannot tell: names of groups, the
secret of a chart that came to this wallet by a recovery.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from node.keystore import KeyfileRefused
from protocol.codec.canonical import decode
from protocol.crypto.tags import LabelList
from protocol.errors import ChartledgerError, DecodeError
from protocol.types.base import U16, Digest, Number, Wire
from protocol.types.operations import ROLE_DELEGATE, ROLE_GUARDIAN

VERSION: Final = 2
Seed = Annotated[bytes, Meta(min_length=32, max_length=32)]
GroupName = Annotated[str, Meta(min_length=1, max_length=80)]

DELEGATE: Final = ROLE_DELEGATE
GUARDIAN: Final = ROLE_GUARDIAN


class NoSuchChart(ChartledgerError):
    """The wallet has no such chart."""

    advice = "`chartledger wallet show` lists its charts; `chartledger wallet restore` finds them again from the words."


class WalletChart(Wire, frozen=True):
    """A chart and how its keys are found. `number` is None until it is known to be open; `used` is the highest
    number that its owner key has signed with, `version` how often that key was rotated.

    `recovered`: guardians moved the chart to this wallet. Its `secret` is then another wallet's, and comes from the
    custodian.
    """

    chain: Digest
    custodian: Number
    index: Number
    number: Number | None = None
    used: Number = 0
    version: Number = 0
    recovered: bool = False
    secret: Seed | None = None

    def __repr__(self) -> str:
        return f"WalletChart(number={self.number}, custodian={self.custodian}, index={self.index})"


class Group(Wire, frozen=True):
    """A name for institutions of one chain (ascending numbers), in this wallet alone."""

    name: GroupName
    chain: Digest
    institutions: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=64)]


class Acting(Wire, frozen=True):
    """A chart of somebody else that this wallet made a key for: as `DELEGATE` or `GUARDIAN`. `used` as in a chart."""

    chain: Digest
    chart: Number
    role: U16
    used: Number = 0


class WalletFile(Wire, frozen=True):
    """What the sealed file holds. `labels` are those used in grants besides the ones that every wallet knows."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    seed: Seed
    charts: tuple[WalletChart, ...] = ()
    labels: LabelList = ()
    groups: tuple[Group, ...] = ()
    acting: tuple[Acting, ...] = ()

    def __repr__(self) -> str:
        return f"WalletFile(charts={len(self.charts)})"


class WalletChart1(Wire, frozen=True):
    """A chart in files of version 1."""

    chain: Digest
    custodian: Number
    index: Number
    number: Number | None = None
    used: Number = 0


class WalletFile1(Wire, frozen=True):
    """Files of version 1, when owner keys could not change and nobody acted for another."""

    version: Annotated[int, Meta(ge=1, le=1)]
    seed: Seed
    charts: tuple[WalletChart1, ...] = ()
    labels: LabelList = ()


def read_content(plain: bytes, path: object) -> WalletFile:
    """What a file held, of whatever version; it is written as the newest with the next change. Raises
    `KeyfileRefused`."""
    try:
        return decode(WalletFile, plain)
    except DecodeError:
        pass
    try:
        old = decode(WalletFile1, plain)
    except DecodeError:
        raise KeyfileRefused(f"{path} is a key file, but not a wallet") from None
    charts = tuple(WalletChart(c.chain, c.custodian, c.index, c.number, c.used) for c in old.charts)
    return WalletFile(VERSION, old.seed, charts, old.labels)
