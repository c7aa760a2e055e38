"""New keys by motion, for an institution that cannot sign for itself any more."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.crypto.signing import prove_possession
from protocol.errors import (
    BadTerms,
    Claimed,
    Contradicted,
    UnknownInstitution,
    UnknownKey,
    WrongKey,
)
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    AddNetworkCertificate,
    Motion,
    ReplaceKeys,
    RotateInstitutionKey,
    SetEncryptionKey,
    SetOperationsKey,
    SetVoteKey,
    Suspend,
)
from protocol.types.institutions import (
    STATUS_SUSPENDED,
    Authority,
)
from protocol.types.operations import AppendRecords

HOUR_MS = 3_600_000


def moving(world: Any, change: Any, institution: int = 0) -> Any:
    return world.body(institution, Motion(change, world.now + HOUR_MS))


def seats(world: Any) -> list[int]:
    return [member.institution for member in world.authorities().members]


@pytest.fixture
def chain(world: Any) -> bytes:
    found: bytes = world.head.chain
    return found


def test_replaced_keys(world: Any, new_keys: Any, chain: bytes, make_entry: Any) -> None:
    fresh = new_keys(7, world.institution(3).name)
    patient = world.open_chart(3)
    old = world.body(3, AppendRecords(patient.chart, (make_entry(),)))
    signed_by = world.signed_by(old)
    world.decide(ReplaceKeys(3, fresh.application(chain)), 0, 1, 2)
    assert world.institution(3) == fresh.institution(vote_key_at=world.head.timestamp)
    assert world.authorities().seat(3) == Authority(3, fresh.vote.public, since=0)
    assert world.authorities(0).seat(3).vote_key == world.vote_keys[3].public
    execution = world.execution(old)
    with pytest.raises(WrongKey):
        execution.apply(old, signed_by)
    world.operation_keys[3] = fresh.operations
    world.append(patient, custodian=3)


def test_replacing_keys_gives_no_standing_back(world: Any, new_keys: Any, chain: bytes) -> None:
    fresh = new_keys(7, world.institution(3).name)
    world.decide(Suspend(3), 0, 1, 2)
    world.decide(ReplaceKeys(3, fresh.application(chain)))
    assert world.institution(3).status == STATUS_SUSPENDED
    assert not world.head.ends_epoch
    assert seats(world) == [0, 1, 2]


def test_what_is_in_use_may_stay_where_it_is(world: Any, new_keys: Any, chain: bytes) -> None:
    """An institution that lost its operations keys need not change its vote key, which would end the epoch."""
    fresh, before = new_keys(7, world.institution(3).name), world.institution(3)
    fresh.vote, fresh.certificate, fresh.encryption = (
        world.vote_keys[3],
        before.network_certificates[0],
        before.encryption_key,
    )
    world.decide(ReplaceKeys(3, fresh.application(chain)))
    assert not world.head.ends_epoch
    assert world.institution(3) == fresh.institution(vote_key_at=0)
    world.operation_keys[3] = fresh.operations
    world.refuses(Contradicted, moving(world, ReplaceKeys(3, fresh.application(chain))))


def test_keys_are_replaced_by_new_ones_only(world: Any, new_keys: Any, chain: bytes) -> None:
    fresh, held = new_keys(7, world.institution(3).name), world.institution(3)
    other = world.institution(1)
    for changes in (
        {"network_certificates": other.network_certificates},
        {"encryption_key": other.encryption_key},
    ):
        world.refuses(Claimed, moving(world, ReplaceKeys(3, fresh.application(chain, **changes))))
    fresh.operations = [world.vote_keys[3]]
    world.refuses(Claimed, moving(world, ReplaceKeys(3, fresh.application(chain))))
    fresh.operations = [fresh.vote]
    world.refuses(Claimed, moving(world, ReplaceKeys(3, fresh.application(chain))))
    fresh = new_keys(7, "Another Name")
    world.refuses(BadTerms, moving(world, ReplaceKeys(3, fresh.application(chain))))
    world.refuses(UnknownInstitution, moving(world, ReplaceKeys(9, fresh.application(chain))))
    again = new_keys(3, held.name)
    world.refuses(Contradicted, moving(world, ReplaceKeys(3, again.application(chain))))


def test_a_key_that_was_replaced_never_comes_back(world: Any, new_keys: Any, chain: bytes) -> None:
    old = new_keys(3, world.institution(3).name)
    fresh = new_keys(7, old.name)
    world.decide(ReplaceKeys(3, fresh.application(chain)), 0, 1, 2)
    world.operation_keys[3] = fresh.operations
    world.refuses(Claimed, moving(world, ReplaceKeys(3, old.application(chain))))
    world.wait(HOUR_MS)
    proof = prove_possession(old.vote, chain, old.name, USE_VOTE)
    world.refuses(Claimed, world.body(3, RotateInstitutionKey(SetVoteKey(old.vote.public, proof))))
    proof = prove_possession(old.operations[0], chain, old.name, USE_OPERATIONS)
    world.refuses(Claimed, world.body(3, RotateInstitutionKey(SetOperationsKey(1, old.operations[0].public, proof))))


def test_replaced_by_what_is_the_institution_s_from_then_on(world: Any, new_keys: Any, chain: bytes) -> None:
    fresh, later = new_keys(7, world.institution(3).name), new_keys(8, world.institution(3).name)
    world.decide(ReplaceKeys(3, fresh.application(chain)), 0, 1, 2)
    for change in (AddNetworkCertificate(fresh.certificate), SetEncryptionKey(1, fresh.encryption)):
        world.refuses(Claimed, world.body(0, RotateInstitutionKey(change)))
    world.decide(ReplaceKeys(3, later.application(chain)), 0, 1, 2)
    world.refuses(Claimed, moving(world, ReplaceKeys(3, fresh.application(chain))))


def test_what_stays_is_named_once(world: Any, new_keys: Any, chain: bytes) -> None:
    same, held = new_keys(3, world.institution(3).name), world.institution(3)
    same.operations = [same.operations[0]] * 2
    world.refuses(Claimed, moving(world, ReplaceKeys(3, same.application(chain))))
    twice = {"network_certificates": held.network_certificates * 2}
    world.refuses(Claimed, moving(world, ReplaceKeys(3, new_keys(3, held.name).application(chain, **twice))))


def test_fewer_keys_leave_no_old_one_behind(world: Any, new_keys: Any, chain: bytes, make_entry: Any) -> None:
    patient, fresh = world.open_chart(3), new_keys(7, world.institution(3).name)
    fresh.operations = fresh.operations[:1]
    world.decide(ReplaceKeys(3, fresh.application(chain)), 0, 1, 2)
    world.refuses(UnknownKey, world.body(3, AppendRecords(patient.chart, (make_entry(),)), key=1))
