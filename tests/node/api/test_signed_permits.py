"""A write permit is the owner's word: forged, altered, or signed by a key of before, it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.write_permits import UNSIGNED, sign_permit
from protocol.codec.canonical import encode
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey, owner_possession_message
from protocol.crypto.tags import GrantLabels
from protocol.types.operations import ACCESS_WRITE, OwnerKeys, RotateOwnerKey
from tests.node.api.test_control import done, wait_out
from tests.node.api.test_write_grants import WRITER, Written, a_city, code
from tests.node.records.fake_core import SUITE, seed
from tests.node.records.patient import Patient


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Written]:
    async for made in a_city(tmp_path):
        yield made


async def test_a_permit_that_the_owner_did_not_sign_so_is_refused(city: Written) -> None:
    """A submitter, or whoever carries the file, could have records come under labels that the owner did not mean."""
    anything = GrantLabels(sensitivities=("MH",))
    grant = await city.grants(WRITER, ACCESS_WRITE, anything)
    other = await city.grants(WRITER, ACCESS_WRITE, anything)
    good = city.permit(grant)
    letter, observation = good.tags[0]
    swapped = (letter[0], observation[1]), (observation[0], letter[1])
    nothings = (letter[0], bytes(16)), observation
    hidden = ("MH", good.tags[2][1][1]), ("none", good.tags[2][0][1])
    chain, stranger = city.network.chain.id, Patient(city.network.chain, 0, "stranger")
    for forged in (
        replace(good, signature=UNSIGNED),
        sign_permit(stranger.key, chain, good),
        sign_permit(city.patient.key, bytes(32), good),
        replace(good, tags=(swapped, *good.tags[1:])),
        replace(good, tags=(nothings, *good.tags[1:])),
        replace(good, tags=(*good.tags[:2], hidden, good.tags[3])),
        replace(good, tags=((letter,), *good.tags[1:])),
        replace(good, grant=other),
    ):
        answer = await city.hand_in(forged)
        assert (answer.status_code, code(answer)) == (422, "permit-refused"), answer.text
    assert (await city.hand_in(good)).status_code == 200


async def test_a_permit_ends_with_the_key_that_signed_it(city: Written) -> None:
    """Though the envelope key stays: whoever had the old key may have signed another for it."""
    grant = await city.may_write()
    old, new = city.patient.key, SigningKey(seed("new owner"))
    keys = OwnerKeys(new.public, SUITE, encryption_key_digest(SUITE, city.patient.public))
    chain = city.network.chain.id
    possession = new.sign(owner_possession_message(chain, city.chart, 0, keys))
    await done(city, city.patient.sign(RotateOwnerKey(city.chart, 0, keys, possession)))
    await wait_out(city)
    assert code(await city.submit(grant)) == "permit-outdated"
    assert code(await city.hand_in(sign_permit(old, chain, city.permit(grant)))) == "permit-refused"
    city.patient.key = new
    assert (await city.hand_in(city.permit(grant))).status_code == 200
    assert (await city.submit(grant)).status_code == 200


async def test_a_permit_from_before_they_were_signed_is_outdated(city: Written) -> None:
    grant = await city.may_write()
    hospital = city.writer.hospital
    permit = city.permit(grant)
    unsigned = bytes([0x96]) + encode(permit)[1:-66]  # an array of six, without the signature
    context = b"permit" + city.chart.to_bytes(8, "big") + grant.to_bytes(8, "big")
    await hospital.ledger.records.permits.put(city.chart, grant, hospital.records._kek.keys.seal(unsigned, context))
    assert code(await city.submit(grant)) == "permit-outdated"
    assert (await city.hand_in(permit)).status_code == 200
    assert (await city.submit(grant)).status_code == 200
