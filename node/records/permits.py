"""Write permits at the institution that a patient lets write: taken in, kept under its key-encryption key, used.

A permit is held against the ledger when it comes in and again whenever it is used, so a grant that was revoked, a chart
that moved to new tags and an owner with a new key end it at once. Relies on `node.write_permits` for what is in one.
"""

from __future__ import annotations

from contextlib import suppress

from node.records.errors import PermitMissing, PermitOutdated, PermitRefused
from node.records.seal import Kek
from node.services import NodeServices
from node.storage.owner_keys import HandedKey
from node.storage.records_store import RecordsStore
from node.write_permits import PERMIT_BYTES, WritePermit, check_permit, is_signed
from protocol.chart_errors import WriteNotGranted
from protocol.codec.canonical import decode
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import DecodeError, SealBroken, UnknownChart, UnknownGrant
from protocol.ledger import decisions
from protocol.ledger.leaves import Chart, GrantLeaf


class Permits:
    """What this institution may write to others' charts with."""

    def __init__(self, node: NodeServices, store: RecordsStore, kek: Kek) -> None:
        self._node = node
        self._rows = store.permits
        self._owner_keys = store.owner_keys
        self._kek = kek

    async def hand_in(self, chart: int, raw: bytes) -> WritePermit:
        """Take in a permit (canonical bytes) in the place of the one before it. Raises `DecodeError`, `PermitRefused`,
        `PermitOutdated`, `UnknownChart`, `UnknownGrant` or `WriteNotGranted`."""
        permit = decode(WritePermit, raw, PERMIT_BYTES)
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        if leaf.custodian == self._node.institution:
            raise PermitRefused("this institution is the chart's custodian, which writes under no grant")
        grant = await self._grant(chart, permit.grant)
        check_permit(permit, chart, grant.terms.tags, leaf.encryption_key)
        if not is_signed(permit, self._node.chain, leaf.owner_key):
            raise PermitRefused("it is not signed with the owner key that stands on the ledger for the chart")
        if permit.generation != leaf.generation:
            raise PermitOutdated
        with self._kek.keys.lease():
            before = await self.owner(chart)
            await self._rows.put(chart, permit.grant, self._kek.seal_permit(permit))
        key = HandedKey(chart, permit.encryption_suite, permit.encryption_public)
        if before is not None and before != (key.suite, key.public):
            await self._owner_keys.hand_in(key)  # what was written before is sealed to it, too
        return permit

    async def in_force(self, chart: int, leaf: Chart, number: int) -> WritePermit:
        """The permit under grant `number`, if both hold now. Raises `UnknownGrant`, `WriteNotGranted`, `PermitMissing`
        or `PermitOutdated`."""
        await self._grant(chart, number)
        with self._kek.keys.lease():
            sealed = await self._rows.find(chart, number)
            if sealed is None:
                raise PermitMissing
            permit = _opened(self._kek, sealed, chart, number)
        if permit is None or permit.generation != leaf.generation or _digest(permit) != leaf.encryption_key:
            raise PermitOutdated
        if not is_signed(permit, self._node.chain, leaf.owner_key):  # by a key of before, perhaps a thief's
            raise PermitOutdated
        return permit

    async def owner(self, chart: int) -> tuple[int, bytes] | None:
        """The newest public envelope key of a chart's owner that permits told: suite and bytes. The caller holds a
        lease."""
        found: list[WritePermit] = []
        for grant, sealed in await self._rows.of_chart(chart):
            with suppress(SealBroken):  # `status` says that rows are lost; a new permit takes the place of one
                permit = _opened(self._kek, sealed, chart, grant)
                found += [] if permit is None else [permit]
        leaf = await self._node.chart(chart)
        if not found or leaf is None:
            return None
        present = [one for one in found if _digest(one) == leaf.encryption_key]
        newest = (present or found)[-1]
        return newest.encryption_suite, newest.encryption_public

    async def _grant(self, chart: int, number: int) -> GrantLeaf:
        grant = await self._node.grant(chart, number)
        if grant is None:
            raise UnknownGrant(f"chart {chart} has no grant {number}")
        now = max(self._node.now_ms(), self._node.head().timestamp)
        if not decisions.may_write(grant, self._node.institution, now, []):
            raise WriteNotGranted
        return grant


def _opened(kek: Kek, sealed: bytes, chart: int, grant: int) -> WritePermit | None:
    """None for one that was taken in when permits were not signed yet. Raises `SealBroken`."""
    try:
        return kek.open_permit(sealed, chart, grant)
    except DecodeError:
        return None


def _digest(permit: WritePermit) -> bytes:
    return encryption_key_digest(permit.encryption_suite, permit.encryption_public)
