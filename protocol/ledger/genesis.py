"""From a genesis to the state and header at height 0, which every node derives alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.codec.canonical import encode
from protocol.crypto.hashing import chain_id
from protocol.errors import BadTerms, GenesisInvalid
from protocol.ledger import claims, keys, tree
from protocol.ledger.blocks import transactions_root
from protocol.ledger.leaves import Claim, Counters
from protocol.ledger.tree import TreeChanges
from protocol.ledger.view import Changes
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import BLOCK_VERSION, Header
from protocol.types.institutions import RETIRED_KEY, STATUS_ACCREDITED, Authority, AuthoritySet, Genesis

EPOCH = 0


@dataclass(frozen=True, slots=True)
class GenesisBlock:
    """All that a node starts a chain's storage with."""

    header: Header
    changes: Changes
    tree: TreeChanges


def genesis_block(genesis: Genesis) -> GenesisBlock:
    """Header, state and state tree at height 0. Raises `GenesisInvalid`."""
    changes = genesis_state(genesis)
    nodes = tree.update(tree.EMPTY_TREE, changes.leaves)
    header = Header(
        version=BLOCK_VERSION,
        chain=chain_id(genesis),
        epoch=EPOCH,
        height=0,
        parent=ZERO_DIGEST,
        proposer=0,
        timestamp=genesis.created_at,
        transactions_root=transactions_root(()),
        state_root=nodes.root,
        next_authorities=None,
    )
    return GenesisBlock(header, changes, nodes)


def genesis_header(genesis: Genesis) -> Header:
    """The header at height 0, final by definition. Raises `GenesisInvalid`."""
    return genesis_block(genesis).header


def authority_set(genesis: Genesis) -> AuthoritySet:
    """The authorities of epoch 0, in order of index."""
    members = tuple(Authority(number, genesis.institutions[number].vote_key, EPOCH) for number in genesis.authorities)
    return AuthoritySet(EPOCH, members)


def genesis_state(genesis: Genesis) -> Changes:
    """The leaves at height 0. Raises `GenesisInvalid`."""
    check_genesis(genesis)
    leaves = {
        keys.PARAMS: encode(genesis.params),
        keys.COUNTERS: encode(Counters(institutions=len(genesis.institutions), charts=0, motions=0)),
        keys.authorities(EPOCH): encode(authority_set(genesis)),
    }
    for number, institution in enumerate(genesis.institutions):
        leaves[keys.institution(number)] = encode(institution)
        for use, value in (claims.name_of(institution), *claims.keys_of(institution)):
            leaves[keys.claim(use, value)] = encode(Claim(number))
    return Changes(leaves, [])


def check_genesis(genesis: Genesis) -> None:
    """Raise `GenesisInvalid` unless a chain can start from this: sound parameters, existing authorities, and no key
    or certificate that two institutions, or two uses of one, share."""
    try:
        genesis.params.check()
    except BadTerms as error:
        raise GenesisInvalid(f"parameters: {error}") from None
    count = len(genesis.institutions)
    if any(later <= earlier for earlier, later in zip(genesis.authorities, genesis.authorities[1:], strict=False)):
        raise GenesisInvalid("authorities must be institution numbers in strictly ascending order")
    if genesis.authorities[-1] >= count:
        raise GenesisInvalid(f"authority {genesis.authorities[-1]} is none of the {count} institutions")
    for number, institution in enumerate(genesis.institutions):
        if institution.status != STATUS_ACCREDITED:
            raise GenesisInvalid(f"institution {number} is not accredited")
        if institution.vote_key_at != 0:
            raise GenesisInvalid(f"vote_key_at of institution {number} is not 0")
        fault = claims.name_fault(institution.name)
        if fault is not None:
            raise GenesisInvalid(f"the name of institution {number} {fault}")
    signing = [key for one in genesis.institutions for key in (*one.operation_keys, one.vote_key)]
    if RETIRED_KEY in signing:
        raise GenesisInvalid("an operations or vote key is 32 zero bytes, which stand for a retired one")
    _check_distinct(signing, "an operations or vote key")
    _check_distinct((der for one in genesis.institutions for der in one.network_certificates), "a network certificate")
    _check_distinct((one.encryption_key for one in genesis.institutions), "an encryption key")
    _check_distinct((one.name for one in genesis.institutions), "a name")


def _check_distinct(values: Iterable[object], what: str) -> None:
    listed = list(values)
    if len(set(listed)) != len(listed):
        raise GenesisInvalid(f"{what} is used twice")
