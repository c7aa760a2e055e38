"""Somebody reads the Patient resource of a person with their own family name: noticed where both names are known.

That is at the asker's own node and nowhere else: it knows its staff by the details that it stated, and holds the
resource for the moment in which it is read. The names are compared in memory; that they agreed is all that is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from node.alerts.names import family_names, same_family
from node.records.confidence import Confidence
from node.records.errors import NotStated
from node.records.fhir import is_fhir
from node.records.opening import Content
from node.storage.details_store import DetailsStore
from protocol.errors import CryptoError

PATIENT_BYTES = 256 * 1024
"""A larger record is no Patient resource that anybody reads one by one."""
PATIENT = b'"Patient"'
"""Stands in every Patient resource, and in hardly anything else: most records are passed over by it."""


class Namesakes:
    """Looks at what this institution's people read under details that name them."""

    def __init__(self, confidence: Confidence, store: DetailsStore) -> None:
        self._confidence = confidence
        self._store = store

    async def look_at(self, chart: int, disclosure: int, media_type: str, data: bytes, time_ms: int) -> None:
        """Notice, if there is something to notice. Names go nowhere."""
        if len(data) > PATIENT_BYTES or not is_fhir(media_type) or PATIENT not in data:
            return
        families = family_names(data)
        if not families:
            return
        try:
            said = await self._confidence.stated(chart, disclosure)
        except (NotStated, CryptoError):
            return
        if said.family and any(same_family(said.family, family) for family in families):
            await self._store.notice(chart, disclosure, time_ms)

    async def watched(self, chart: int, disclosure: int, content: Content, time_ms: int) -> Content:
        """The same content, looked at on its way out if it is small enough to be a Patient."""
        if content.length > PATIENT_BYTES or not is_fhir(content.media_type):
            return content
        data = b"".join([chunk async for chunk in content.chunks])
        await self.look_at(chart, disclosure, content.media_type, data, time_ms)
        return Content(content.media_type, content.length, _once(data))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
