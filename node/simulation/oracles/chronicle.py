"""The one chain of a history, as the first honest host to make each height final told it: what oracles compare with.

Relies on `naive` for what every block means. Whether hosts agree with the chronicle is for the oracles to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from node.simulation.oracles.naive.account import disagreement
from node.simulation.oracles.naive.ledger import Invalid, NaiveLedger
from node.simulation.oracles.records import Scene
from protocol.crypto.hashing import block_digest
from protocol.types.block import Block, Header
from protocol.types.institutions import STATUS_ACCREDITED, AuthoritySet


class Chronicle:
    """Blocks by height. `invalid`: why the naive ledger went no further, if so."""

    def __init__(self, scene: Scene) -> None:
        self._honest = scene.honest
        self._begun_ms = scene.genesis.created_at
        self._ledger = NaiveLedger(scene.genesis, scene.chain, scene.verify)
        self.blocks: dict[int, Block] = {}
        self.digests: dict[int, bytes] = {}
        self.at_height: dict[bytes, int] = {}
        self.first_ms: dict[int, int] = {}
        self.ids: dict[int, list[bytes]] = {}
        self.ends: dict[int, tuple[int, bytes]] = {}
        self.invalid: str | None = None
        self.happened: Counter[str] = Counter()

    @property
    def height(self) -> int:
        """Of the newest block that everything is known up to."""
        return self._ledger.height

    @property
    def sets(self) -> dict[int, AuthoritySet]:
        """Authorities by epoch, from transactions alone."""
        return self._ledger.sets

    @property
    def heights(self) -> dict[bytes, int]:
        """Of transactions, by id."""
        return self._ledger.heights

    @property
    def convicted(self) -> set[tuple[int, int]]:
        """(epoch, index) of whom evidence stands on the ledger."""
        return self._ledger.state.convicted

    def accredited(self, institution: int) -> bool:
        """Whether it is accredited at the end of the chronicle."""
        institutions = self._ledger.state.institutions
        return institution < len(institutions) and institutions[institution].status == STATUS_ACCREDITED

    def barred(self, institution: int) -> bool:
        """Whether it was suspended or removed at any time: what it submitted may be invalid."""
        return institution in self._ledger.state.barred

    def final(self, host: int, block: Block, at_ms: int) -> None:
        """A host made this block final; traitors are not listened to."""
        height = block.header.height
        if host not in self._honest or height in self.blocks:
            return
        self.blocks[height] = block
        digest = self.digests[height] = block_digest(block.header)
        self.at_height[digest] = height
        self.first_ms[height] = at_ms
        if block.header.ends_epoch:
            self.ends.setdefault(block.header.epoch, (height, digest))
        while self.invalid is None and (following := self.blocks.get(self.height + 1)) is not None:
            try:
                self.ids[following.header.height] = self._ledger.apply(following)
            except Invalid as error:
                self.invalid = str(error)
                return
            self.happened.update(said.words for said in self._ledger.said[following.header.height])

    def disagreement(
        self, header: Header, events: Sequence[tuple[int, int, bytes]], leaves: Mapping[bytes, bytes]
    ) -> str | None:
        """What of that which a final block recorded, and of what stands after it, the naive ledger says otherwise."""
        if header.height > self.height:
            return None  # it went no further, and `invalid` says why
        return disagreement(self._ledger, header, events, leaves)

    def refusal(self, raw: bytes, at_ms: int) -> str | None:
        """Why a block at this time (virtual, by a clock that is right) on the end of the chronicle could not hold this
        transaction; None if it could."""
        wall_ms = self._begun_ms + at_ms
        return self._ledger.refusal(raw, max(wall_ms, self._ledger.state.timestamp + 1))

    def header(self, digest: bytes) -> Header | None:
        """Of a final block."""
        height = self.at_height.get(digest)
        return None if height is None else self.blocks[height].header

    def member(self, epoch: int, index: int) -> tuple[int, bytes] | None:
        """(institution, vote key) of a seat, if the chain has come to that epoch and it has that seat."""
        authorities = self.sets.get(epoch)
        if authorities is None or index >= len(authorities.members):
            return None
        seat = authorities.members[index]
        return seat.institution, seat.vote_key
