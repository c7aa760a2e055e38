"""The tree of blocks above the final head: certificates by view, bodies by digest, and what lacks.

Relies on its caller for verification: certificates that are `admit`ted and bodies that it is to `hold` were checked.
Bounded by the views since the newest finalization: two certificates each, the nullifications of `GAP_VIEWS` below it,
and bodies only where certified or proposed. While the bodies up to it lack, those that are merely held are bounded
too: sync brings them anyway.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from protocol.crypto.hashing import block_digest
from protocol.types.block import Block, Header
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Certificate, VoteSubject

GAP_VIEWS = 64
"""Nullifications below the newest final view are kept so far back until the head is there."""


class FinalHead(Struct, frozen=True):
    """The final block that the node's state is at. `certificate` finalizes it: None at view 0, which is the genesis or
    the block that ended the epoch before."""

    header: Header
    certificate: Certificate | None

    @property
    def view(self) -> int:
        return 0 if self.certificate is None else self.certificate.subject.view


class Standing(Enum):
    """What is known of a body."""

    HELD = "held"  # not yet validated
    ASKED = "asked"  # being validated as a proposal
    ASKED_CERTIFIED = "asked, certified"  # being validated, a quorum having voted for it
    VALID = "valid"
    REFUSED = "refused"  # not to be voted for by this node's clock; certified or not decides what becomes of it
    INVALID = "invalid"


class Footing(Enum):
    """What a proposed block stands on, as its proposal names it."""

    UNKNOWN = "unknown"  # what was notarized in its parent view is not here yet
    EXTENDS = "extends"  # its parent is the block of its parent view
    AGAIN = "again"  # it is the block of its parent view itself, which ends the epoch and is not final
    NONE = "none"  # neither, or its parent ends the epoch: for good


class Candidate:
    """A block above the final head. `view`: the last in which it was proposed; `durable`: it is in the journal."""

    __slots__ = ("block", "digest", "durable", "standing", "view")

    def __init__(self, block: Block, digest: bytes, view: int) -> None:
        self.block = block
        self.digest = digest
        self.view = view
        self.standing = Standing.HELD
        self.durable = False


class Chain:
    """Certificates and bodies above the final head."""

    def __init__(self, head: FinalHead, bodies_max: int) -> None:
        self.head = head
        self.head_digest = block_digest(head.header)
        self.finalization = head.certificate
        """The newest finalization known; above the head while bodies lack."""
        self.notarizations: dict[int, Certificate] = {}
        self.nullifications: dict[int, Certificate] = {}
        self.blocks: dict[bytes, Candidate] = {}
        self.certified: set[bytes] = set()
        """Digests above the head that a quorum voted for, by a certificate or through a certified descendant."""
        self._bodies_max = bodies_max

    @property
    def final_view(self) -> int:
        """The newest view known to be final, whether its block is here or not."""
        return 0 if self.finalization is None else self.finalization.subject.view

    def held(self, kind: int, view: int) -> Certificate | None:
        """The certificate of this kind and view, of those above the head."""
        if kind == FINALIZE:
            newest = self.finalization
            return newest if newest is not None and newest.subject.view == view else None
        return (self.notarizations if kind == NOTARIZE else self.nullifications).get(view)

    def admit(self, certificate: Certificate) -> str | None:
        """Keep a verified certificate above the newest final view; returns why the chain is broken, if it is so.

        Two certificates that contradict each other exist only if more than f authorities are traitors.
        """
        subject = certificate.subject
        view = subject.view
        notarized = self.notarizations.get(view)
        if subject.kind == NULLIFY:
            self.nullifications[view] = certificate
            return None
        if subject.kind == NOTARIZE:
            if notarized is not None and notarized.subject != subject:
                return f"two blocks are notarized in view {view}"
            self.notarizations[view] = certificate
        else:
            if notarized is not None and notarized.subject.block != subject.block:
                return f"view {view} made final a block that is not the one notarized in it"
            if view in self.nullifications:
                return f"view {view} is both final and nullified"
            self.finalization = certificate
            self._outdate(view)
        self._certify(subject.block)
        return None

    def _outdate(self, view: int) -> None:
        """Forget what the finalization of this view makes needless, though the head may not be there yet."""
        for below in [u for u in self.notarizations if u < view]:
            del self.notarizations[below]
        for below in [u for u in self.nullifications if u < view - GAP_VIEWS]:
            del self.nullifications[below]
        self._certify_again()

    def _certify_again(self) -> None:
        """Find anew what is certified, now that less is held."""
        self.certified = set()
        if self.finalization is not None and self.final_view > self.head.view:
            self._certify(self.finalization.subject.block)
        for certificate in self.notarizations.values():
            self._certify(certificate.subject.block)

    def hold(self, block: Block, digest: bytes, view: int, *, durable: bool = False) -> Candidate:
        """Keep a body whose transactions are those of its header; `durable`: it comes from the journal."""
        candidate = self.blocks.get(digest)
        if candidate is None:
            candidate = self.blocks[digest] = Candidate(block, digest, view)
            candidate.durable = durable
            if digest in self.certified:
                self._certify(digest)
            self._shed(view)
        if view > candidate.view:
            candidate.view = view
            if candidate.standing is Standing.REFUSED:  # by the clock of then
                candidate.standing = Standing.HELD
        return candidate

    def _certify(self, digest: bytes) -> None:
        """A quorum voted for this block, hence an honest authority held its parent to be notarized: so on down."""
        while digest != self.head_digest:
            self.certified.add(digest)
            candidate = self.blocks.get(digest)
            if candidate is None or candidate.block.header.height <= self.head.header.height:
                return
            digest = candidate.block.header.parent

    def _shed(self, view: int) -> None:
        """Keep the number of bodies bounded: those of lost proposals go first, the oldest first; then, while sync is to
        bring the final ones, those that are here but have not been judged."""
        if len(self.blocks) <= self._bodies_max:
            return
        lost = [c for c in self.blocks.values() if c.digest not in self.certified and c.view + 1 < view]
        excess = len(self.blocks) - self._bodies_max
        for candidate in sorted(lost, key=lambda c: c.view)[:excess]:
            del self.blocks[candidate.digest]
        if self.final_view > self.head.view:
            idle = [c for c in self.blocks.values() if c.standing is Standing.HELD and not c.durable]
            idle.sort(key=lambda c: c.block.header.height)
            for candidate in idle[: len(self.blocks) - self._bodies_max]:
                del self.blocks[candidate.digest]

    def block_at(self, view: int) -> bytes | None:
        """The digest of the block that is final or notarized in this view, as far as known."""
        if view == self.head.view:
            return self.head_digest
        certificate = self.held(FINALIZE, view) or self.notarizations.get(view)
        return None if certificate is None else certificate.subject.block

    def closes(self, digest: bytes) -> bool:
        """Whether this is a block above the head, and here, that ends the epoch: nothing may extend it."""
        candidate = self.blocks.get(digest)
        return candidate is not None and digest != self.head_digest and candidate.block.header.ends_epoch

    def footing(self, header: Header, subject: VoteSubject) -> Footing:
        """What the block of this header stands on if `subject` is its proposal's."""
        there = self.block_at(subject.parent_view)
        if self.closes(header.parent):
            return Footing.NONE
        if there is None:
            return Footing.UNKNOWN
        if there == header.parent:
            return Footing.EXTENDS
        again = header.ends_epoch and there == subject.block and subject.parent_view > self.head.view
        return Footing.AGAIN if again else Footing.NONE

    def lacking(self, parent_view: int, view: int) -> int | None:
        """The highest view between the two for which no nullification is here."""
        return next((u for u in range(view - 1, parent_view, -1) if u not in self.nullifications), None)

    def extendable(self, view: int) -> tuple[int, bytes] | None:
        """(view, digest) of what a proposal in `view` extends: the highest notarized or final block that is valid
        here, with all views above it nullified; None while something lacks."""
        for u in range(view - 1, self.final_view - 1, -1):
            digest = self.block_at(u)
            if digest is not None and self.valid(digest):
                return u, digest
            if u not in self.nullifications:
                return None
        return None

    def valid(self, digest: bytes) -> bool:
        """Whether the node has this block's state: the final head, or validated above it."""
        candidate = self.blocks.get(digest)
        return digest == self.head_digest or (candidate is not None and candidate.standing is Standing.VALID)

    def height(self, digest: bytes) -> int:
        """The height of the final head or of a body that is here."""
        return self.head.header.height if digest == self.head_digest else self.blocks[digest].block.header.height

    def missing_bodies(self) -> list[bytes]:
        """Certified blocks that are not here."""
        return [digest for digest in self.certified if digest not in self.blocks]

    def path(self) -> list[Candidate] | None:
        """From above the head up to the newest final block, all bodies; None while one lacks. Raises ValueError if
        the final block does not descend from the head: a fork."""
        if self.finalization is None or self.final_view <= self.head.view:
            return []
        path: list[Candidate] = []
        digest = self.finalization.subject.block
        while digest != self.head_digest:
            candidate = self.blocks.get(digest)
            if candidate is None:
                return None
            if candidate.block.header.height <= self.head.header.height:
                raise ValueError(f"view {self.final_view} is final but does not descend from the final head")
            path.append(candidate)
            digest = candidate.block.header.parent
        return path[::-1]

    def unfinal(self) -> bool:
        """Whether something is notarized above the newest final view that somebody waits for. An empty block is not:
        it was there to make others final, and where messages take long the next one would follow it without end."""
        return any(
            view > self.final_view and self._matters(certificate.subject.block)
            for view, certificate in self.notarizations.items()
        )

    def _matters(self, digest: bytes) -> bool:
        """Whether this block, or one below it that is not final, carries anything or ends the epoch."""
        final = self.head_digest if self.finalization is None else self.finalization.subject.block
        while digest not in (final, self.head_digest):
            candidate = self.blocks.get(digest)
            if candidate is None or candidate.block.transactions or candidate.block.header.ends_epoch:
                return True
            digest = candidate.block.header.parent
        return False

    def gap_nullifications(self, view: int) -> tuple[Certificate, ...]:
        """The nullifications held of views below `view` and above the head."""
        return tuple(self.nullifications[u] for u in sorted(self.nullifications) if self.head.view < u < view)

    def advance(self, head: FinalHead) -> None:
        """The final head is now this one: forget what it settles."""
        self.head = head
        self.head_digest = block_digest(head.header)
        if head.view > self.final_view:
            self.finalization = head.certificate
        for certificates in (self.notarizations, self.nullifications):
            for view in [view for view in certificates if view <= head.view]:
                del certificates[view]
        height = head.header.height
        self.blocks = {d: c for d, c in self.blocks.items() if c.block.header.height > height}
        self._certify_again()
