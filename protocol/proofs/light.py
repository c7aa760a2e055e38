"""A light client: from a genesis or a checkpoint, epoch by epoch, to any final header.

It holds one authority set at a time. The block that ends an epoch commits to the set of the next in its header, so a
quorum of each epoch vouches for the one that follows, and nothing of the chain in between is needed. Pure: whoever has
headers hands them in. Relies on `protocol.consensus.quorum` for what a certificate proves.

It believes a quorum, hence that fewer than a third of each set are traitors, and that retired vote keys were destroyed.
Where either failed, two final headers may contradict each other: whoever holds one of them, as a checkpoint, is told
so by `ForkShown`, with who signed both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protocol.consensus.quorum import check_certificate
from protocol.crypto.hashing import authorities_digest, block_digest, chain_id
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadCertificate, BadProof, ForkShown
from protocol.ledger.genesis import authority_set, check_genesis
from protocol.types.base import Wire
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import FINALIZE, Certificate


class EpochHop(Wire, frozen=True):
    """What leads from one epoch to the next: the header that ends it, its finalization, and the next epoch's set."""

    header: Header
    certificate: Certificate
    authorities: AuthoritySet


class Checkpoint(Wire, frozen=True):
    """A final header, the certificate that finalizes it, and the set of its epoch: what somebody checked and kept."""

    header: Header
    certificate: Certificate
    authorities: AuthoritySet


class _Final(NamedTuple):
    """A header that was shown to be final. `signers` are numbers of institutions."""

    header: Header
    digest: bytes
    signers: tuple[int, ...]


class LightClient:
    """Follows a chain from a set of authorities that is trusted.

    Raises `BadProof` that begins with the name of the check that failed, and is unchanged then.
    """

    __slots__ = ("_authorities", "_chain", "_checkpoints", "_ended", "_newest", "_verifier")

    def __init__(self, chain: bytes, authorities: AuthoritySet, verifier: Verifier = verify) -> None:
        self._chain = chain
        self._authorities = authorities
        self._verifier = verifier
        self._ended: _Final | None = None
        self._newest: _Final | None = None
        self._checkpoints: list[tuple[_Final, AuthoritySet]] = []

    @classmethod
    def from_genesis(cls, genesis: Genesis, verifier: Verifier = verify) -> LightClient:
        """At the first epoch of the chain of `genesis`. Raises `GenesisInvalid`."""
        check_genesis(genesis)
        return cls(chain_id(genesis), authority_set(genesis), verifier)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, verifier: Verifier = verify) -> LightClient:
        """At the epoch of a checkpoint that was checked when it was made; that it agrees with itself is checked."""
        client = cls(checkpoint.header.chain, checkpoint.authorities, verifier)
        client.hold(checkpoint)
        return client

    @property
    def chain(self) -> bytes:
        """The chain's id, 32 bytes."""
        return self._chain

    @property
    def epoch(self) -> int:
        """The epoch whose headers can be checked."""
        return self._authorities.epoch

    @property
    def authorities(self) -> AuthoritySet:
        """Who finalizes in this epoch."""
        return self._authorities

    def hop(self, hop: EpochHop) -> tuple[int, ...]:
        """Go on to the next epoch. Returns who signed its beginning: numbers of institutions, ascending by seat."""
        final = self._final(hop.header, hop.certificate, self._authorities)
        if not hop.header.ends_epoch:
            raise BadProof(f"epoch: the block at height {hop.header.height} does not end epoch {self.epoch}")
        following = hop.authorities
        if following.epoch != self.epoch + 1 or authorities_digest(following) != hop.header.next_authorities:
            raise BadProof(f"authorities: they are not those that the end of epoch {self.epoch} commits to")
        self._agree(final)
        for checkpoint, authorities in self._checkpoints:
            _check_same_set(checkpoint, authorities, following)
        self._authorities = following
        self._ended, self._newest = final, None
        return final.signers

    def check(self, header: Header, certificate: Certificate, above: Sequence[Header] = ()) -> tuple[int, ...]:
        """Who finalized this header of the present epoch: numbers of institutions, a quorum of its authorities.

        `above`: the headers that follow, oldest first, up to the one that `certificate` finalizes, if it is not this.
        """
        shown = self._shown(header, certificate, above)
        for final in shown:
            self._agree(final)
        if self._newest is None or shown[-1].header.height > self._newest.header.height:
            self._newest = shown[-1]
        return shown[-1].signers

    def hold(self, checkpoint: Checkpoint) -> None:
        """Hold all that comes against this checkpoint too, of whatever epoch it is. Raises `ForkShown`, `BadProof`."""
        final = self._final(checkpoint.header, checkpoint.certificate, checkpoint.authorities)
        _check_same_set(final, checkpoint.authorities, self._authorities)
        self._agree(final)
        self._checkpoints.append((final, checkpoint.authorities))

    def _final(self, header: Header, certificate: Certificate, authorities: AuthoritySet) -> _Final:
        if header.chain != self._chain:
            raise BadProof(f"chain: block {header.height} is of chain {header.chain.hex()}, not {self._chain.hex()}")
        if header.epoch != authorities.epoch:
            raise BadProof(f"epoch: block {header.height} is of epoch {header.epoch}, not {authorities.epoch}")
        digest = block_digest(header)
        subject = certificate.subject
        if subject.kind != FINALIZE or subject.block != digest:
            raise BadProof("certificate: it does not finalize this header")
        members = authorities.members
        vote_keys = [member.vote_key for member in members]
        try:
            check_certificate(certificate, self._chain, header.epoch, vote_keys, self._verifier)
        except BadCertificate as error:
            raise BadProof(f"certificate: {error}") from None
        return _Final(header, digest, tuple(members[index].institution for index, _ in certificate.signatures))

    def _shown(self, header: Header, certificate: Certificate, above: Sequence[Header]) -> list[_Final]:
        """The header, and the one above it that the certificate finalizes."""
        certified = self._final(above[-1] if above else header, certificate, self._authorities)
        below = header
        for one in above:
            linked = one.parent == block_digest(below) and one.height == below.height + 1
            if not linked or one.epoch != below.child_epoch or one.epoch != header.epoch:
                raise BadProof(f"headers: block {one.height} does not continue block {below.height} in its epoch")
            below = one
        if not above:
            return [certified]
        return [_Final(header, block_digest(header), certified.signers), certified]

    def _agree(self, final: _Final) -> None:
        """Raise `ForkShown` if what is final contradicts what else is. What lies further back need not be kept: it was
        held against what lies between."""
        known = [checkpoint for checkpoint, _ in self._checkpoints]
        known += [one for one in (self._ended, self._newest) if one is not None]
        for one in known:
            if _contradict(*sorted((one, final), key=lambda f: f.header.height)):
                raise _fork(one, final)


