"""What is permitted is read while the writer is down, and no holder opens anything alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from node.network.interface import Refuse, RequestRefused
from node.owner_reading import open_own
from node.records.envelope_key import EnvelopeKeys
from node.records.errors import CustodianUnreachable, GrantEnded, NotDisclosed, NotFresh, TooFewHolders
from node.records.holding_messages import SHARE, HeldDetails, ShareAnswer, ShareRequest, Shares, batch_digest
from node.records.messages import RELEASE, ReleaseRequest
from node.records.opening import Key, open_whole
from node.records.seal import open_held_details
from node.storage.errors import StorageFailed
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, open_envelope, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.shares import KeyShare, combine_shares
from protocol.crypto.signing import SigningKey, cosign
from protocol.crypto.tags import GrantLabels, grant_tags
from protocol.errors import BadShares, SealBroken
from protocol.types.operations import (
    ACT_READ,
    ROLE_DELEGATE,
    BreakGlass,
    Delegate,
    DelegateTerms,
    Disclose,
    SignedOperation,
)
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import HOUR_MS, SUITE, seed
from tests.node.records.held import TEXT, Held, five, held
from tests.node.records.test_release import disclose, grant
from tests.node.records.test_submit import append, plain, whole

__all__ = ["five", "held"]


async def test_a_permitted_read_succeeds_while_the_writer_is_down(held: Held) -> None:
    held.down(0)
    assert await held.read() == TEXT.encode()
    opened = await held.reader.records.reader.read_some(held.world.chart, held.disclosure, [1, 2])
    assert [(one.record, one.data) for one in opened] == [(1, TEXT.encode()), (2, b"second")]


async def test_any_two_of_three_holders_do(held: Held) -> None:
    for away in held.holders:
        held.reader.core.unreachable = {0, away}
        assert await held.read() == TEXT.encode()


async def test_one_holder_alone_does_not(held: Held) -> None:
    held.down(0, *held.holders[1:])
    with pytest.raises(TooFewHolders):
        await held.read()


async def test_the_custodian_reads_its_own_chart_from_holders_when_its_disk_lost_it(held: Held) -> None:
    world = held.world
    number = await grant(world, 0)
    world.reader = world.custodian
    disclosure = await disclose(world, number, [1])
    await world.custodian.blobs._database.write(lambda c: c.execute("DELETE FROM blob").rowcount)
    content = await world.custodian.records.reader.read(world.chart, disclosure, 1)
    assert await whole(content.chunks) == TEXT.encode()


async def test_a_holder_reads_with_its_own_share_and_one_more(held: Held) -> None:
    world = held.world
    world.reader = held.hospital(held.holders[0])
    disclosure = await disclose(world, await grant(world, held.holders[0]), [1])
    world.reader.core.unreachable = {0, held.holders[1]}
    content = await world.reader.records.reader.read(world.chart, disclosure, 1)
    assert await whole(content.chunks) == TEXT.encode()


async def test_a_revoked_grant_stops_the_holders_too(held: Held) -> None:
    world = held.world
    await settle(world.other.core, await world.other.core.prepare([[world.patient.revoke(world.chart, held.grant)]]))
    held.down(0)
    with pytest.raises(TooFewHolders, match="withdrawn"):
        await held.read()


async def test_a_stale_holder_refuses(held: Held) -> None:
    held.down(0)
    held.world.chain.clock.ms = held.world.chain.header.timestamp + held.reader.core.params.freshness_ms + 1
    with pytest.raises(TooFewHolders, match="s old"):
        await held.read()


async def test_a_holder_behind_the_reader_refuses_what_it_cannot_judge(held: Held) -> None:
    """The reader knows of a later height; whoever is below it might not know of a revocation in between."""
    world = held.world
    public = keypair_from_seed(SUITE, seed(f"encryption {held.reader.core.institution}"))[1]
    request = ShareRequest(world.chart, held.disclosure, (1,), public, world.chain.header.height + 5_000, blobs=True)
    with pytest.raises(NotFresh):
        await held.hospital(held.holders[0]).records.sharing.share(held.reader.core.institution, request)


async def test_a_true_denial_is_the_end_and_a_false_one_is_not(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that says no is believed when the reader's own ledger says so too; else the holders decide."""
    asked: list[int] = []
    ask = held.reader.core.ask

    async def denying(institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        asked.append(institution)
        if institution == 0 and method == RELEASE:
            raise RequestRefused(GrantEnded.code, "no")
        return await ask(institution, method, payload, wait_s)

    monkeypatch.setattr(held.reader.core, "ask", denying)
    assert await held.read() == TEXT.encode()
    world = held.world
    await settle(world.other.core, await world.other.core.prepare([[world.patient.revoke(world.chart, held.grant)]]))
    asked.clear()
    with pytest.raises(GrantEnded, match="withdrawn"):
        await held.read()
    assert asked == [0], "nobody else was asked"


class Crooked:
    """One holder that gives the answer of another mind; the rest as they are."""

    def __init__(self, held: Held, holder: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.held, self.holder, self.changes = held, holder, changes
        self.ask = held.reader.core.ask
        monkeypatch.setattr(held.reader.core, "ask", self.crooked)

    async def crooked(self, institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        raw = await self.ask(institution, method, payload, wait_s)
        if institution != self.holder or method != SHARE:
            return raw
        answer = decode(ShareAnswer, raw)
        reader = self.held.reader.core.institution
        private, public = keypair_from_seed(SUITE, seed(f"encryption {reader}"))
        commitments = [(await self.held.event(one.record)).entry.commitment for one in answer.shared]
        chart, chain = self.held.world.chart, self.held.world.chain.id
        info = envelope_info(chain, chart, batch_digest(commitments), encryption_key_digest(SUITE, public))
        shares = decode(Shares, open_envelope(SUITE, private, info, answer.envelope)).shares
        changed = Shares(tuple(self.change(share) for share in shares))
        shared = tuple(replace(one, **self.changes) for one in answer.shared)
        return encode(ShareAnswer(seal_envelope(SUITE, public, info, encode(changed)), shared))

    def change(self, share: KeyShare) -> KeyShare:
        return share


async def test_a_wrong_share_is_noticed_got_round_and_blamed(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.down(0)
    for holder in held.holders:
        crooked = Crooked(held, holder, monkeypatch)
        crooked.change = lambda share: replace(share, share=bytes(32))  # type: ignore[method-assign]
        held.reader.records.reader.collector.suspects.clear()
        assert await held.read() == TEXT.encode()
        assert set(held.reader.records.reader.collector.suspects) <= {holder}
        monkeypatch.undo()
    first = held.order()[0]
    held.reader.records.reader.collector.suspects.clear()
    crooked = Crooked(held, first, monkeypatch)
    crooked.change = lambda share: replace(share, share=bytes(32))  # type: ignore[method-assign]
    assert await held.read() == TEXT.encode()
    assert held.reader.records.reader.collector.suspects[first] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"details": bytes(296)},
        {"blob": b"x" * 2_000},
        {"blob": None},
        {"blob_bytes": 1 << 40},
        {"blob": None, "blob_bytes": 1 << 40},
        {"blob": None, "blob_bytes": 1},
    ],
)
async def test_a_holder_that_lies_about_the_rest_is_got_round(
    held: Held, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    held.down(0)
    first = held.order()[0]
    Crooked(held, first, monkeypatch, **changes)
    assert await held.read() == TEXT.encode()
    opened = await held.reader.records.reader.read_some(held.world.chart, held.disclosure, [1, 2])
    assert {one.record: one.data for one in opened}.items() <= {1: TEXT.encode(), 2: b"second"}.items()


async def test_two_wrong_shares_of_three_open_nothing(held: Held) -> None:
    held.down(0)
    for number in held.holders[:2]:
        kek = held.hospital(number).records._kek
        commitment = (await held.event()).entry.commitment
        wrong = kek.seal_shares((KeyShare(number + 1, 2, bytes(32)),), held.world.chart, commitment)
        await held.hospital(number).ledger.database.write(
            lambda c, wrong=wrong: c.execute("UPDATE held SET share = ?", (wrong,)).rowcount
        )
    with pytest.raises(TooFewHolders, match="3 gave a share"):
        await held.read()


async def test_a_writer_that_lost_everything_but_its_seat_refuses_and_holders_do(held: Held) -> None:
    await held.world.custodian.ledger.database.write(lambda c: c.execute("DELETE FROM record").rowcount)
    assert await held.read() == TEXT.encode()


async def test_without_holders_the_writers_absence_is_what_is_said(world: World) -> None:
    await append(world, plain(TEXT))
    disclosure = await disclose(world, await grant(world, 1), [1])
    world.reader.core.unreachable.add(0)
    with pytest.raises(CustodianUnreachable):
        await world.reader.records.reader.read(world.chart, disclosure, 1)


# --- what one holder's whole folder gives an attacker ----------------------------------------------------------------


def everything(folder: Path) -> list[bytes]:
    """Every value in every table of a node's databases."""
    found: list[bytes] = []
    for path in folder.glob("*.db"):
        with sqlite3.connect(path) as database:
            names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = (row for name in names for row in database.execute(f'SELECT * FROM "{name}"'))
            found += [value for row in rows for value in row if isinstance(value, bytes)]
    return found


async def test_a_thief_of_one_holder_keys_included_opens_nothing_and_of_two_everything(held: Held) -> None:
    """The thief has folder, key-encryption key and envelope key of the institutions that it robbed."""
    world, event = held.world, await held.event()
    commitment, chain = event.entry.commitment, world.chain.id
    loot: list[KeyShare] = []
    for robbed, number in enumerate(held.holders[:2], 1):
        values = everything(held.hospital(number).folder)
        kek, mine = held.hospital(number).records._kek, EnvelopeKeys(SUITE, seed(f"encryption {number}")).current
        for value in values:
            for opens in (
                lambda kek=kek, value=value: loot.extend(kek.open_shares(value, world.chart, commitment)),
                lambda kek=kek, value=value: kek.open_secret(value, world.chart, commitment),
                lambda mine=mine, value=value: open_envelope(
                    SUITE, mine.private, envelope_info(chain, world.chart, commitment, mine.digest), value
                ),
            ):
                try:
                    opens()
                except SealBroken:
                    continue
        assert len(loot) == robbed, "one share for each, and no secret or envelope opened"
        blobs = [value for value in values if len(value) > 1_000]
        details = [value for value in values if len(value) == 296]
        if robbed == 1:
            with pytest.raises(BadShares):
                combine_shares(loot)
            for guess in (loot[0].share, bytes(32)):
                for sealed in details:
                    with pytest.raises(SealBroken):
                        open_held_details(guess, sealed, chain, world.chart, commitment)
    key = combine_shares(loot)
    opened = [
        decode_details(open_held_details(key, one, chain, world.chart, commitment))
        for one in details
        if opens_with(key, one, chain, world.chart, commitment)
    ]
    (found,) = opened
    texts = []
    for blob in blobs:
        try:
            texts.append(open_whole(Key(key, found.opening, found.length, commitment), blob))
        except SealBroken:
            continue
    assert texts == [TEXT.encode()]


def decode_details(raw: bytes) -> Any:
    return decode(HeldDetails, raw)


def opens_with(key: bytes, sealed: bytes, chain: bytes, chart: int, commitment: bytes) -> bool:
    try:
        open_held_details(key, sealed, chain, chart, commitment)
    except SealBroken:
        return False
    return True


# --- emergencies, delegates, the owner -----------------------------------------------------------------------------


async def test_an_emergency_is_read_while_the_custodian_is_down(held: Held) -> None:
    world, reader = held.world, held.reader
    held.down(0)
    operation = BreakGlass(world.chart, (1,), "ETREAT", bytes(32))
    final = await settle(reader.core, await reader.core.prepare([[SignedOperation(operation)]]))
    number = final[0].receipt.operations[0].first_event
    content = await reader.records.reader.read(world.chart, number, 1)
    assert await whole(content.chunks) == TEXT.encode()
    with pytest.raises(NotDisclosed):
        await reader.records.reader.read(world.chart, number, 2)


async def test_a_delegate_reads_through_the_holders_with_its_own_key(held: Held) -> None:
    """Its asking was carried by the custodian, which is down by now; any institution asks the holders for it, and what
    they give opens with the delegate's key alone."""
    world, delegate = held.world, SigningKey(seed("delegate"))
    keys = EnvelopeKeys(SUITE, seed("delegate's envelopes"))
    terms = DelegateTerms(
        key=delegate.public,
        encryption_suite=SUITE,
        encryption_key=keys.current.digest,
        acts=ACT_READ,
        tags=grant_tags(world.patient.keys.chart_secret, 0, GrantLabels()),
        purposes=("PATRQT",),
        not_before=world.chain.clock.ms - 1,
        not_after=world.chain.clock.ms + 10 * HOUR_MS,
    )
    named = world.patient.sign(Delegate(world.chart, terms))
    await settle(world.custodian.core, await world.custodian.core.prepare([[named]]))
    operation = Disclose(world.chart, None, (1,), "PATRQT")
    cosignature = cosign(delegate, world.chain.id, operation, ROLE_DELEGATE, 1, world.chain.clock.ms + HOUR_MS)
    prepared = await world.custodian.core.prepare([[SignedOperation(operation, (cosignature,))]])
    number = (await settle(world.custodian.core, prepared))[0].receipt.operations[0].first_event
    held.down(0)
    reader = held.reader.records.reader
    content = await reader.read(world.chart, number, 1, keys.current)
    assert await whole(content.chunks) == TEXT.encode()
    with pytest.raises(NotDisclosed):
        await reader.read(world.chart, number, 1)
    with pytest.raises(TooFewHolders, match="not the one that stands on the ledger"):
        await reader.read(world.chart, number, 1, EnvelopeKeys(SUITE, seed("a stranger's")).current)


async def test_the_owner_reads_at_a_holder(held: Held) -> None:
    holder, patient = held.hospital(held.holders[0]), held.world.patient
    raw = (await holder.core.events_at(held.world.chart, [1]))[1]
    envelope = await holder.records.owner_envelope(held.world.chart, 1)
    _, chunks = await holder.records.sealed(held.world.chart, 1)
    opened = open_own(
        patient.keys, SUITE, held.world.chain.id, held.world.chart, raw, envelope=envelope, sealed=await whole(chunks)
    )
    assert opened.data == TEXT.encode()


async def test_where_things_lie_on_a_machine_is_told_to_no_other(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = held.hospital(0)

    async def full(identity: bytes) -> bytes:
        raise StorageFailed("cannot read /var/lib/hospital/objects/ab")

    monkeypatch.setattr(writer.blobs, "get", full)
    public = keypair_from_seed(SUITE, seed(f"encryption {held.reader.core.institution}"))[1]
    request = ReleaseRequest(held.world.chart, held.disclosure, (1,), public)
    with capture_logs() as logged, pytest.raises(Refuse) as refused:
        await writer.records.answer(held.reader.core.institution, RELEASE, encode(request))
    assert refused.value.refusal == "storage-failed"
    assert "/var" not in str(refused.value)
    assert [line["reason"] for line in logged if "reason" in line] == ["cannot read /var/lib/hospital/objects/ab"]
