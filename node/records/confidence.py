"""Details on their way: from the asker, which keeps them, to the chart's custodian, which keeps a copy for the owner.

At the asker they are durable before the operation that commits to them leaves. They are sealed to the owner and sent
as soon as the operation is final and the custodian answers; while it does not, they wait and are sent again. At the
custodian they are taken only for an asking that is final, the sender's own and committed to details at all; whether
they are what was committed to only the owner can tell, whose wallet does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping

from node.logs import get_logger
from node.network.interface import RequestFailed, RequestRefused
from node.records.detail_messages import (
    DETAILS,
    OWNER_KEY,
    DetailsRequest,
    DetailsTaken,
    OwnerKeyAnswer,
    OwnerKeyRequest,
)
from node.records.errors import ChartUnknownHere, NotCustodian, NotDisclosed, NotStated
from node.records.owner_keys import OwnerKeyMissing, current_secret
from node.records.seal import Kek
from node.services import FinalBlock, NodeServices
from node.storage.details_store import DetailsStore, ForOwner, KeptDetails
from node.storage.errors import StorageFailed
from node.storage.records_store import RecordsStore
from protocol.codec.canonical import decode, encode
from protocol.crypto.commitments import SALT_BYTES
from protocol.crypto.details import (
    Details,
    DetailsOpening,
    check_details,
    commit_details,
    details_info,
    seal_details,
)
from protocol.crypto.hashing import encryption_key_digest
from protocol.errors import ChartledgerError, UnknownChart
from protocol.ledger import keys
from protocol.ledger.events import (
    ChangeCompleted,
    ChartMoved,
    Disclosed,
    Event,
    GlassBroken,
    GlassReviewed,
    decode_event,
)
from protocol.ledger.leaves import Chart, decode_leaf

log = get_logger("details")

WAIT_S = 10.0
RETRY_S = 1.0
RETRY_MOST_S = 60.0
AT_ONCE = 64
EVENTS_AT_ONCE = 2_000
MARGIN_MS = 60 * 60 * 1_000
"""How long after it could last become final an operation is still looked for on the ledger."""


class Confidence:
    """One institution's side of it, as asker and as custodian."""

    def __init__(self, node: NodeServices, store: DetailsStore, secrets: RecordsStore, kek: Kek) -> None:
        self._node = node
        self._store = store
        self._secrets = secrets
        self._kek = kek
        self._owners: dict[int, OwnerKeyAnswer] = {}
        self._wake = asyncio.Event()
        self._stale: set[int] | None = None  # charts whose owners may have other keys; None: any may

    # --- at the asker --------------------------------------------------------------------------------------------

    def committed(self, details: Details) -> tuple[bytes, DetailsOpening]:
        """What is to stand on the ledger for these details, under a fresh salt, and what opens it."""
        opening = DetailsOpening(os.urandom(SALT_BYTES), details)
        return commit_details(opening), opening

    async def keep(self, chart: int, opening: DetailsOpening, valid_until: int) -> None:
        """Make durable what an operation that is about to leave commits to. Raises `UnknownChart`."""
        leaf = await self._node.chart(chart)
        if leaf is None:
            raise UnknownChart(f"there is no chart {chart}")
        commitment = commit_details(opening)
        with self._kek.keys.lease():
            sealed = self._kek.seal_details(opening, commitment)
            await self._store.keep(KeptDetails(commitment, chart, leaf.events, valid_until, sealed))
        self.wake()

    async def stated(self, chart: int, event: int) -> Details:
        """What this institution itself stated about an asking of its own. Raises `NotStated`."""
        raw = await self._node.events_at(chart, [event])
        commitment = commitment_of(decode_event(raw[event])) if event in raw else None
        await self._place_all()
        kept = await self._store.stated(chart, event)
        if kept is None or commitment is None:
            raise NotStated(f"nothing was said here about event {event} of chart {chart}")
        return check_details(commitment, self._kek.open_details(kept.sealed, commitment))

    async def stated_about(self, commitments: Mapping[bytes, tuple[int, int]]) -> dict[tuple[int, int], Details]:
        """What this institution stated about askings of its own (chart, event number), which are given by what they
        commit to as said in confidence."""
        await self._place_all()
        found = await self._store.by_commitment(list(commitments))

        def opened() -> dict[tuple[int, int], Details]:
            return {
                commitments[one.commitment]: self._kek.open_details(one.sealed, one.commitment).details for one in found
            }

        return await asyncio.to_thread(opened)

    def wake(self) -> None:
        """There may be something to deliver."""
        self._wake.set()

    def start(self, fail: Callable[[BaseException], None]) -> Callable[[], object]:
        """Deliver from now on; what is given back ends it. `fail` is told if it ends by itself."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error)

        task = asyncio.create_task(self._run(), name="details")
        task.add_done_callback(ended)
        return task.cancel

    async def _run(self) -> None:
        while True:
            async with self._node.subscribe() as blocks:
                following = asyncio.create_task(self._follow(blocks))
                try:
                    await self._courier(following)
                finally:
                    following.cancel()
            # The stream ends for who fell behind, and when the node stops: then this task is cancelled.
            await asyncio.sleep(RETRY_S)

    async def _follow(self, blocks: AsyncIterator[FinalBlock]) -> None:
        async for block in blocks:
            happened = [(chart, decode_event(raw)) for chart, _, raw in block.events]
            moved = {chart for chart, event in happened if isinstance(event, ChartMoved)}
            for chart in moved:  # its new custodian was told nothing yet
                await self._store.deliver_again(chart)
            changed = {chart for chart, event in happened if isinstance(event, ChangeCompleted)}
            if moved:
                self.wake()
            if changed and self._stale is not None:
                self._stale |= changed
            if changed:
                self.wake()
        self.wake()

    async def renew(self, changed: Collection[int] | None = None) -> None:
        """What was sealed to a key that is no longer its owner's, at these charts or at any, is to be delivered again.
        At any, since nobody looked for a while: also what a former custodian was told of a chart that moved."""
        delivered = await self._store.recipients(changed)
        charts = sorted({chart for chart, _ in delivered})
        leaves = await self._node.leaves([keys.chart(chart) for chart in charts])
        for chart, recipient in sorted(delivered):
            key = keys.chart(chart)
            leaf = decode_leaf(key, leaves[key]) if key in leaves else None
            if not isinstance(leaf, Chart):
                continue
            if leaf.encryption_key != recipient or (changed is None and await self._has_moved(chart, leaf)):
                await self._store.deliver_again(chart)

    async def _has_moved(self, chart: int, leaf: Chart) -> bool:
        """Whether the chart has another custodian than when it was opened."""
        raw = await self._node.events_at(chart, [0])
        return decode_event(raw[0]).institution != leaf.custodian

    async def _courier(self, following: asyncio.Task[None]) -> None:
        """Woken by what is new; what could not be delivered is tried again, ever more rarely. Ends with `following`."""
        pause_s = RETRY_S
        self._stale = None  # what changed while nobody looked
        while not following.done():
            self._wake.clear()
            try:
                stale: set[int] | None = self._stale
                self._stale = set()
                if stale is None or stale:
                    await self.renew(stale)
                left = await self.deliver()
            except StorageFailed as error:
                log.warning("details not looked after", code=error.code)
                left, self._stale = 1, None
            pause_s = min(2 * pause_s, RETRY_MOST_S) if left else RETRY_S
            try:
                async with asyncio.timeout(pause_s if left else None):
                    await self._wake.wait()
            except TimeoutError:
                continue
            pause_s = RETRY_S

    async def deliver(self) -> int:
        """Deliver what waits and can be; how many are left. Raises `StorageFailed`."""
        await self._place_all()
        unreachable: set[int] = set()
        left = 0
        while waiting := await self._store.waiting(AT_ONCE, left):
            for kept in waiting:
                if not await self._delivered(kept, unreachable):
                    left += 1  # behind what cannot be delivered there is what can
        return left

    async def _delivered(self, kept: KeptDetails, unreachable: set[int]) -> bool:
        """Whether it could be delivered now. A custodian that does not answer is not asked again, one that refuses is:
        what is wrong with one chart or one row is no reason to keep the rest from its owners."""
        leaf = await self._node.chart(kept.chart)
        if kept.event is None or leaf is None or leaf.custodian in unreachable:
            return False
        try:
            await self._deliver(kept, kept.event, leaf.custodian, leaf.encryption_key)
        except StorageFailed:
            raise
        except ChartledgerError as error:
            # The sentence may be a stranger's: its name says enough.
            log.info("details not delivered", custodian=leaf.custodian, code=error.code)
            if isinstance(error, RequestFailed) and not isinstance(error, RequestRefused):
                unreachable.add(leaf.custodian)
            return False
        return True

    async def _deliver(self, kept: KeptDetails, event: int, custodian: int, encryption_key: bytes) -> None:
        owner = await self._owner(kept.chart, custodian, encryption_key)
        opening = self._kek.open_details(kept.sealed, kept.commitment)
        info = details_info(self._node.chain, kept.chart, kept.commitment, encryption_key)
        request = DetailsRequest(kept.chart, event, seal_details(owner.suite, owner.public, info, opening))
        if custodian == self._node.institution:
            await self.take(custodian, request)
        else:
            decode(DetailsTaken, await self._node.ask(custodian, DETAILS, encode(request), WAIT_S))
        await self._store.delivered(kept.commitment, encryption_key)

    async def _owner(self, chart: int, custodian: int, encryption_key: bytes) -> OwnerKeyAnswer:
        """The owner's key, believed only if it is the one that the ledger names. Raises the network's
        `RequestFailed`, `DecodeError` or `ChartUnknownHere`."""
        found = self._owners.get(chart)
        if found is None or encryption_key_digest(found.suite, found.public) != encryption_key:
            if custodian == self._node.institution:
                found = await self.owner_key(OwnerKeyRequest(chart))
            else:
                raw = await self._node.ask(custodian, OWNER_KEY, encode(OwnerKeyRequest(chart)), WAIT_S)
                found = decode(OwnerKeyAnswer, raw)
            if encryption_key_digest(found.suite, found.public) != encryption_key:
                raise ChartUnknownHere("the custodian names another key of the owner than the ledger")
            if len(self._owners) >= AT_ONCE:
                self._owners.clear()
            self._owners[chart] = found
        return found

    async def _place_all(self) -> None:
        """Find on the ledger what became final meanwhile; forget what never can."""
        left = 0
        while unplaced := await self._store.unplaced(AT_ONCE, left):
            for kept in unplaced:
                event = await self._find(kept)
                if event is not None:
                    await self._store.placed(kept.commitment, event)
                elif self._node.head().timestamp > kept.valid_until + MARGIN_MS:
                    await self._store.drop(kept.commitment)
                else:
                    left += 1

    async def _find(self, kept: KeptDetails) -> int | None:
        """This institution's own: another that saw the digest on its way can have asked with it, too."""
        first, own = kept.since, self._node.institution
        while page := await self._node.events(kept.chart, first, EVENTS_AT_ONCE):
            for number, raw in page:
                event = decode_event(raw)
                if event.institution == own and commitment_of(event) == kept.commitment:
                    return number
            first = page[-1][0] + 1
        return None

    # --- at the custodian ----------------------------------------------------------------------------------------

    async def answer(self, peer: int, method: str, payload: bytes) -> bytes | None:
        """The answer to another institution's request; None if it is about something else. Raises named errors, or
        `DecodeError` for what is no request."""
        if method == DETAILS:
            return encode(await self.take(peer, decode(DetailsRequest, payload)))
        if method == OWNER_KEY:
            return encode(await self.owner_key(decode(OwnerKeyRequest, payload)))
        return None

    async def owner_key(self, request: OwnerKeyRequest) -> OwnerKeyAnswer:
        """The key of a chart's owner, as soon as it is in force. Raises `NotCustodian`, `ChartUnknownHere` or
        `OwnerKeyMissing`."""
        leaf = await self._node.chart(request.chart)
        if leaf is None or leaf.custodian != self._node.institution:
            raise NotCustodian(f"institution {self._node.institution} is not the custodian of chart {request.chart}")
        raw = await self._secrets.chart_secret(request.chart)
        if raw is None:
            raise ChartUnknownHere
        kept = self._kek.open_chart(raw)
        secret = await current_secret(self._secrets.owner_keys, kept, request.chart, leaf)
        if secret is None:
            raise OwnerKeyMissing
        return OwnerKeyAnswer(secret.encryption_suite, secret.encryption_public)

    async def take(self, peer: int, request: DetailsRequest) -> DetailsTaken:
        """Keep them for the owner. Raises `NotCustodian`, or `NotDisclosed` unless they are about a final asking of
        the sender's that is committed to details."""
        leaf = await self._node.chart(request.chart)
        if leaf is None or leaf.custodian != self._node.institution:
            raise NotCustodian(f"institution {self._node.institution} is not the custodian of chart {request.chart}")
        raw = await self._node.events_at(request.chart, [request.event])
        event = decode_event(raw[request.event]) if request.event in raw else None
        if event is None or event.institution != peer or commitment_of(event) is None:
            raise NotDisclosed("there is no final asking of yours of that event number that has details")
        await self._store.put_for_owner(request.chart, ForOwner(request.event, peer, request.sealed))
        return DetailsTaken(request.chart, request.event)

    async def for_owner(self, chart: int, first: int, count: int) -> list[ForOwner]:
        """What is kept here for the owner of a chart, sealed to it, from event number `first` on."""
        return await self._store.for_owner(chart, first, count)

    async def said_to_owner(self, chart: int, event: int, leaf: Chart, public: bytes) -> list[bytes]:
        """What is here of what was said about one asking or review, sealed to the owner's key in force (`public`, the
        one that `leaf` names): this institution's own, and, at the custodian, the copy that it was handed."""
        raw = await self._node.events_at(chart, [event])
        found = decode_event(raw[event]) if event in raw else None
        commitment = None if found is None else commitment_of(found)
        if found is None or commitment is None:
            return []
        said: list[bytes] = []
        if found.institution == self._node.institution:
            await self._place_all()
            kept = await self._store.stated(chart, event)
            if kept is not None:
                opening = self._kek.open_details(kept.sealed, commitment)
                info = details_info(self._node.chain, chart, commitment, leaf.encryption_key)
                said.append(seal_details(leaf.encryption_suite, public, info, opening))
        copies = await self._store.for_owner(chart, event, 1)
        return said + [one.sealed for one in copies if one.event == event and not said]


def commitment_of(event: Event) -> bytes | None:
    """What an asking, or a review, commits to as said in confidence; None for one without, and for other events."""
    if isinstance(event, Disclosed):
        return event.details
    if isinstance(event, GlassBroken):
        return event.justification
    if isinstance(event, GlassReviewed):
        return event.findings
    return None
