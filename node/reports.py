"""Puts an authority's contradicting votes on the ledger, which takes its authority away and keeps them for ever.

Every node that comes to hold both votes reports them, since each may be the only one; the ledger takes the first report
and refuses the rest.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from node.logs import get_logger
from node.sansio.stepping import Evidence
from node.services import Waiting
from node.storage.ledger_store import LedgerStore
from node.submission import Submission
from protocol.codec.canonical import encode
from protocol.errors import AlreadyReported, BadEvidence, ChartledgerError
from protocol.ledger import keys
from protocol.types.governance import ReportEquivocation
from protocol.types.operations import SignedOperation

log = get_logger("reports")

AGAIN_S = 5.0
"""How often it is looked whether a report came through: it may find no room, or run out where the chain stands still
for longer than a transaction is valid."""


class Reports:
    """This node's reports of equivocation, each until it is on the ledger."""

    def __init__(self, store: LedgerStore, submission: Submission) -> None:
        self._store = store
        self._submission = submission
        self._waiting: dict[tuple[int, int], Evidence] = {}
        self._sent: dict[tuple[int, int], bytes] = {}  # the transaction that waits in the outbox, by its id
        self._wake = asyncio.Event()

    def add(self, evidence: Evidence) -> None:
        """Report this, unless that was done. Evidence is told once for each authority of an epoch."""
        self._waiting[evidence.epoch, evidence.index] = evidence
        self._wake.set()

    async def run(self) -> None:
        """Submit what waits, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if self._waiting else None):
                    await self._wake.wait()
            self._wake.clear()
            for place, evidence in list(self._waiting.items()):
                if await self._done(place, evidence):
                    del self._waiting[place]
                    self._sent.pop(place, None)

    async def _done(self, place: tuple[int, int], evidence: Evidence) -> bool:
        key = keys.evidence(evidence.epoch, evidence.index)
        if key in await self._store.read_leaves([key]):
            return True
        sent = self._sent.get(place)
        if sent is not None and await self._submission.outcomes([sent], 0) == [Waiting.PENDING]:
            return False
        first, second = sorted((evidence.first, evidence.second), key=encode)
        try:
            prepared = await self._submission.prepare([[SignedOperation(ReportEquivocation(first, second))]])
            await self._submission.submit(prepared)
        except (AlreadyReported, BadEvidence) as error:
            log.info("equivocation not reported", institution=evidence.institution, reason=str(error))
            return True
        except ChartledgerError as error:
            log.warning("equivocation not reported yet", institution=evidence.institution, reason=str(error))
            return False
        self._sent[place] = prepared[0].id
        log.info("equivocation reported", institution=evidence.institution, epoch=evidence.epoch)
        return False
