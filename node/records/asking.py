"""Asking to read, as an institution does it: under a grant, in an emergency, or carrying what a delegate signed.

What is said of who asks and why goes to the owner in confidence: it is durable here, sealed, before the operation that
commits to it may leave. The caller submits what is prepared, as with `node.records.submit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.records.confidence import Confidence
from node.records.errors import ReasonMissing
from node.records.submit import Submitter
from node.services import NodeServices, Prepared
from protocol.chart_errors import UnknownEmergency
from protocol.crypto.details import Details, DetailsOpening
from protocol.errors import UnknownChart
from protocol.ledger.events import GlassBroken, decode_event
from protocol.types.operations import (
    BreakGlass,
    ConfirmBreakGlass,
    Cosignature,
    Disclose,
    Operation,
    ReviewBreakGlass,
    SignedOperation,
)

Pseudonym = Callable[[int, str], bytes]
"""(chart, staff id) -> what this institution calls that person towards the chart's owner. Raises `BadStaffId`."""


class Asker:
    """Prepares this institution's askings and what follows from emergencies."""

    def __init__(self, node: NodeServices, submitter: Submitter, confidence: Confidence, pseudonym: Pseudonym) -> None:
        self._node = node
        self._pseudonym = pseudonym
        self._submitter = submitter
        self._confidence = confidence

    async def disclose(
        self,
        chart: int,
        grant: int | None,
        purpose: str,
        records: Sequence[int] | None,
        *,
        practitioner: bytes | None = None,
        details: Details | None = None,
    ) -> list[Prepared]:
        """Ask to read these records; None stands for all that the grant covers. Whoever asks goes by the pseudonym
        `practitioner`, or by the one of the staff id in `details`. Raises as `Submitter.disclose`, and `BadStaffId`."""
        practitioner = practitioner or self._named(chart, details)
        commitment, opening = (None, None) if details is None else self._confidence.committed(details)
        prepared = await self._submitter.disclose(
            chart, grant, purpose, records, practitioner=practitioner, details=commitment
        )
        return await self._keep(chart, opening, prepared)

    async def break_glass(
        self, chart: int, records: Sequence[int], purpose: str, details: Details, practitioner: bytes | None = None
    ) -> list[Prepared]:
        """Read in an emergency, without a grant, by the chart's policy. Raises `ReasonMissing`, and what the ledger has
        against it; whether it may be read is no error, the rules record it. `practitioner` as for `disclose`."""
        if not details.reason.strip():
            raise ReasonMissing
        practitioner = practitioner or self._named(chart, details)
        commitment, opening = self._confidence.committed(details)
        named = tuple(sorted(set(records)))
        operation = BreakGlass(chart, named, purpose, commitment, practitioner)
        return await self._keep(chart, opening, await self._prepare(operation))

    async def confirm(self, chart: int, emergency: int) -> list[Prepared]:
        """Vouch for another institution's emergency. Raises `UnknownEmergency`, and what the ledger has against it."""
        broken = await self._broken(chart, emergency)
        return await self._prepare(ConfirmBreakGlass(chart, emergency, broken.institution, broken.records))

    async def review(self, chart: int, emergency: int, justified: bool, findings: Details | None) -> list[Prepared]:
        """State whether another institution's emergency was justified. The findings go to the owner in confidence.
        Raises `UnknownEmergency`, and what the ledger has against it."""
        asker = (await self._broken(chart, emergency)).institution
        commitment, opening = (None, None) if findings is None else self._confidence.committed(findings)
        operation = ReviewBreakGlass(chart, emergency, asker, justified, commitment)
        return await self._keep(chart, opening, await self._prepare(operation))

    async def for_delegate(
        self, chart: int, records: Sequence[int], purpose: str, cosignature: Cosignature
    ) -> list[Prepared]:
        """Carry a delegate's own asking at its chart's custodian. Raises what the ledger has against it."""
        operation = Disclose(chart, None, tuple(sorted(set(records))), purpose)
        return await self._node.prepare([[SignedOperation(operation, (cosignature,))]])

    def _named(self, chart: int, details: Details | None) -> bytes | None:
        return self._pseudonym(chart, details.staff) if details is not None and details.staff else None

    async def _prepare(self, operation: Operation) -> list[Prepared]:
        return await self._node.prepare([[SignedOperation(operation)]])

    async def _keep(self, chart: int, opening: DetailsOpening | None, prepared: list[Prepared]) -> list[Prepared]:
        if opening is not None:
            await self._confidence.keep(chart, opening, prepared[0].valid_until)
        return prepared

    async def _broken(self, chart: int, emergency: int) -> GlassBroken:
        if await self._node.chart(chart) is None:
            raise UnknownChart(f"there is no chart {chart}")
        found = await self._node.events_at(chart, [emergency])
        event = decode_event(found[emergency]) if emergency in found else None
        if not isinstance(event, GlassBroken):
            raise UnknownEmergency(f"event {emergency} of chart {chart} is no emergency")
        return event
