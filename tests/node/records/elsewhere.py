"""Six hospitals: 0 keeps the chart, 1 was let write to it, and `through`, who stores nothing, is the one whose node the
owner and a delegate talk to, since custodian and writer are down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.parts_reading import NothingOpens, ReaderKey, WhichRecord, read_parts
from node.reading_pass import ReadingPass, make_pass
from node.records.holding_messages import SHARE, ShareAnswer, Shares, batch_digest
from node.records.messages import BLOB, BlobPiece
from node.records.owner_messages import OWNER_BLOB, OWNER_SHARE, OwnerShareAnswer
from node.records.parts import Gathered
from node.write_permits import UNSIGNED, WritePermit, sign_permit
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import envelope_info, keypair_from_seed, seal_envelope
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.shares import KeyShare
from protocol.crypto.signing import SigningKey, cosign
from protocol.crypto.tags import GrantLabels, grant_tags, tag
from protocol.ledger.events import RecordAppended, decode_event
from protocol.types.operations import (
    ACCESS_WRITE,
    ACT_READ,
    ROLE_DELEGATE,
    Delegate,
    DelegateTerms,
    Disclose,
    EndDelegate,
    Operation,
    SignedOperation,
)
from tests.node.records.conftest import World, make_world, settle
from tests.node.records.fake_core import HOUR_MS, SUITE, Hospital, Network, seed
from tests.node.records.test_release import grant
from tests.node.records.test_submit import append, plain, whole

CUSTODIAN, WRITER, COUNT = 0, 1, 6
TEXT = b"what the custodian wrote"
FOREIGN = b"what another institution wrote"
NAMES = (("Observation",), ("2020",), ("none",), ("none",))


class Helper:
    """A delegate: keys of its own, which the ledger names."""

    def __init__(self, scene: Scene, number: int, **terms: Any) -> None:
        self.number, self.used = number, 0
        self.key = SigningKey(seed(f"delegate {number}"))
        envelopes = seed(f"envelopes of delegate {number}")
        self.public = keypair_from_seed(SUITE, envelopes)[1]
        self.mine = ReaderKey.from_seed(SUITE, envelopes)
        now = scene.world.chain.clock.ms
        tags = grant_tags(scene.world.patient.keys.chart_secret, 0, GrantLabels())
        values = {"acts": ACT_READ, "tags": tags, "purposes": ("PATRQT",)} | terms
        self.terms = DelegateTerms(
            self.key.public, SUITE, self.mine.digest, not_before=now - 1, not_after=now + 240 * HOUR_MS, **values
        )


@dataclass
class Scene:
    """`record` is the custodian's, `foreign` the other writer's; each has three holders besides its writer."""

    world: World
    record: int
    foreign: int
    helpers: list[Helper] = field(default_factory=list)

    @property
    def network(self) -> Network:
        return self.world.network

    @property
    def chart(self) -> int:
        return self.world.chart

    def hospital(self, number: int) -> Hospital:
        return self.world.network.hospitals[number]

    def appended(self, record: int) -> RecordAppended:
        found = decode_event(self.world.chain.view.events[self.world.chart, record])
        assert isinstance(found, RecordAppended)
        return found

    def holders(self, record: int) -> tuple[int, ...]:
        return self.appended(record).holders

    def through(self, record: int) -> Hospital:
        """Whose node stores nothing of it."""
        stores = {CUSTODIAN, WRITER, *self.holders(record)}
        return self.hospital(next(number for number in range(COUNT) if number not in stores))

    def down(self, *numbers: int) -> None:
        for hospital in self.world.network.hospitals.values():
            hospital.core.unreachable.update(numbers)

    def which(self, record: int) -> WhichRecord:
        return WhichRecord(self.world.chain.id, self.world.chart, self.appended(record).entry.commitment)

    async def carry(self, operation: Operation | SignedOperation, by: Hospital) -> Any:
        """Final by this hospital's transaction; the operation's receipt."""
        signed = operation if isinstance(operation, SignedOperation) else SignedOperation(operation)
        return (await settle(by.core, await by.core.prepare([[signed]])))[0].receipt.operations[0]

    # --- delegates

    async def name(self, by: Hospital, **terms: Any) -> Helper:
        helper = Helper(self, len(self.helpers), **terms)
        self.helpers.append(helper)
        await self.carry(self.world.patient.sign(Delegate(self.world.chart, helper.terms)), by)
        return helper

    async def end(self, helper: Helper, by: Hospital) -> None:
        await self.carry(self.world.patient.sign(EndDelegate(self.world.chart, helper.number)), by)

    async def ask(self, helper: Helper, record: int, by: Hospital, purpose: str = "PATRQT") -> int:
        """The event number of the delegate's asking, which this hospital carried."""
        helper.used += 1
        operation, until = Disclose(self.world.chart, None, (record,), purpose), self.world.chain.clock.ms + HOUR_MS
        signed = cosign(
            helper.key, self.world.chain.id, operation, ROLE_DELEGATE, helper.used, until, actor=helper.number
        )
        return int((await self.carry(SignedOperation(operation, (signed,)), by)).first_event)

    async def delegate_parts(
        self, helper: Helper, asking: int, record: int, by: Hospital, *, holders_only: bool = False
    ) -> Gathered:
        parts = by.records.for_delegates.parts
        return await parts(self.world.chart, asking, record, helper.public, holders_only=holders_only)

    async def delegate_reads(self, helper: Helper, asking: int, record: int, by: Hospital) -> bytes:
        """As the delegate's wallet does it: what was given first, and if that is not the record, what all give."""
        sealed, chart = by.records.for_delegates.sealed, self.world.chart

        async def read(holders_only: bool) -> bytes:
            found = await self.delegate_parts(helper, asking, record, by, holders_only=holders_only)
            blobs = {
                one.institution: await _bytes(sealed, chart, asking, record, one.institution) for one in found.parts
            }
            return read_parts([helper.mine], self.which(record), found.parts, blobs.__getitem__).data

        try:
            return await read(False)
        except NothingOpens:
            return await read(True)

    # --- the owner

    def shown(self, by: Hospital, **changes: Any) -> ReadingPass:
        """The owner's pass for this hospital's node."""
        patient, chain = self.world.patient, self.world.chain
        named = {"chart": self.world.chart, "institution": by.core.institution, "height": chain.header.height}
        made = make_pass(patient.key, chain.id, SUITE, patient.public, now_ms=chain.clock.ms, **named)
        return replace(made, **changes)

    async def owner_reads(self, record: int, by: Hospital, *keys: ReaderKey, **changes: Any) -> bytes:
        """The same for the owner's wallet."""
        shown = self.shown(by, **changes)
        mine = keys or (ReaderKey.from_seed(SUITE, self.world.patient.keys.encryption_seed),)

        async def read(holders_only: bool) -> bytes:
            found = await by.records.for_owners.parts(shown, record, holders_only=holders_only)
            blobs = {
                one.institution: await _bytes(by.records.for_owners.sealed, shown, record, one.institution)
                for one in found.parts
            }
            return read_parts(mine, self.which(record), found.parts, blobs.__getitem__).data

        try:
            return await read(False)
        except NothingOpens:
            return await read(True)


