"""Proofs as a node makes them, from its disk: of any event, history, grant or erasure at the final head, and of any
final block.

What a proof shows of the state must all be of one block. The head may move while leaves and nodes are read, so what was
read is held against the head's `state_root`, and read again if it does not fit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from node.finality import Finality
from node.storage.ledger_store import LedgerStore
from protocol import limits
from protocol.chart_errors import UnknownErasure
from protocol.codec.canonical import decode
from protocol.errors import BadProof, BadTerms, Busy, TooManyEpochs, UnknownChart, UnknownGrant, UnknownRecord
from protocol.ledger import history as mountains
from protocol.ledger import keys, tree
from protocol.ledger.events import RecordAppended, decode_event, event_digest
from protocol.ledger.leaves import Chart, Erasure
from protocol.proofs import bundle, erasure, grant, history, inclusion, past
from protocol.proofs.final import Anchor, FinalityProof
from protocol.proofs.history import HistoryProof
from protocol.proofs.light import EpochHop
from protocol.proofs.parts import EventShown, events_needed, show_event
from protocol.types.block import Header
from protocol.types.votes import Certificate

PROOF_TRIES = 16
EVENTS_AT_ONCE = 2_000


class _Read(NamedTuple):
    """What stands at some keys after one final block: the leaves that there are, and the nodes on the way to all."""

    header: Header
    certificate: Certificate
    leaves: dict[bytes, bytes]
    walk: tree.Walk


class Proofs:
    """Answers in the bytes of proof files. `epoch` is the one that the verifier trusts: 0 stands in the genesis.

    Every method raises `TooManyEpochs`, `BadProof` for an epoch above the head's, and `Busy` if blocks became final
    faster than a proof could be read.
    """

    def __init__(self, store: LedgerStore, finality: Finality) -> None:
        self._store = store
        self._finality = finality

    async def inclusion(self, chart: int, event: int, epoch: int = 0) -> bytes:
        """That the event stands in the chart's history. Raises `UnknownChart` or `UnknownRecord`."""
        read, leaf = await self._chart(chart)
        if event >= leaf.events:
            raise UnknownRecord(f"chart {chart} has no event {event}")
        needed = events_needed(leaf, event)
        proof = inclusion.prove(
            read.header,
            read.certificate,
            chart=chart,
            leaf=read.leaves[keys.chart(chart)],
            state_path=read.walk.prove(keys.chart(chart)),
            number=event,
            events=await self._events(chart, needed.start, needed.stop),
            hops=await self._hops(epoch, read.header),
        )
        return bundle.write(proof)

    async def final(self, epoch: int = 0, height: int | None = None) -> bytes:
        """That a block is final; without a height, the head, or as far as one proof reaches. Raises `BadProof`."""
        return bundle.write(await self._final(epoch, height))

    async def history(self, chart: int, first: int = 0, epoch: int = 0) -> bytes:
        """All that happened to the chart from event `first` on, or as much of it as one proof carries. Raises
        `UnknownChart` or `UnknownRecord`."""
        read, leaf = await self._chart(chart)
        if first >= leaf.events:
            raise UnknownRecord(f"chart {chart} has no event {first}")
        return bundle.write(await self._history(read, chart, leaf, first, epoch, until=None))

    async def grant(
        self, chart: int, number: int, institution: int | None = None, record: int | None = None, epoch: int = 0
    ) -> bytes:
        """Whether the grant is in force at the head, for this institution, as to this record. Raises `UnknownChart`,
        `UnknownRecord`, `UnknownGrant` for a number that no grant can have, or `BadTerms`."""
        _check_grant(number, institution)
        if record is not None and institution is None:
            raise BadTerms("whether a record may be read depends on who asks: name the institution")
        if record is not None and record >= limits.EVENTS_PER_CHART:
            raise UnknownRecord(f"chart {chart} has no record {record}")
        if chart > keys.CHART_MAX:
            raise UnknownChart(f"there is no chart {chart}")
        read = await self._read(grant.keys_needed(chart, number, institution, record))
        leaf, shown = _chart_leaf(read, chart), None
        if record is not None:
            shown = await self._event(chart, leaf, record)
            if not isinstance(decode_event(shown.event), RecordAppended):
                raise UnknownRecord(f"event {record} of chart {chart} is no record")
        proof = grant.prove(
            await self._anchor(read, epoch),
            chart=chart,
            grant=number,
            institution=institution,
            record=shown,
            leaves=read.leaves,
            nodes=read.walk.prove_all(),
        )
        return bundle.write(proof)

    async def past_grant(
        self, chart: int, number: int, height: int, institution: int | None = None, epoch: int = 0
    ) -> bytes:
        """How the grant stood at a height, from the chart's history. Raises as `grant`, and `BadProof` if more happened
        to the chart until then than one proof carries."""
        _check_grant(number, institution)
        block = await self._final(epoch, height)
        read, leaf = await self._chart(chart)
        shown = await self._history(read, chart, leaf, 0, epoch, until=height)
        end = len(shown.events)
        if end < leaf.events and decode_event(shown.events[-1]).height <= height:
            raise BadProof(
                f"more happened to chart {chart} up to block {height} than the {end} events that one proof carries",
                advice="Ask for the history in parts, and play the events of all of them.",
            )
        return bundle.write(past.prove(block, shown, number, institution))

    async def erasure(self, chart: int, event: int, epoch: int = 0) -> bytes:
        """What became of the erasure that this event ordered. Raises `UnknownChart` or `UnknownErasure`."""
        for _ in range(PROOF_TRIES):
            read, leaf = await self._chart(chart)
            key = keys.erasure(chart, event) if event < limits.EVENTS_PER_CHART else b""
            found = (await self._store.read_leaves([key])).get(key)
            if found is None:
                raise UnknownErasure(f"event {event} of chart {chart} is no erasure")
            read = await self._read(erasure.keys_needed(chart, event, decode(Erasure, found)))
            if read.leaves[key] != found:
                continue  # a receipt came meanwhile, so another institution owes no more
            leaf = _chart_leaf(read, chart)
            proof = erasure.prove(
                await self._anchor(read, epoch),
                chart=chart,
                ordered=await self._event(chart, leaf, event),
                leaves=read.leaves,
                nodes=read.walk.prove_all(),
            )
            return bundle.write(proof)
        raise Busy("receipts came faster than a proof could be put together")

    # --- what proofs are put together from

    async def _read(self, wanted: Sequence[bytes]) -> _Read:
        for _ in range(PROOF_TRIES):
            header, certificate = self._finality.head, self._finality.certificate
            if certificate is None:
                raise BadProof("no block above the genesis is final yet: there is nothing to show")
            leaves = await self._store.read_leaves(wanted)
            walk = tree.Walk(wanted)
            while paths := walk.wanted():
                walk.supply(await self._store.read_nodes(paths))
            try:
                tree.check_leaves(header.state_root, {key: leaves.get(key) for key in wanted}, walk.prove_all())
            except BadProof:
                continue
            return _Read(header, certificate, leaves, walk)
        raise Busy("blocks became final faster than a proof could be put together")

    async def _chart(self, chart: int) -> tuple[_Read, Chart]:
        if chart > keys.CHART_MAX or self._finality.certificate is None:
            raise UnknownChart(f"there is no chart {chart}")
        read = await self._read([keys.chart(chart)])
        return read, _chart_leaf(read, chart)

    async def _anchor(self, read: _Read, epoch: int) -> Anchor:
        return Anchor(read.header, read.certificate, await self._hops(epoch, read.header))

    async def _events(self, chart: int, start: int, end: int) -> list[bytes]:
        return [raw async for page in self._pages(chart, start, end) for _, raw in page]

    async def _pages(self, chart: int, start: int, end: int) -> AsyncIterator[list[tuple[int, bytes]]]:
        """The events from `start` to before `end`, some at a time: one may be of 50 kB, and a chart have millions."""
        while start < end and (page := await self._store.chart_events(chart, start, min(EVENTS_AT_ONCE, end - start))):
            yield page
            start = page[-1][0] + 1

    async def _event(self, chart: int, leaf: Chart, number: int) -> EventShown:
        if number >= leaf.events:
            raise UnknownRecord(f"chart {chart} has no event {number}")
        needed = events_needed(leaf, number)
        return show_event(chart, leaf, number, await self._events(chart, needed.start, needed.stop))

    async def _history(
        self, read: _Read, chart: int, leaf: Chart, first: int, epoch: int, *, until: int | None
    ) -> HistoryProof:
        """Events from `first` on, as many as go into one proof; with `until`, no more than the first above it."""
        events: list[bytes] = []
        size = 0
        more = True
        async for page in self._pages(chart, first, leaf.events):
            for _, raw in page:
                size += len(raw)
                if events and (size > limits.EVENTS_BYTES_PER_PROOF or len(events) >= limits.EVENTS_PER_PROOF):
                    more = False
                    break
                events.append(raw)
                if until is not None and decode_event(raw).height > until:
                    more = False
                    break
            if not more:
                break
        return history.prove(
            await self._anchor(read, epoch),
            chart=chart,
            leaf=read.leaves[keys.chart(chart)],
            state_path=read.walk.prove(keys.chart(chart)),
            first=first,
            events=events,
            before=await self._tops(chart, 0, first),
            after=await self._tops(chart, first + len(events), leaf.events),
        )

    async def _tops(self, chart: int, start: int, end: int) -> list[bytes]:
        """The tops of the subtrees that stand for these events, which are read and hashed some at a time."""
        tops: list[bytes] = []
        for at, height in mountains.spans(start, end):
            peaks: tuple[bytes, ...] = ()
            async for page in self._pages(chart, at, at + (1 << height)):
                digests = [event_digest(chart, number, raw) for number, raw in page]
                peaks = mountains.append_all(peaks, page[0][0] - at, digests)
            tops += peaks
        return tops

    async def _final(self, epoch: int, height: int | None) -> FinalityProof:
        wanted = max(1, await self._furthest(epoch) if height is None else height)
        headers, certificate = await self._store.headers_to_certificate(wanted, limits.HEADERS_PER_PROOF)
        if certificate is None:
            raise BadProof(
                f"no block of height {wanted} or above is final yet", advice="`chartledger status` tells the last."
            )
        header, *above = [decode(Header, raw) for raw in headers]
        hops = await self._hops(epoch, header)
        return FinalityProof(header, tuple(above), decode(Certificate, certificate), hops)

    async def _furthest(self, epoch: int) -> int:
        """The height of the last final block that one proof reaches from this epoch on: the head's, or that of the end
        of an epoch, from where the next proof may begin."""
        head = self._finality.head
        if head.epoch - epoch <= limits.HOPS_PER_PROOF:
            return head.height
        (end,) = await self._store.epoch_ends(epoch + limits.HOPS_PER_PROOF, 1)
        return end.header.height

    async def _hops(self, first: int, header: Header) -> tuple[EpochHop, ...]:
        """The ends of the epochs from `first` up to the one that `header` is of."""
        if first > header.epoch:
            raise BadProof(f"block {header.height} is of epoch {header.epoch}: no proof of it begins at epoch {first}")
        count = header.epoch - first
        if count > limits.HOPS_PER_PROOF:
            raise TooManyEpochs(f"{count} epochs lie between, and a proof carries at most {limits.HOPS_PER_PROOF}")
        ends = await self._store.epoch_ends(first, count)
        return tuple(EpochHop(end.header, end.certificate, end.next_authorities) for end in ends)


def _chart_leaf(read: _Read, chart: int) -> Chart:
    raw = read.leaves.get(keys.chart(chart))
    if raw is None:
        raise UnknownChart(f"there is no chart {chart}")
    return decode(Chart, raw)


def _check_grant(number: int, institution: int | None) -> None:
    if number > keys.GRANT_MAX:
        raise UnknownGrant(f"no grant can have the number {number}")
    if institution is not None and institution > keys.INSTITUTION_MAX:
        raise BadTerms(f"no institution can have the number {institution}")
