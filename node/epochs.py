"""From one epoch to the next: which machine votes, with which key and which journal.

`Epochs` makes the next machine once the epoch's last block is on disk, from what the final head says and from the vote
keys that this node holds. When, and whether it votes, is decided by `node.sansio.terms`; keys and journals are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from node.keystore import Keystore, KeystoreFile
from node.logs import get_logger
from node.sansio import terms
from node.sansio.terms import FinalState
from node.standing import Standing
from node.storage.journal import Journal, Owner, journals, last_epoch
from protocol.codec.canonical import decode, encode
from protocol.consensus.effects import Record
from protocol.crypto.signing import SigningKey, Verifier, sign_vote, verify
from protocol.errors import ChartledgerError, DecodeError, JournalBroken
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Vote, VoteSubject

log = get_logger("epochs")

_RECORD = cast(type[Record], Record)


class VotingKey(terms.VotingKeyCore):
    """See `terms.VotingKeyCore`; its journal is a file."""

    def __init__(self, key: SigningKey, journal: Journal, records: Sequence[Record]) -> None:
        super().__init__(records)
        self.key = key
        self._journal = journal

    @property
    def size_bytes(self) -> int:
        """Of the journal on disk."""
        return self._journal.size_bytes

    @property
    def epoch(self) -> int:
        """See `Journal.epoch`."""
        return self._journal.epoch

    def sign(self, subject: VoteSubject, index: int) -> Vote:
        """The signed vote of the authority with this index."""
        return sign_vote(self.key, subject, index)

    async def write(self, records: Sequence[bytes]) -> None:
        """Append and sync. Raises `JournalBroken`."""
        await self._journal.write(records)

    def append(self, records: Sequence[bytes]) -> None:
        """To be written by the next `write`."""
        self._journal.append(records)

    def mark(self) -> bytes:
        """See `Journal.mark`."""
        return self._journal.mark()

    def replace(self, records: Sequence[Record], epoch: int) -> None:
        """See `Journal.rewrite`. Blocks. Raises `JournalBroken`."""
        self._journal.rewrite([encode(record) for record in records], epoch)

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

    def destroy_before(self, epoch: int, public: bytes) -> None:
        """Destroy the vote keys that signed only in epochs before this one, and their journals: nothing can ask for
        them again, since the ledger takes no key twice. `public` has the seat now. Their journals say so, not their
        age: of two changes that were under way at once, the one that was made first may become final last. So one that
        never signed stays, and one that signed in a later epoch, if the chain is fetched anew.

        The key goes first. After a crash in between, its journal alone is left, and goes the next time. What fails is
        logged, and tried again at the next start or epoch: the node votes on, with the new key.
        """
        try:
            self._keys.change(
                lambda keystore: self._without_used_before(keystore, epoch, public),
                lambda keystore: self._sweep(keystore, public),
            )
        except (OSError, ChartledgerError) as error:
            log.warning("an old vote key could not be destroyed", reason=str(error))

    def _without_used_before(self, keystore: Keystore, epoch: int, public: bytes) -> Keystore:
        publics = [SigningKey(seed).public for seed in keystore.votes]
        if public not in publics:
            return keystore
        older = publics[: publics.index(public)]
        gone = {key for key in publics if key != public and self._over(key, epoch, key in older)}
        kept = tuple(seed for seed, key in zip(keystore.votes, publics, strict=True) if key not in gone)
        return msgspec.structs.replace(keystore, votes=kept)

    def _over(self, public: bytes, epoch: int, older: bool) -> bool:
        """Whether this key signed, and only before this epoch; without its journal it can sign no more, so its age
        (`older` than the one that does) decides."""
        taken = self._open.get(public)
        if taken is not None:
            return taken.epoch < epoch
        try:
            last = last_epoch(self._folder, Owner(self._chain, public))
        except JournalBroken:
            return older
        return last is not None and last < epoch

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


Term = terms.Term[VotingKey]


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
        """The term after this epoch's, once its last block is on disk; None until then (see `terms.due`). Raises
        `JournalBroken` for a disk that refuses."""
        state = self._stored()
        if not terms.due(epoch, state, self._standing):
            return None
        authorities, params = self._standing.authorities, self._standing.params
        seat = await asyncio.to_thread(self._seat, authorities)
        return terms.new_term(self._chain, authorities, params, state, seat, self._verifier)

    def first(self) -> Term:
        """The term at a start, when nothing else runs yet. Blocks. Raises `JournalBroken` for a disk that refuses."""
        authorities, params = self._standing.authorities, self._standing.params
        seat = self._seat(authorities)
        return terms.new_term(self._chain, authorities, params, self._stored(), seat, self._verifier)

    def _seat(self, authorities: AuthoritySet) -> terms.Seat[VotingKey]:
        """This node's part in this epoch. Blocks."""
        seat = terms.take_seat(authorities, self._institution, self._keys)
        if seat.why_silent is not None:
            log.warning("this node does not vote", reason=seat.why_silent)
        return seat
