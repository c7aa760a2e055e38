"""Erasing on the fake chain, and looking for what may be left of what was erased."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from node.records.kek import KeyEncryption
from node.records.seal import Kek, Plain, Secret
from node.services import Final
from protocol.errors import ChartledgerError
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import Erasure, decode_leaf
from protocol.types.operations import Erase, Operation, SignedOperation
from tests.node.records.conftest import World, settle
from tests.node.records.fake_core import Hospital
from tests.node.records.test_submit import append, plain, whole

SMALL = '{"resourceType": "Observation", "note": "quite unmistakable text 4711"}' * 20


async def carry(world: World, operation: Operation) -> Final:
    """An operation of the custodian's own."""
    prepared = await world.custodian.core.prepare([[SignedOperation(operation)]])
    return (await settle(world.custodian.core, prepared))[0]


async def erase(world: World, records: Iterable[int], holders: tuple[int, ...] = ()) -> int:
    """Ordered by owner and custodian; the erasure's event number."""
    signed = world.patient.sign(Erase(world.chart, tuple(records), holders))
    final = await settle(world.custodian.core, await world.custodian.core.prepare([[signed]]))
    return final[0].receipt.operations[0].first_event


async def receipts(world: World, erasure: int) -> dict[int, int]:
    key = keys.erasure(world.chart, erasure)
    leaf = decode_leaf(key, (await world.reader.core.leaves([key]))[key])
    assert isinstance(leaf, Erasure)
    return dict(leaf.receipts)


async def incompressible(world: World) -> tuple[int, bytes]:
    """A large record whose blob lies in the object store."""
    data = bytes(range(256)) * 500 + world.patient.keys.chart_secret * 4_000
    noise = bytes(b ^ (i * 2_654_435_761 >> 13 & 0xFF) for i, b in enumerate(data))
    described = plain("", "DocumentReference")
    (number,) = await append(world, Plain(noise, "application/octet-stream", described.labels))
    return number, noise


class Known:
    """All that somebody could have kept of a record before it was erased, besides the record itself."""

    def __init__(self, data: bytes, event: RecordAppended, secret: Secret, sealed: bytes, blob: bytes) -> None:
        self.data, self.event, self.secret, self.sealed, self.blob = data, event, secret, sealed, blob

    @classmethod
    async def of(cls, world: World, number: int, data: bytes) -> Known:
        own = await world.custodian.records.own(world.chart, number)
        _, chunks = await world.custodian.records.sealed(world.chart, number)
        return cls(data, own.event, own.secret, own.stored.sealed, await whole(chunks))

    def traces(self) -> list[bytes]:
        """Bytes of which none may be left: any 63 bytes in a row of blob or text hold one of these windows."""
        windows = [self.blob[i : i + 32] for i in range(0, len(self.blob) - 32, 32)]
        windows += [self.data[i : i + 32] for i in range(0, len(self.data) - 32, 32)]
        sealed = [self.sealed[i : i + 32] for i in range(0, len(self.sealed) - 32, 32)]
        return [*windows[:4_000], *sealed, self.secret.key, self.secret.opening.salt, self.secret.opening.secret]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found_in(kept: dict[str, bytes], traces: Iterable[bytes]) -> list[str]:
    return [name for name, content in kept.items() for trace in traces if trace in content]


def secrets_left(folder: Path, key: KeyEncryption, entries: Iterable[tuple[int, bytes]]) -> list[Secret]:
    """Every secret that anything in the databases opens to, with the present key, for whatever record."""
    sealed: list[bytes] = []
    for path in folder.rglob("*.db"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                sealed += [value for value in row if isinstance(value, bytes) and len(value) > 100]
        connection.close()
    found = []
    for raw in sealed:
        for chart, commitment in entries:
            try:
                found.append(Kek(key).open_secret(raw, chart, commitment))
            except ChartledgerError:
                continue
    return found


def key_of(hospital: Hospital) -> KeyEncryption:
    return hospital.records.erasures._key


async def entries_of(world: World) -> list[tuple[int, bytes]]:
    events = [decode_event(raw) for _, raw in await world.custodian.core.events(world.chart, 0, 100)]
    return [(world.chart, event.entry.commitment) for event in events if isinstance(event, RecordAppended)]


async def rounds(world: World, *hospitals: Hospital) -> None:
    """Let each node do what is due, and let the receipts become final."""
    for hospital in hospitals or (world.custodian, world.reader, world.other):
        await hospital.records.erasures.once()
        await hospital.records.erasures.once()
