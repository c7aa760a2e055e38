"""The way out: a key leaves its custodian only against a final disclosure that still holds, and a reader believes
only the ledger. Each condition of the release is broken here once, and refused by its name."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from node.network.interface import Refuse
from node.records.errors import (
    CustodianRefused,
    CustodianUnreachable,
    GrantEnded,
    NotDisclosed,
    NotFresh,
    NotWriter,
    RecordUnknownHere,
    ReleaseDenied,
    ReleaseOverdue,
)
from node.records.messages import (
    BLOB,
    INLINE_BYTES,
    RECORD_BYTES,
    RELEASE,
    BlobPiece,
    BlobRequest,
    ReleaseAnswer,
    ReleasedKey,
    ReleaseRequest,
)
from node.records.opening import sealed_bytes_most
from node.storage.errors import BlobMissing
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.sealing import Sealer, seal
from protocol.crypto.tags import GrantLabels, Labels
from protocol.errors import CommitmentMismatch, CryptoError, DecodeError, NotAccredited, SealBroken
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.types.institutions import STATUS_SUSPENDED
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import SUITE, seed
from tests.node.records.test_submit import append, plain, whole

TEXT = "what went in"
DAY_MS = 24 * 3_600_000


@dataclass
class Granted:
    """A world in which the reader holds a final disclosure of records 1 and 2 (not 3)."""

    world: World
    grant: int
    disclosure: int

    async def read(self, record: int = 1) -> bytes:
        content = await self.world.reader.records.reader.read(self.world.chart, self.disclosure, record)
        return await whole(content.chunks)


async def grant(world: World, grantee: int, labels: GrantLabels | None = None, **terms: Any) -> int:
    signed = world.patient.grant(world.chart, grantee, labels or GrantLabels(), **terms)
    final = await settle(world.other.core, await world.other.core.prepare([[signed]]))
    number = final[0].receipt.operations[0].grant
    assert number is not None
    return number


async def disclose(world: World, number: int | None, records: list[int], purpose: str = "TREAT") -> int:
    prepared = await world.reader.records.submitter.disclose(world.chart, number, purpose, records)
    return (await settle(world.reader.core, prepared))[0].receipt.operations[0].first_event


@pytest.fixture
async def granted(world: World) -> Granted:
    await append(world, plain(TEXT), plain("second"), plain("third", "Condition"))
    number = await grant(world, 1, GrantLabels(categories=("Observation",)))
    return Granted(world, number, await disclose(world, number, [1, 2]))


async def test_a_disclosed_record_arrives_byte_for_byte(granted: Granted) -> None:
    assert await granted.read() == TEXT.encode()


async def test_many_arrive_at_once_and_in_order(granted: Granted) -> None:
    opened = await granted.world.reader.records.reader.read_some(granted.world.chart, granted.disclosure, [1, 2])
    assert [(one.record, one.data) for one in opened] == [(1, TEXT.encode()), (2, b"second")]


async def test_a_large_record_arrives_in_pieces(world: World) -> None:
    import random

    data = random.Random(1).randbytes(9 * 1024 * 1024)  # incompressible: two fetches and a large object

    async def body() -> AsyncIterator[bytes]:
        yield data

    prepared = await world.custodian.records.submitter.append_stream(
        world.chart, "application/dicom", Labels(), None, body()
    )
    await settle(world.custodian.core, prepared)
    disclosure = await disclose(world, await grant(world, 1), [1])
    assert await world.reader.records.reader.read_some(world.chart, disclosure, [1]) == []
    content = await world.reader.records.reader.read(world.chart, disclosure, 1)
    assert content.length > INLINE_BYTES
    assert await whole(content.chunks) == data


async def test_a_custodian_reads_its_own_chart_the_same_way(world: World) -> None:
    await append(world, plain(TEXT))
    number = await grant(world, 0)
    prepared = await world.custodian.records.submitter.disclose(world.chart, number, "TREAT", [1])
    disclosure = (await settle(world.custodian.core, prepared))[0].receipt.operations[0].first_event
    content = await world.custodian.records.reader.read(world.chart, disclosure, 1)
    assert await whole(content.chunks) == TEXT.encode()


# --- what the reader's own node knows to be refused, without asking ---------------------------------------------


async def test_a_denied_disclosure_opens_nothing(granted: Granted) -> None:
    denied = await disclose(granted.world, granted.grant, [3])
    with pytest.raises(ReleaseDenied, match="not among those that you permitted"):
        await granted.world.reader.records.reader.read(granted.world.chart, denied, 3)


async def test_what_the_disclosure_does_not_name_stays_shut(granted: Granted) -> None:
    with pytest.raises(NotDisclosed):
        await granted.read(3)


async def test_without_a_disclosure_nothing_opens(granted: Granted) -> None:
    world = granted.world
    for event in (0, 1, 99):
        with pytest.raises(NotDisclosed):
            await world.reader.records.reader.read(world.chart, event, 1)


async def test_another_institutions_disclosure_is_of_no_use(granted: Granted) -> None:
    with pytest.raises(NotDisclosed):
        await granted.world.other.records.reader.read(granted.world.chart, granted.disclosure, 1)


# --- what the custodian refuses to a node that asks all the same -------------------------------------------------


def ask(granted: Granted, records: tuple[int, ...] = (1,), disclosure: int | None = None) -> bytes:
    _, public = keypair_from_seed(SUITE, seed("encryption 1"))
    number = granted.disclosure if disclosure is None else disclosure
    return encode(ReleaseRequest(granted.world.chart, number, records, public))


async def refusal(granted: Granted, payload: bytes, peer: int = 1, method: str = RELEASE) -> str:
    with pytest.raises(Refuse) as refused:
        await granted.world.custodian.records.answer(peer, method, payload)
    return refused.value.refusal


async def test_the_custodian_checks_for_itself(granted: Granted) -> None:
    denied = await disclose(granted.world, granted.grant, [3])
    assert await refusal(granted, ask(granted, (3,), denied)) == ReleaseDenied.code
    assert await refusal(granted, ask(granted, (3,))) == NotDisclosed.code
    assert await refusal(granted, ask(granted, (1, 3))) == NotDisclosed.code
    assert await refusal(granted, ask(granted, (1,), 0)) == NotDisclosed.code
    assert await refusal(granted, ask(granted, (1,), 4_000)) == NotDisclosed.code
    assert await refusal(granted, ask(granted), peer=2) == NotDisclosed.code
    blob = encode(BlobRequest(granted.world.chart, granted.disclosure, 3, 0))
    assert await refusal(granted, blob, method=BLOB) == NotDisclosed.code
    assert await refusal(granted, blob, method="records.everything") == "unknown-method"


async def test_a_key_that_is_not_the_readers_gets_nothing(granted: Granted) -> None:
    _, public = keypair_from_seed(SUITE, seed("somebody else's"))
    request = ReleaseRequest(granted.world.chart, granted.disclosure, (1,), public)
    assert await refusal(granted, encode(request)) == NotDisclosed.code


async def test_another_institution_is_not_asked_in_vain(granted: Granted) -> None:
    with pytest.raises(Refuse) as refused:
        await granted.world.other.records.answer(1, RELEASE, ask(granted))
    assert refused.value.refusal == NotWriter.code


async def test_garbage_is_told_from_a_refusal(granted: Granted) -> None:
    for payload in (b"", b"\xc1", ask(granted) + b"x", encode((1, 2))):
        with pytest.raises(DecodeError):
            await granted.world.custodian.records.answer(1, RELEASE, payload)


async def test_a_revoked_grant_ends_reading(granted: Granted) -> None:
    world = granted.world
    await settle(world.other.core, await world.other.core.prepare([[world.patient.revoke(world.chart, granted.grant)]]))
    with pytest.raises(GrantEnded, match="withdrawn"):
        await granted.read()
    blob = encode(BlobRequest(world.chart, granted.disclosure, 1, 0))
    assert await refusal(granted, blob, method=BLOB) == GrantEnded.code


async def test_an_expired_grant_ends_reading_by_the_custodians_clock(world: World) -> None:
    await append(world, plain(TEXT))
    number = await grant(world, 1, not_after=world.chain.clock.ms + 60_000)
    mine = Granted(world, number, await disclose(world, number, [1]))
    assert await mine.read() == TEXT.encode()
    world.chain.clock.ms += 60_000
    with pytest.raises(GrantEnded, match="ended"):
        await mine.read()


async def test_a_disclosure_has_a_deadline(granted: Granted) -> None:
    granted.world.chain.clock.ms += DAY_MS + 1_000
    await granted.world.chain.make_block()
    with pytest.raises(ReleaseOverdue):
        await granted.read()


async def test_a_stale_state_releases_nothing(granted: Granted) -> None:
    clock = granted.world.chain.clock
    clock.ms = granted.world.chain.header.timestamp + granted.world.custodian.core.params.freshness_ms
    assert await granted.read() == TEXT.encode()
    clock.ms += 1
    with pytest.raises(NotFresh):
        await granted.read()


async def test_a_suspended_institution_gets_nothing(granted: Granted) -> None:
    leaf = await granted.world.custodian.core.institution_leaf(1)
    assert leaf is not None
    granted.world.chain.view.leaves[keys.institution(1)] = encode(replace(leaf, status=STATUS_SUSPENDED))
    with pytest.raises(NotAccredited):
        await granted.read()


async def test_a_record_that_its_custodian_lost_is_named(granted: Granted) -> None:
    custodian = granted.world.custodian
    await custodian.ledger.database.write(lambda c: c.execute("DELETE FROM record").rowcount)
    with pytest.raises(RecordUnknownHere):
        await granted.read()


async def test_a_blob_that_its_custodian_lost_is_named(granted: Granted) -> None:
    await granted.world.custodian.blobs._database.write(lambda c: c.execute("DELETE FROM blob").rowcount)
    with pytest.raises(BlobMissing):
        await granted.read()


async def test_an_unreachable_custodian_is_named(granted: Granted) -> None:
    granted.world.reader.core.unreachable.add(0)
    with pytest.raises(CustodianUnreachable):
        await granted.read()


# --- a custodian that lies ---------------------------------------------------------------------------------------


class Lying:
    """Answers in a custodian's place with what `lie` makes of the true answer."""

    def __init__(self, granted: Granted) -> None:
        self.core = granted.world.reader.core
        self.truth = self.core.ask

    def tell(self, **changes: object) -> None:
        async def ask(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
            raw = await self.truth(institution, method, payload, wait_s)
            if method != RELEASE:
                return raw
            answer = decode(ReleaseAnswer, raw)
            released = [replace(one, **changes) for one in answer.released]
            return encode(ReleaseAnswer(tuple(released)))

        self.core.ask = ask  # type: ignore[method-assign]


async def test_a_blob_of_another_record_does_not_pass(granted: Granted) -> None:
    answer = await granted.world.custodian.records.answer(1, RELEASE, ask(granted, (2,)))
    second = decode(ReleaseAnswer, answer).released[0]
    lying = Lying(granted)
    lying.tell(blob=second.blob)
    with pytest.raises(SealBroken):
        await granted.read()
    lying.tell(blob=second.blob, envelope=second.envelope)
    with pytest.raises(SealBroken):
        await granted.read()


async def test_bytes_that_the_ledger_has_no_commitment_to_do_not_pass(granted: Granted) -> None:
    """A custodian that seals something else with the true opening: only the commitment can tell."""
    world = granted.world
    event = decode_event((await world.custodian.core.events_at(world.chart, [1]))[1])
    assert isinstance(event, RecordAppended)
    own = await world.custodian.records.own(world.chart, 1)
    forged = seal(b"WHAT WENT IN", own.secret.key)
    Lying(granted).tell(blob=forged, blob_bytes=len(forged))
    with pytest.raises(CommitmentMismatch):
        await granted.read()
    with pytest.raises(CommitmentMismatch):
        await world.reader.records.reader.read_some(world.chart, granted.disclosure, [1])


async def test_every_flipped_byte_of_a_blob_is_noticed(granted: Granted) -> None:
    answer = decode(ReleaseAnswer, await granted.world.custodian.records.answer(1, RELEASE, ask(granted)))
    blob = answer.released[0].blob
    assert blob is not None
    lying = Lying(granted)
    for at in range(0, len(blob), 97):
        lying.tell(blob=blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
        with pytest.raises(CryptoError):
            await granted.read()
    lying.tell(blob=blob[:-1])
    with pytest.raises(CryptoError):
        await granted.read()


async def test_other_records_than_asked_for_do_not_pass(granted: Granted) -> None:
    Lying(granted).tell(record=2)
    with pytest.raises(CustodianRefused):
        await granted.read()


async def test_an_answer_that_is_none_is_the_custodians_fault(granted: Granted) -> None:
    async def ask(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        return b"garbage"

    granted.world.reader.core.ask = ask  # type: ignore[method-assign]
    with pytest.raises(CustodianRefused):
        await granted.read()


@pytest.mark.parametrize("size", [1 << 50, 1 << 20])
async def test_a_blob_larger_than_its_record_can_be_is_not_fetched(granted: Granted, size: int) -> None:
    lying = Lying(granted)
    lying.truth = only_once(lying.truth)
    lying.tell(blob=None, blob_bytes=size)
    with pytest.raises(CustodianRefused):
        await granted.read()


def only_once(ask: Callable[..., Awaitable[bytes]]) -> Any:
    asked: list[str] = []

    async def once(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        asked.append(method)
        # Others may have copies that no entry names: they are asked, and have none.
        assert (asked.count(RELEASE), BLOB in asked) == (1, False), "nothing is fetched once the size is a known lie"
        return await ask(institution, method, payload, wait_s)

    return once


async def test_a_blob_in_crumbs_or_of_another_size_ends_the_fetch(granted: Granted) -> None:
    async def ask(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        raw = await lying(institution, method, payload, wait_s)
        return raw if method == RELEASE else encode(BlobPiece(crumbs[0]))

    Lying(granted).tell(blob=None)
    lying = granted.world.reader.core.ask
    granted.world.reader.core.ask = ask  # type: ignore[method-assign]
    crumbs = [b"", b"x", bytes(4 * 1024 * 1024)]
    while crumbs:
        with pytest.raises(SealBroken):
            await granted.read()
        del crumbs[0]


@pytest.mark.parametrize(
    "changes", [{"media_type": "a/b\r\nSet-Cookie: c"}, {"media_type": "a/\u0400"}, {"length": RECORD_BYTES + 1}]
)
async def test_a_key_that_no_custodian_may_release_is_the_custodians_fault(
    granted: Granted, changes: dict[str, Any]
) -> None:
    own = await granted.world.custodian.records.own(granted.world.chart, 1)
    world, secret = granted.world, own.secret
    key = replace(ReleasedKey(secret.key, secret.opening, "a/b", secret.length), **changes)
    public = keypair_from_seed(SUITE, seed("encryption 1"))[1]
    recipient = encryption_key_digest(SUITE, public)
    info = envelope_info(world.chain.id, world.chart, own.event.entry.commitment, recipient)
    Lying(granted).tell(envelope=seal_envelope(SUITE, public, info, encode(key)))
    with pytest.raises(CustodianRefused):
        await granted.read()


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 1_000_000, 9_000_000])
def test_no_seal_is_larger_than_its_bound(length: int) -> None:
    plain, key = os.urandom(length), os.urandom(32)
    mixed = Sealer(key)  # what gains at first and then loses is the worst that deflate meets
    streamed = len(mixed.header) + len(mixed.update(bytes(65_536) + plain)) + sum(map(len, mixed.finish()))
    assert len(seal(plain, key)) <= sealed_bytes_most(length)
    assert streamed <= sealed_bytes_most(length + 65_536)
