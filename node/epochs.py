"""From one epoch to the next: which machine votes, with which key and which journal.

One consensus machine lives for one epoch, so its set and parameters never change under it. `Epochs` makes the next one
once the epoch's last block is on disk, from what the final head says and from the vote keys that this node holds. Why a
node follows without voting is decided here, and said in words.

A vote key's journal may hold records of later epochs than the chain on disk does, when that was dropped to be fetched
anew: they are kept through every rewrite until their epoch comes, and in the epochs before them the node only follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from node.keystore import Keystore, KeystoreFile
from node.logs import get_logger
from node.standing import Standing
from node.storage.journal import Journal, Owner, journals
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.consensus.chain import FinalHead
from protocol.consensus.core import Config as MachineConfig
from protocol.consensus.effects import Record
from protocol.consensus.machine import Machine
from protocol.consensus.votes import epoch_of
from protocol.crypto.signing import SigningKey, Verifier, sign_vote, verify
from protocol.errors import ChartledgerError, DecodeError, JournalBroken
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Certificate, Vote, VoteSubject

log = get_logger("epochs")

_RECORD = cast(type[Record], Record)


class FinalState(Struct, frozen=True):
    """A final block that is on disk with its state. `certificate` finalizes it (None at the genesis only), `former`
    the last block of the epoch before the next block's (None in the first)."""

    header: Header
    certificate: Certificate | None
    former: Certificate | None


class VotingKey:
    """One vote key that this node holds, and the journal of what it signed."""

    def __init__(self, key: SigningKey, journal: Journal, records: Sequence[Record]) -> None:
        self.key = key
        self._journal = journal
        self._records = list(records)  # of a start, as long as a machine may come that needs them

    @property
    def size_bytes(self) -> int:
        """Of the journal on disk."""
        return self._journal.size_bytes

    @property
    def first_epoch(self) -> int:
        """The first in which the key may sign: what it signed before that is not here any more."""
        return max([self._journal.epoch, *(epoch_of(record) for record in self._records)])

    def records_of(self, epoch: int) -> list[Record]:
        """What was read at the start of this epoch's."""
        return [record for record in self._records if epoch_of(record) == epoch]

    async def write(self, records: Sequence[bytes]) -> None:
        """Append and sync. Raises `JournalBroken`."""
        await self._journal.write(records)

    def append(self, records: Sequence[bytes]) -> None:
        """To be written by the next `write`."""
        self._journal.append(records)

    def mark(self) -> bytes:
        """See `Journal.mark`."""
        return self._journal.mark()

    def begin(self, epoch: int) -> None:
        """The epochs before this one are over, their last blocks on disk: sign in none of them, and forget what was
        signed there. Blocks. Raises `JournalBroken`."""
        if self._journal.epoch < epoch:
            self.rewrite([encode(record) for record in self.records_of(epoch)], epoch)

    def rewrite(self, records: Sequence[bytes], epoch: int) -> None:
        """Keep these records of this epoch, and those of later ones. Blocks. Raises `JournalBroken`."""
        self._records = [record for record in self._records if epoch_of(record) >= epoch]
        later = [encode(record) for record in self._records if epoch_of(record) > epoch]
        self._journal.rewrite([*records, *later], max(epoch, self._journal.epoch))

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


class VoteKeys:
    """The vote keys in the keystore, each with its journal, opened when the ledger first asks for it.

    `mark`: how far the journal of the key that signed last must reach, as the ledger database says. All of it blocks.
    """

    def __init__(self, folder: Path, chain: bytes, keys: KeystoreFile, mark: bytes | None) -> None:
        self._folder = folder
        self._chain = chain
        self._keys = keys
        self._mark = mark
        self._open: dict[bytes, VotingKey] = {}

    def take(self, public: bytes) -> VotingKey:
        """This key with its journal. Raises `JournalBroken` when it must not sign, or is not here."""
        found = self._open.get(public)
        if found is None:
            key = self._find(public)
            journal, raws = Journal.open(self._folder, Owner(self._chain, public), self._mark)
            try:
                records = [decode(_RECORD, raw) for raw in raws]
            except DecodeError as error:
                journal.close()
                raise JournalBroken(f"the journal holds what is no record: {error}") from None
            found = self._open[public] = VotingKey(key, journal, records)
        return found

    def _find(self, public: bytes) -> SigningKey:
        """Raises `JournalBroken` if the keystore does not hold it, on disk and now: a command may have added it."""
        for seed in self._keys.keystore.votes:
            if (key := SigningKey(seed)).public == public:
                return key
        try:
            for seed in self._keys.read().votes:
                if (key := SigningKey(seed)).public == public:
                    return key
        except ChartledgerError as error:
            raise JournalBroken(f"the vote key on the ledger is not at hand: {error}", advice=error.advice) from None
        raise JournalBroken(
            "the keystore does not hold the vote key that stands on the ledger",
            advice="Run `chartledger keys rotate vote --config FILE`: it makes another, with a journal of its own.",
        )

    def destroy_before(self, public: bytes) -> None:
        """Destroy the vote keys older than this one, and their journals: they signed in epochs that are over, and can
        never be asked for again.

        The key goes first. After a crash in between, its journal alone is left, and goes the next time. What fails is
        logged, and tried again at the next start or epoch: the node votes on, with the new key.
        """
        try:
            self._keys.change(
                lambda keystore: _without_votes_before(keystore, public), lambda keystore: self._sweep(keystore, public)
            )
        except (OSError, ChartledgerError) as error:
            log.warning("an old vote key could not be destroyed", reason=str(error))

    def _sweep(self, keystore: Keystore, public: bytes) -> None:
        """Remove the journals of keys that the keystore does not hold; under its lock, under which they are made. Not
        that of `public`, which this node signs with until it ends, whatever keystore was put here meanwhile."""
        held = {public, *(SigningKey(seed).public for seed in keystore.votes)}
        for path, owner in journals(self._folder).items():
            if owner.chain == self._chain and owner.vote_key not in held:
                voting_key = self._open.pop(owner.vote_key, None)
                if voting_key is not None:
                    voting_key.close()
                path.unlink()
                log.info("old vote key destroyed", vote_key=owner.vote_key.hex())

    def close(self) -> None:
        """Close every journal."""
        for voting_key in self._open.values():
            voting_key.close()
        self._open.clear()