def _contradict(low: _Final, high: _Final) -> bool:
    """Whether no one chain holds both; `high` is not below `low`."""
    distance = high.header.height - low.header.height
    if distance == 0:
        return low.digest != high.digest
    if distance == 1 and (high.header.parent != low.digest or high.header.epoch != low.header.child_epoch):
        return True
    # Above what ended an epoch all is of later ones, and each block is at least 1 ms later than the one below.
    return high.header.epoch < low.header.child_epoch or high.header.timestamp < low.header.timestamp + distance


def _fork(one: _Final, other: _Final) -> ForkShown:
    """Names who signed both only where one set signed both: of another epoch, a checkpoint's set is its own word."""
    low, high = sorted((one.header.height, other.header.height))
    where = f"two different blocks are final at height {low}"
    if low != high:
        where = f"the final blocks at heights {low} and {high} cannot stand on one chain"
    if one.header.epoch != other.header.epoch:
        return ForkShown(f"fork: {where}: {_CONSPIRED}")
    both = ", ".join(str(number) for number in one.signers if number in other.signers)
    return ForkShown(
        f"fork: {where}: more than a third of the authorities of epoch {one.header.epoch} conspired; "
        f"signed both: institution {both}"
    )


def _check_same_set(final: _Final, authorities: AuthoritySet, other: AuthoritySet) -> None:
    if authorities.epoch == other.epoch and authorities != other:
        raise ForkShown(
            f"fork: the checkpoint at height {final.header.height} has other authorities of epoch {other.epoch} than "
            f"the chain leads to: {_CONSPIRED}"
        )


_CONSPIRED = (
    "more than a third of the authorities of an epoch conspired, unless the checkpoint never was one of this chain"
)
