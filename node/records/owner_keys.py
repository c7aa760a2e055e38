"""What a change of owner means at the custodian: the new envelope key is handed in, envelopes are sealed to it.

The ledger has only the digest of an owner's envelope key; the key itself comes from the wallet, by the socket, once the
change that leads to it stands on the ledger. When that took effect, every record's envelope is sealed anew, and the
chart's secret is handed out to that key, without which a wallet that was given the chart could not read its tags. Until
the new key is here, records are kept without an envelope rather than sealed to a key that may be a thief's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

from node.logs import get_logger
from node.records.errors import BadRecord, ChartUnknownHere, NotCustodian, RecordsError
from node.records.seal import ChartSecret, Kek, owner_plain
from node.services import NodeServices
from node.storage.owner_keys import HandedKey, OwnerKeyRows
from node.storage.records_store import RecordsStore, StoredRecord
from protocol.crypto.envelopes import check_public, envelope_info, seal_envelope, secret_info
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import CryptoError, SealBroken, UnknownChart
from protocol.ledger import keys
from protocol.ledger.events import RecordAppended, decode_event
from protocol.ledger.leaves import Chart, Recovery, decode_leaf

log = get_logger("owner_keys")

AT_ONCE = 100
"""Envelopes sealed anew between two writes: a tenth of a second of a core."""
MARGIN_MS = 60 * 60 * 1_000


class OwnerKeyUnknown(RecordsError):
    """This key is neither the one of the chart's owner nor of a change that waits."""

    advice = "Hand the key in once the change that leads to it is final; `chartledger recovery status` shows it."


class OwnerKeyMissing(RecordsError):
    """The owner's new envelope key was not handed in yet."""

    advice = "Hand it in at this institution's socket: `chartledger recovery complete CHART --wallet FILE` does."