def _without_votes_before(keystore: Keystore, public: bytes) -> Keystore:
    publics = [SigningKey(seed).public for seed in keystore.votes]
    if public not in publics:
        return keystore
    return msgspec.structs.replace(keystore, votes=keystore.votes[publics.index(public) :])


class Term(Struct, frozen=True):
    """One epoch's machine. Without `voting_key` it follows; `why_silent` says why, and what to do, if it has a seat."""

    machine: Machine
    authorities: AuthoritySet
    voting_key: VotingKey | None
    why_silent: str | None

    @property
    def epoch(self) -> int:
        return self.authorities.epoch


class Seat(Struct, frozen=True):
    """A node's part in one epoch: its index if it votes and with what, or why it does not although it has a seat."""

    index: int | None
    voting_key: VotingKey | None
    why_silent: str | None


class Epochs:
    """Makes the terms of one node. `stored` gives the final state on disk, whose child epoch the next one is for."""

    def __init__(
        self,
        *,
        chain: bytes,
        institution: int,
        standing: Standing,
        keys: VoteKeys,
        stored: Callable[[], FinalState],
        verifier: Verifier = verify,
    ) -> None:
        self._chain = chain
        self._institution = institution
        self._standing = standing
        self._keys = keys
        self._stored = stored
        self._verifier = verifier

    async def next(self, epoch: int) -> Term | None:
        """The term after this epoch's, once its last block is on disk; None until then.

        None also while the head in memory is in yet another epoch, whose block comes to disk any moment: parameters and
        set are those of the head in memory. Raises `JournalBroken` for a disk that refuses.
        """
        state = self._stored()
        if state.header.child_epoch == epoch or self._standing.authorities.epoch != state.header.child_epoch:
            return None
        authorities, params = self._standing.authorities, self._standing.params
        seat = await asyncio.to_thread(self._seat, authorities)
        return self._term(state, authorities, params, seat)

    def first(self) -> Term:
        """The term at a start, when nothing else runs yet. Blocks. Raises `JournalBroken` for a disk that refuses."""
        authorities = self._standing.authorities
        return self._term(self._stored(), authorities, self._standing.params, self._seat(authorities))

    def _seat(self, authorities: AuthoritySet) -> Seat:
        """This node's part in this epoch. Blocks."""
        epoch = authorities.epoch
        for index, member in enumerate(authorities.members):
            if member.institution != self._institution:
                continue
            try:
                voting_key = self._keys.take(member.vote_key)
            except JournalBroken as error:
                log.warning("this node does not vote", reason=str(error), advice=error.advice)
                return Seat(None, None, f"{error}. {error.advice}")
            if voting_key.first_epoch > epoch:
                why = f"it has voted in epoch {voting_key.first_epoch} already, and catches up until then by itself."
                return Seat(None, None, why)
            voting_key.begin(epoch)
            self._keys.destroy_before(member.vote_key)
            return Seat(index, voting_key, None)
        return Seat(None, None, None)

    def _term(self, state: FinalState, authorities: AuthoritySet, params: Params, seat: Seat) -> Term:
        index, voting_key = seat.index, seat.voting_key
        config = MachineConfig(
            chain=self._chain,
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
            return sign_vote(voting_key.key, subject, index)

        final = FinalHead(state.header, None if state.header.ends_epoch else state.certificate)
        records = [] if voting_key is None else voting_key.records_of(authorities.epoch)
        machine = Machine(config, records, final, self._verifier, sign, state.former)
        return Term(machine, authorities, voting_key, seat.why_silent)
