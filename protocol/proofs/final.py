"""Finality: that a header is final on the chain of a genesis file, or on the one that a checkpoint is of.

What every other proof begins with. A proof carries the ends of the epochs that lie in between, and `check_final` takes
a light client through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from protocol import limits
from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import Verifier, verify
from protocol.errors import BadProof, ForkShown, GenesisMismatch
from protocol.ledger.genesis import EPOCH
from protocol.proofs.light import Checkpoint, EpochHop, LightClient
from protocol.types.base import Wire
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import Certificate

Hops = Annotated[tuple[EpochHop, ...], Meta(max_length=limits.HOPS_PER_PROOF)]
"""The ends of the epochs from the one that the verifier trusts up to the header's, ascending without a gap."""


class FinalityProof(Wire, frozen=True, tag=2):
    """Shows that `header` is final; from it a verifier makes a checkpoint.

    `above`: the headers that follow, oldest first, up to the one that `certificate` finalizes; empty if it is this.
    """

    header: Header
    above: Annotated[tuple[Header, ...], Meta(max_length=limits.HEADERS_PER_PROOF)]
    certificate: Certificate
    hops: Hops


class Anchor(Wire, frozen=True):
    """Shows that `header` is final by a certificate of its own; what a proof tells of the state hangs on it."""

    header: Header
    certificate: Certificate
    hops: Hops


@dataclass(frozen=True, slots=True)
class Finality:
    """What was shown of a header: `certificate` finalizes `certified`, which is that header or follows it.

    `signers` are numbers of institutions, `authorities` is the set of the epoch, `ends` are the headers that ended the
    epochs passed on the way. `network` is the genesis's name if that was at hand.
    """

    network: str | None
    header: Header
    certified: Header
    certificate: Certificate
    signers: tuple[int, ...]
    authorities: AuthoritySet
    ends: tuple[Header, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """What may be kept of it, to check later proofs by."""
        return Checkpoint(self.certified, self.certificate, self.authorities)


def check_final(
    header: Header,
    certificate: Certificate,
    hops: Sequence[EpochHop],
    above: Sequence[Header] = (),
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> Finality:
    """Who finalized `header`, by way of `hops`; at least a quorum of the authorities of its epoch. `above` is as in
    `FinalityProof`.

    At least one of `genesis` and `checkpoint` is what the verifier trusts. With both, a proof that begins at the
    genesis is checked from there and held against the checkpoint. From a checkpoint alone, hops before its epoch are
    not looked at. Raises `GenesisMismatch`, `GenesisInvalid`, `ForkShown`, or `BadProof` that begins with the name of
    the check.
    """
    first = hops[0].header.epoch if hops else header.epoch
    client = _client(header, first, genesis, checkpoint, verifier)
    if header.epoch < client.epoch:
        raise BadProof(
            f"epoch: the proof is of epoch {header.epoch}, and the checkpoint of {client.epoch}",
            advice="Give the genesis file, or a checkpoint that is older than the proof.",
        )
    if first > client.epoch:
        raise BadProof(
            f"epoch: the proof begins in epoch {first}, and what it is checked by is of epoch {client.epoch}",
            advice="Give the checkpoint that the proof was made from, or an earlier proof's.",
        )
    ends = []
    for number, hop in enumerate(hops[client.epoch - first :], client.epoch - first + 1):
        try:
            client.hop(hop)
        except ForkShown:
            raise
        except BadProof as error:
            raise BadProof(f"{error} (epoch hop {number} of {len(hops)})") from None
        ends.append(hop.header)
    signers = client.check(header, certificate, above)
    name = None if genesis is None else genesis.name
    certified = above[-1] if above else header
    return Finality(name, header, certified, certificate, signers, client.authorities, tuple(ends))


def check(
    proof: FinalityProof,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> Finality:
    """What a proof of finality shows; see `check_final`."""
    return check_final(
        proof.header,
        proof.certificate,
        proof.hops,
        proof.above,
        genesis=genesis,
        checkpoint=checkpoint,
        verifier=verifier,
    )


def check_anchor(
    anchor: Anchor,
    *,
    genesis: Genesis | None = None,
    checkpoint: Checkpoint | None = None,
    verifier: Verifier = verify,
) -> Finality:
    """What an anchor shows; see `check_final`."""
    return check_final(
        anchor.header, anchor.certificate, anchor.hops, genesis=genesis, checkpoint=checkpoint, verifier=verifier
    )


def _client(
    header: Header, first: int, genesis: Genesis | None, checkpoint: Checkpoint | None, verifier: Verifier
) -> LightClient:
    """A client at the epoch that is trusted; `first` is the one that the proof begins in."""
    if genesis is not None:
        _check_chain("proof", header, genesis)
        if checkpoint is not None:
            _check_chain("checkpoint", checkpoint.header, genesis)
    if checkpoint is not None and (genesis is None or first > EPOCH):
        return LightClient.from_checkpoint(checkpoint, verifier)
    if genesis is None:
        raise BadProof("genesis: neither a genesis file nor a checkpoint is at hand to check by")
    client = LightClient.from_genesis(genesis, verifier)
    if checkpoint is not None:
        client.hold(checkpoint)
    return client


def _check_chain(what: str, header: Header, genesis: Genesis) -> None:
    chain = chain_id(genesis)
    if header.chain != chain:
        raise GenesisMismatch(f"the {what} is of chain {header.chain.hex()}, the genesis file of {chain.hex()}")
