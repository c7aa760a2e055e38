"""Requests to guardians on their way: what one of them puts in spoils nothing."""

from __future__ import annotations

from msgspec.structs import replace

from node.wallet.recovery import read_request
from protocol.types.operations import ROLE_OWNER, SignedOperation
from tests.node.wallet.conftest import City, Person
from tests.node.wallet.test_acting import People, guarded, patient

__all__ = ["patient"]


def test_no_guardian_spoils_what_enough_others_signed(city: City, patient: Person, person: People) -> None:
    """A signature that is not good, or has run out, would have the ledger refuse all of them."""
    guardians = guarded(patient, person)
    new, request = person("new"), city.folder / "request"
    new.does("recovery", "begin", 0, "-o", request)
    copies = [city.folder / f"copy{n}" for n in range(3)]
    for guardian, copy in zip(guardians, copies, strict=True):
        guardian.does("recovery", "sign", request, "-o", copy)
    read = [read_request(copy.read_bytes(), city.chain.id) for copy in copies]
    mine = [one.operation.cosignatures[0] for one in read]
    hostile = (
        *(replace(one, signature=bytes(64)) for one in mine[:2]),
        replace(mine[2], expires_at=city.chain.header.timestamp - 1),
        replace(mine[2], actor=3),
        replace(mine[2], number=1),
        replace(mine[2], role=ROLE_OWNER, actor=0),
    )
    spoiled = read[2].with_signed(SignedOperation(read[2].operation.operation, hostile))
    copies[2].write_bytes(spoiled.file())
    refused = new.asks("recovery", "submit", copies[2], code=1)
    assert "0 of the guardians signed this request (6 signatures in it do not count" in refused
    passed_on = city.folder / "passed"
    assert guardians[0].does("recovery", "sign", copies[2], "-o", passed_on)["signatures"] == 1
    assert "[too-few-guardians]" in new.asks("recovery", "submit", copies[0], copies[2], code=1)
    assert new.asks("recovery", "submit", copies[0], copies[1], copies[2])["pending"]["kind"] == "recovery"
