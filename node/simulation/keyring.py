"""All keys of a history, each from its place: derived once a process, since every history uses the same ones."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

from msgspec.structs import replace

from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import SigningKey, apply_as
from protocol.ledger.genesis import GenesisBlock, genesis_block
from protocol.params import Params
from protocol.types.governance import Application
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution

EPOCH_MS = 1_700_000_000_000
"""When every history begins, by a clock that is right."""


@cache
def _key(use: bytes, node: int, number: int) -> SigningKey:
    return SigningKey(blake2b(b"%d/%d" % (node, number), digest_size=32, person=use).digest())


def operations_key(node: int) -> SigningKey:
    """What a node signs transactions with."""
    return _key(b"operations", node, 0)


def vote_key(node: int, number: int) -> SigningKey:
    """A node's vote key: `number` 0 is the first."""
    return _key(b"vote", node, number)


def owner_key(node: int, number: int) -> SigningKey:
    """The key of a patient of this node's."""
    return _key(b"owner", node, number)


def patient_key(patient: int, number: int) -> SigningKey:
    """An owner key of a simulated patient: `number` 0 is the one that opens the chart."""
    return _key(b"patient", patient, number)


def delegate_key(patient: int, number: int) -> SigningKey:
    """The key of one whom a patient names to act for it."""
    return _key(b"delegate", patient, number)


def guardian_key(patient: int, number: int) -> SigningKey:
    """The key of a guardian of a patient's chart."""
    return _key(b"guardian", patient, number)


def name_of(node: int) -> str:
    """The name of a node's institution."""
    return f"institution {node}"


@cache
def institution(node: int) -> Institution:
    """A node's institution as it is accredited."""
    return Institution(
        name=name_of(node),
        status=STATUS_ACCREDITED,
        operation_keys=(operations_key(node).public,),
        vote_key=vote_key(node, 0).public,
        network_certificates=(b"certificate %d" % node,),
        encryption_suite=1,
        encryption_key=_key(b"encryption", node, 0).public,
    )


def application(node: int, chain: bytes) -> Application:
    """What a node's institution asks to be accredited as."""
    return apply_as(chain, institution(node), (operations_key(node),), vote_key(node, 0))


def replacement(node: int, number: int, chain: bytes) -> Application:
    """What it would be known by with its vote key of this number."""
    changed = replace(institution(node), vote_key=vote_key(node, number).public)
    return apply_as(chain, changed, (operations_key(node),), vote_key(node, number))


@cache
def genesis(authorities: int, followers: int, params: Params) -> Genesis:
    """The genesis of so many authorities and so many that follow."""
    institutions = tuple(institution(node) for node in range(authorities + followers))
    return Genesis("simulation", EPOCH_MS, params, institutions, tuple(range(authorities)))


@cache
def first_block(of: Genesis) -> tuple[bytes, GenesisBlock]:
    """The chain's id, and the state that it starts with."""
    return chain_id(of), genesis_block(of)
