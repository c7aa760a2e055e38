"""From one epoch to the next: when another machine takes this one's place, whether it votes, and what it begins with.

One consensus machine lives for one epoch, so its set and parameters never change under it. Sans-I/O: the vote keys and
their journals, which may block, are ports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from node.standing import Standing
from protocol import limits
from protocol.consensus.chain import FinalHead
from protocol.consensus.core import Config
from protocol.consensus.effects import Record
from protocol.consensus.machine import Machine
from protocol.consensus.votes import epoch_of
from protocol.crypto.signing import Verifier
from protocol.errors import JournalBroken
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Certificate, Vote, VoteSubject


class FinalState(Struct, frozen=True):
    """A final block that is on disk with its state. `certificate` finalizes it (None at the genesis only), `former`
    the last block of the epoch before the next block's (None in the first)."""

    header: Header
    certificate: Certificate | None
    former: Certificate | None


class VotingKeyCore(ABC):
    """One vote key that this node holds, and the records of its journal as read at a start.

    A journal may hold records of later epochs than the chain on disk does, when that was dropped to be fetched anew:
    they are kept through every rewrite until their epoch comes, and in the epochs before them the key does not sign.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = list(records)  # as long as a machine may come that needs them

    @property
    @abstractmethod
    def epoch(self) -> int:
        """The first in which the journal itself lets the key sign."""

    @abstractmethod
    def replace(self, records: Sequence[Record], epoch: int) -> None:
        """Put these in the place of all that is in the journal, from which the key signs in no epoch before this from
        now on; durable when done. May block. Raises `JournalBroken`."""

    @abstractmethod
    def sign(self, subject: VoteSubject, index: int) -> Vote:
        """The signed vote of the authority with this index."""

    @property
    def first_epoch(self) -> int:
        """The first in which the key may sign: what it signed before that is not here any more."""
        return max([self.epoch, *(epoch_of(record) for record in self._records)])

    def records_of(self, epoch: int) -> list[Record]:
        """What was read at the start of this epoch's."""
        return [record for record in self._records if epoch_of(record) == epoch]

    def begin(self, epoch: int) -> None:
        """The epochs before this one are over, their last blocks on disk: sign in none of them, and forget what was
        signed there. May block. Raises `JournalBroken`."""
        if self.epoch < epoch:
            self.keep(self.records_of(epoch), epoch)

    def keep(self, records: Sequence[Record], epoch: int) -> None:
        """Keep these records of this epoch, and those of later ones. May block. Raises `JournalBroken`."""
        self._records = [record for record in self._records if epoch_of(record) >= epoch]
        later = [record for record in self._records if epoch_of(record) > epoch]
        self.replace([*records, *later], max(epoch, self.epoch))


K = TypeVar("K", bound=VotingKeyCore)


K_co = TypeVar("K_co", bound=VotingKeyCore, covariant=True)


class VoteKeys(Protocol[K_co]):
    """The vote keys that this node holds; see `node.epochs.VoteKeys`."""

    def take(self, public: bytes) -> K_co:
        """This key with its journal. Raises `JournalBroken` when it must not sign, or is not here."""
        ...

    def destroy_before(self, epoch: int, public: bytes) -> None:
        """Destroy the vote keys that signed only in epochs before this one, in which `public` signs, and their
        journals."""
        ...


class Seat(Struct, Generic[K], frozen=True):
    """A node's part in one epoch: its index if it votes and with what, or why it does not although it has a seat."""

    index: int | None
    voting_key: K | None
    why_silent: str | None


class Term(Struct, Generic[K], frozen=True):
    """One epoch's machine. Without `voting_key` it follows; `why_silent` says why, and what to do, if it has a seat."""

    machine: Machine
    authorities: AuthoritySet
    voting_key: K | None
    why_silent: str | None

    @property
    def epoch(self) -> int:
        return self.authorities.epoch


def due(epoch: int, state: FinalState, standing: Standing) -> bool:
    """Whether the term after this epoch's is due, since its last block is on disk.

    Not while the head in memory is in yet another epoch, whose block comes to disk any moment: parameters and set are
    those of the head in memory (`standing`).
    """
    return state.header.child_epoch != epoch and standing.authorities.epoch == state.header.child_epoch


def take_seat(authorities: AuthoritySet, institution: int | None, keys: VoteKeys[K]) -> Seat[K]:
    """The part of this institution's node in this epoch. May block. Raises `JournalBroken` for a disk that refuses."""
    epoch = authorities.epoch
    for index, member in enumerate(authorities.members):
        if member.institution != institution:
            continue
        try:
            voting_key = keys.take(member.vote_key)
        except JournalBroken as error:
            return Seat(None, None, f"{error}. {error.advice}")
        if voting_key.first_epoch > epoch:
            why = f"it has voted in epoch {voting_key.first_epoch} already, and catches up until then by itself."
            return Seat(None, None, why)
        voting_key.begin(epoch)
        keys.destroy_before(epoch, member.vote_key)
        return Seat(index, voting_key, None)
    return Seat(None, None, None)


def new_term(
    chain: bytes, authorities: AuthoritySet, params: Params, state: FinalState, seat: Seat[K], verifier: Verifier
) -> Term[K]:
    """The term of this set, whose machine begins at the final state on disk and what the journal holds of the epoch."""
    index, voting_key = seat.index, seat.voting_key
    config = Config(
        chain=chain,
        epoch=authorities.epoch,
        vote_keys=tuple(member.vote_key for member in authorities.members),
        institutions=tuple(member.institution for member in authorities.members),
        index=index,
        delta_ms=params.delta_ms,
        timeout_cap_ms=params.timeout_cap_ms,
        block_bytes=params.block_bytes,
        depth=limits.UNFINALIZED_DEPTH,
    )

    def sign(subject: VoteSubject) -> Vote:
        assert voting_key is not None
        assert index is not None
        return voting_key.sign(subject, index)

    final = FinalHead(state.header, None if state.header.ends_epoch else state.certificate)
    records = [] if voting_key is None else voting_key.records_of(authorities.epoch)
    machine = Machine(config, records, final, verifier, sign, state.former)
    return Term(machine, authorities, voting_key, seat.why_silent)