async def _bytes(sealed: Callable[..., Any], *arguments: Any) -> bytes:
    return await whole(await sealed(*arguments))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async for made in make_world(tmp_path, COUNT, replicas=3):
        (record,) = await append(made, plain(TEXT.decode()))
        yield Scene(made, record, await _foreign(made))


async def _foreign(world: World) -> int:
    """A record that another institution wrote, as the owner lets it."""
    number = await grant(world, WRITER, GrantLabels(), access=ACCESS_WRITE)
    secret = world.patient.keys.chart_secret
    tables: Any = tuple(
        tuple((name, tag(secret, 0, position, name)) for name in listed) for position, listed in enumerate(NAMES)
    )
    unsigned = WritePermit(world.chart, number, 0, SUITE, world.patient.public, tables, UNSIGNED)
    permit = sign_permit(world.patient.key, world.chain.id, unsigned)
    writer = world.network.hospitals[WRITER]
    await writer.records.permits.hand_in(world.chart, encode(permit))
    prepared = await writer.records.submitter.append(world.chart, [plain(FOREIGN.decode())], number)
    return (await settle(writer.core, prepared))[0].receipt.operations[0].first_event


class Liar:
    """What one holder gives comes out otherwise at who asked; everybody else is as they are."""

    def __init__(self, scene: Scene, at: Hospital, holder: int, monkeypatch: pytest.MonkeyPatch, **lies: Any) -> None:
        """`lies`: `share`, another share's bytes sealed to `public`; `details`; `owner_envelope`; `blob`."""
        self._scene, self._holder, self._lies, self._ask = scene, holder, lies, at.core.ask
        monkeypatch.setattr(at.core, "ask", self.ask)

    async def ask(self, institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        raw = await self._ask(institution, method, payload, wait_s)
        if institution != self._holder:
            return raw
        lies = self._lies
        if method in (BLOB, OWNER_BLOB):
            found = decode(BlobPiece, raw).data
            return encode(BlobPiece(bytes(len(found)) if "blob" in lies else found))
        if method == SHARE:
            answer = decode(ShareAnswer, raw)
            first = replace(answer.shared[0], details=lies.get("details", answer.shared[0].details))
            return encode(replace(answer, envelope=self._envelope(answer.envelope, first.record), shared=(first,)))
        if method == OWNER_SHARE:
            given = decode(OwnerShareAnswer, raw)
            changed = {
                "envelope": self._envelope(given.envelope, lies.get("record", 0)),
                "details": lies.get("details", given.details),
                "owner_envelope": lies.get("owner_envelope", given.owner_envelope),
            }
            return encode(replace(given, **changed))
        return raw

    def _envelope(self, given: bytes, record: int) -> bytes:
        if "share" not in self._lies:
            return given
        which, public = self._scene.which(record), self._lies["public"]
        info = envelope_info(
            which.chain, which.chart, batch_digest([which.commitment]), encryption_key_digest(SUITE, public)
        )
        return seal_envelope(SUITE, public, info, encode(Shares((KeyShare(self._lies["share"], 2, bytes(32)),))))
