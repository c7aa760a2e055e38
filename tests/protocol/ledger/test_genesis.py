"""Genesis: the same state for everybody, and none from a file that contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import chain_id
from protocol.errors import BadTerms, GenesisInvalid
from protocol.ledger import claims, keys, tree
from protocol.ledger.events import Event, Reason
from protocol.ledger.genesis import genesis_block, genesis_header
from protocol.ledger.leaves import Claim, Counters
from protocol.params import LONGEST_MS, Params
from protocol.types.base import ZERO_DIGEST
from protocol.types.institutions import RETIRED_KEY, STATUS_SUSPENDED, AuthoritySet


def test_header_and_state(world: Any) -> None:
    genesis = world.genesis
    block = genesis_block(genesis)
    header = block.header
    assert (header.height, header.epoch, header.parent, header.chain) == (0, 0, ZERO_DIGEST, chain_id(genesis))
    assert header.timestamp == genesis.created_at
    assert header == genesis_header(genesis)
    assert block.tree.root == header.state_root
    assert world.leaf(keys.PARAMS) == genesis.params
    assert world.leaf(keys.COUNTERS) == Counters(4, 0, 0)
    authorities = world.leaf(keys.authorities(0))
    assert isinstance(authorities, AuthoritySet)
    assert [member.vote_key for member in authorities.members] == [key.public for key in world.vote_keys]
    for number, institution in enumerate(genesis.institutions):
        raw = encode(institution)
        assert block.changes.leaves[keys.institution(number)] == raw
        for use, value in (claims.name_of(institution), *claims.keys_of(institution)):
            assert world.leaf(keys.claim(use, value)) == Claim(number)
        tree.check_leaf(
            header.state_root, keys.institution(number), raw, tree.prove(world.nodes, keys.institution(number))
        )


def test_the_longest_times_leave_events_that_decode(new_world: Any) -> None:
    """A parameter of "for ever" would make each disclosure an event that nobody can read or prove."""
    for name in ("release_ms", "freshness_ms", "heartbeat_ms", "drift_ms", "valid_until_max_ms"):
        with pytest.raises(BadTerms, match=name):
            replace(Params(), **{"freshness_ms": LONGEST_MS, name: LONGEST_MS + 1}).check()
    world = new_world(Params(release_ms=LONGEST_MS))
    patient = world.open_chart()
    world.append(patient)
    assert world.disclose(patient, world.grant(patient), 1).reason is Reason.NONE
    decided = decode(Event, world.history_raw(patient)[-1])
    assert decided.release_until == world.now + LONGEST_MS


def with_institution(genesis: Any, number: int, **changes: Any) -> Any:
    listed = list(genesis.institutions)
    listed[number] = replace(listed[number], **changes)
    return replace(genesis, institutions=tuple(listed))


def test_contradictions(world: Any) -> None:
    genesis = world.genesis
    first = genesis.institutions[0]
    broken = {
        "parameters": replace(genesis, params=replace(genesis.params, delta_ms=0)),
        "ascending": replace(genesis, authorities=(1, 0)),
        "strictly ascending": replace(genesis, authorities=(0, 0)),
        "none of the 4": replace(genesis, authorities=(0, 4)),
        "not accredited": with_institution(genesis, 2, status=STATUS_SUSPENDED),
        "vote key": with_institution(genesis, 2, vote_key=first.vote_key),
        "operations or vote key": with_institution(genesis, 2, vote_key=first.operation_keys[0]),
        "network certificate": with_institution(genesis, 2, network_certificates=first.network_certificates),
        "encryption key": with_institution(genesis, 2, encryption_key=first.encryption_key),
        "name": with_institution(genesis, 2, name=first.name),
        "begins or ends with a space": with_institution(genesis, 2, name="Oakfield "),
        "control character": with_institution(genesis, 2, name="Oak\x1b[2Jfield"),
        "a retired one": with_institution(genesis, 2, operation_keys=(RETIRED_KEY, first.operation_keys[0])),
        "vote_key_at": with_institution(genesis, 2, vote_key_at=1),
    }
    for sentence, wrong in broken.items():
        with pytest.raises(GenesisInvalid, match=sentence):
            genesis_block(wrong)