class OwnerKeys:
    """The envelope keys of the owners of this custodian's charts."""

    def __init__(self, node: NodeServices, store: RecordsStore, kek: Kek, threads: Executor) -> None:
        self._node = node
        self._store = store
        self._rows: OwnerKeyRows = store.owner_keys
        self._kek = kek
        self._threads = threads

    async def hand_in(self, chart: int, suite: int, public: bytes) -> Literal["in-force", "waiting"]:
        """Take in an owner's new key, as the custodian, or as whoever wrote something to the chart: with its grant gone
        no permit brings the key any more, and what it wrote is the owner's to read all the same. Raises `NotCustodian`,
        `UnknownChart`, `BadRecord` for bytes that are no key, and `OwnerKeyUnknown` for one that the ledger does not
        name."""
        leaf = await self._chart(chart)
        keeps = leaf.custodian == self._node.institution
        if not keeps and not await self._store.list(chart, 0, 1):
            raise NotCustodian(f"institution {leaf.custodian} is the custodian of chart {chart}, and nothing is here")
        try:
            check_public(suite, public)
        except CryptoError as error:
            raise BadRecord(f"encryption_public is not usable: {error}") from None
        key = HandedKey(chart, suite, public)
        if key.digest == leaf.encryption_key:
            if not keeps or (await self._chart_secret(chart)).encryption_public != public:
                await self._rows.hand_in(key)
            return "in-force"
        if key.digest not in await self._named_by_change(chart):
            raise OwnerKeyUnknown
        await self._rows.hand_in(key)
        return "waiting"

    async def secret_envelope(self, chart: int) -> bytes:
        """The chart's 32-byte secret, sealed to the owner's key that is in force: for a wallet that it came to by a
        recovery. Raises `NotCustodian`, `UnknownChart`, `ChartUnknownHere` or `OwnerKeyMissing`."""
        leaf = await self._own_chart(chart)
        secret = await current_secret(self._rows, await self._chart_secret(chart), chart, leaf)
        if secret is None:
            raise OwnerKeyMissing
        info = secret_info(self._node.chain, chart, leaf.encryption_key)
        return seal_envelope(secret.encryption_suite, secret.encryption_public, info, secret.secret)

    async def once(self) -> bool:
        """Do what there is to do for the keys that are here, some records of each; whether more is left to do soon.
        Raises `StorageFailed`."""
        more = False
        for key in await self._rows.all():
            leaf = await self._node.chart(key.chart)
            if leaf is not None and leaf.encryption_key == key.digest:
                try:
                    more |= await self._take_up(key)
                except (SealBroken, ChartUnknownHere) as error:  # `doctor` says what to do; other charts go on
                    log.error("owner's key not taken up", chart=key.chart, code=error.code)  # noqa: TRY400
            elif key.since or key.digest not in await self._named_by_change(key.chart):
                await self._rows.drop(key)  # cancelled, or followed by another
        return more

    async def _take_up(self, key: HandedKey) -> bool:
        with self._kek.keys.lease():
            return await self._taken_up(key)

    async def _taken_up(self, key: HandedKey) -> bool:
        now = self._node.now_ms()
        if not key.since:
            await self._rows.take_up(key, await self._chart_with(key), now)
        records = await self._store.list(key.chart, key.resealed, AT_ONCE)
        if records:
            await self._rows.reseal(key, records, await self._sealed_anew(key, records))
            return True
        # What was sealed to the old key and is still on its way runs out, or comes, within this time.
        if key.since and now > key.since + self._node.params.valid_until_max_ms + MARGIN_MS:
            await self._rows.drop(key)
        return False

    async def _chart_with(self, key: HandedKey) -> bytes | None:
        """What is to be kept of the chart; None at a writer that is not its custodian and keeps nothing of it."""
        leaf = await self._node.chart(key.chart)
        if leaf is not None and leaf.custodian != self._node.institution:
            return None
        old = await self._chart_secret(key.chart)
        return self._kek.seal_chart(ChartSecret(old.secret, key.suite, key.public))

    async def _sealed_anew(self, key: HandedKey, records: Sequence[StoredRecord]) -> dict[int, bytes]:
        raw = await self._node.events_at(key.chart, [record.event for record in records])
        commitments = {}
        for record in records:
            event = decode_event(raw[record.event])
            assert isinstance(event, RecordAppended), "what is kept as a record is one"
            commitments[record.event] = event.entry.commitment

        def seal() -> dict[int, bytes]:
            sealed = {}
            for record in records:
                commitment = commitments[record.event]
                try:
                    secret = self._kek.open_secret(record.sealed, record.chart, commitment)
                except SealBroken:
                    # `doctor` names the row; the others must not wait for it.
                    log.error("envelope not sealed anew", chart=record.chart, record=record.event)  # noqa: TRY400
                    sealed[record.event] = record.owner_envelope
                    continue
                info = envelope_info(self._node.chain, record.chart, commitment, key.digest)
                sealed[record.event] = seal_envelope(key.suite, key.public, info, owner_plain(secret))
            return sealed

        return await asyncio.get_running_loop().run_in_executor(self._threads, seal)

    async def _chart(self, chart: int) -> Chart:
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        return leaf

    async def _own_chart(self, chart: int) -> Chart:
        leaf = await self._chart(chart)
        if leaf.custodian != self._node.institution:
            raise NotCustodian(f"institution {leaf.custodian} is the custodian of chart {chart}")
        return leaf

    async def _chart_secret(self, chart: int) -> ChartSecret:
        raw = await self._store.chart_secret(chart)
        if raw is None:
            raise ChartUnknownHere
        return self._kek.open_chart(raw)

    async def _named_by_change(self, chart: int) -> set[bytes]:
        recovery = await recovery_of(self._node, chart)
        pending = recovery.pending
        return set() if pending is None or pending.keys is None else {pending.keys.encryption_key}


async def recovery_of(node: NodeServices, chart: int) -> Recovery:
    """A chart's guardians and what waits, at the final head."""
    key = keys.recovery(chart)
    raw = (await node.leaves([key])).get(key)
    leaf = Recovery() if raw is None else decode_leaf(key, raw)
    assert isinstance(leaf, Recovery)
    return leaf


async def current_secret(rows: OwnerKeyRows, kept: ChartSecret, chart: int, leaf: Chart) -> ChartSecret | None:
    """What this custodian keeps of a chart, with the owner's key that is in force; None if that is not here."""
    if encryption_key_digest(kept.encryption_suite, kept.encryption_public) == leaf.encryption_key:
        return kept
    handed = await rows.find(chart, leaf.encryption_key)
    return None if handed is None else ChartSecret(kept.secret, handed.suite, handed.public)
