"""How the consortium changes itself: motions, ballots, key rotation and evidence.

Tags of the unions are wire numbers and never reused. What each means on the ledger is in docs/spec/operations.md.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.types.base import U8, U16, Digest, Number, PublicKey, Signature, TimeMs, Wire
from protocol.types.institutions import Institution
from protocol.types.votes import Vote

USE_OPERATIONS = 1
USE_VOTE = 2
"""What an institution rotates a key for, as the key's proof of possession says."""


class Application(Wire, frozen=True):
    """What an institution is to be known by, with a proof of possession of each signing key: one signature by each
    operations key in order, then the vote key's, each over chain and `institution` (`signing.apply_as`)."""

    institution: Institution
    possessions: Annotated[
        tuple[Signature, ...], Meta(min_length=2, max_length=limits.OPERATION_KEYS_PER_INSTITUTION + 1)
    ]


class Parameter(Wire, frozen=True):
    """One of the chain's parameters, by its name in `Params`, and its new value."""

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    value: Number


class Accredit(Wire, frozen=True, tag=1):
    """Take in a new institution. The ledger assigns its number."""

    application: Application


class Suspend(Wire, frozen=True, tag=2):
    """An accredited institution may submit nothing, and votes no more, until it is reinstated."""

    institution: Number


class Reinstate(Wire, frozen=True, tag=3):
    """A suspended institution is accredited again, without authority."""

    institution: Number


class Remove(Wire, frozen=True, tag=4):
    """An institution leaves for good. Its number stays its own."""

    institution: Number


class GiveAuthority(Wire, frozen=True, tag=5):
    """An accredited institution votes from the next epoch on."""

    institution: Number


class TakeAuthority(Wire, frozen=True, tag=6):
    """An institution votes no more from the next epoch on."""

    institution: Number


class ReplaceKeys(Wire, frozen=True, tag=7):
    """New keys for an institution that cannot sign for itself any more. The application's name is its name."""

    institution: Number
    application: Application


class SetParameters(Wire, frozen=True, tag=8):
    """New values of parameters, strictly ascending by name; those not named stay."""

    parameters: Annotated[tuple[Parameter, ...], Meta(min_length=1, max_length=limits.PARAMETERS_PER_MOTION)]


Change = Accredit | Suspend | Reinstate | Remove | GiveAuthority | TakeAuthority | ReplaceKeys | SetParameters
"""What a motion would do."""


class Motion(Wire, frozen=True, tag=6):
    """An authority moves a change, and thereby votes for it. Passes with a quorum, or expires (ledger time)."""

    change: Change
    expires_at: TimeMs


class Ballot(Wire, frozen=True, tag=7):
    """An authority's vote on a motion. `change` is the motion's: a ballot says itself what it is for."""

    motion: Number
    change: Change
    favour: bool


class SetOperationsKey(Wire, frozen=True, tag=1):
    """A new operations key: at the next free index, or in place of the one at `index`."""

    index: U8
    key: PublicKey
    possession: Signature


class RetireOperationsKey(Wire, frozen=True, tag=2):
    """Nothing signed with the operations key at this index counts any more. One must stay."""

    index: U8


class SetVoteKey(Wire, frozen=True, tag=3):
    """A new vote key, which counts from the next epoch on: an authority's ends this one."""

    key: PublicKey
    possession: Signature


class AddNetworkCertificate(Wire, frozen=True, tag=4):
    """A second certificate (DER) that peers accept besides the first."""

    certificate: Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE_DER_BYTES)]


class RetireNetworkCertificate(Wire, frozen=True, tag=5):
    """Peers accept the certificate at this index no more. One must stay."""

    index: U8


class SetEncryptionKey(Wire, frozen=True, tag=6):
    """What is sealed to this institution from now on is sealed to this key (digest), of this suite."""

    suite: U16
    key: Digest


KeyChange = (
    SetOperationsKey
    | RetireOperationsKey
    | SetVoteKey
    | AddNetworkCertificate
    | RetireNetworkCertificate
    | SetEncryptionKey
)


class RotateInstitutionKey(Wire, frozen=True, tag=8):
    """An institution changes one of its own keys."""

    change: KeyChange


class ReportEquivocation(Wire, frozen=True, tag=9):
    """Two votes of one authority, of one epoch and view, that contradict each other, in ascending canonical order."""

    first: Vote
    second: Vote
