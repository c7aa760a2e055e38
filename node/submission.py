"""This node's own transactions: numbered, signed, durable in the outbox before they leave, waited for until final.

What is in flight spans less than the anti-replay window, or the oldest could fall below it. A transaction is in the
outbox until its block is stored (then a receipt takes its place in the same SQLite transaction) or until it can never
become final any more: what becomes of it until then is decided by `node.sansio.pending`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from node.caches import Lru
from node.clock import Clock
from node.execution import Executed, Executor
from node.gossip import Gossip
from node.intake import Intake
from node.latency import Latencies
from node.logs import get_logger
from node.mempool import Entry, Mempool, make_entry
from node.numbering import Numbers
from node.sansio.pending import PendingCore
from node.services import Dead, Final, Outcome, Prepared, Waiting
from node.standing import Standing
from node.storage.outbox import Outbox, Outgoing
from node.storage.types import Place, Settled
from node.waiters import Waiters
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.signing import SigningKey, sign_transaction
from protocol.errors import (
    Busy,
    ChartledgerError,
    Expired,
    InvalidTransaction,
    NotAccredited,
    Oversize,
    Replayed,
    Unauthorised,
    UnknownKey,
)
from protocol.ledger.transition import Receipt
from protocol.types.operations import SignedOperation
from protocol.types.transaction import TransactionBody

log = get_logger("submission")

SPAN_MARGIN = 512
"""Numbers below the window's width that are left free for what was prepared and not yet submitted."""
VALID_MS = 60 * 60 * 1_000
"""How long a transaction that this node signs may wait to become final, if the chain's parameters allow as much."""
REMEMBERED = 16_384


class Submission(PendingCore):
    """See `node.services.Submission`; told by `node.finality` what became of each transaction."""

    def __init__(
        self,
        *,
        institution: int,
        keys: Mapping[int, SigningKey],
        executor: Executor,
        intake: Intake,
        standing: Standing,
        pool: Mempool,
        gossip: Gossip,
        outbox: Outbox,
        clock: Clock,
        work: Callable[[], None],
    ) -> None:
        super().__init__(executor=executor, standing=standing, pool=pool, clock=clock)
        self.latencies = Latencies()
        self.expired: list[bytes] = []  # ids of own transactions that ran out since the start, newest last
        self._executor: Executor = executor
        self._clock: Clock = clock
        self._institution = institution
        self._intake = intake
        self._gossip = gossip
        self._outbox = outbox
        self._work = work
        self._numbers_pending: dict[int, None] = {}  # of the signing key, in order of their adding
        self._checked: Lru[bytes, Entry] = Lru(REMEMBERED)
        self._outcomes: Lru[bytes, Final | Dead] = Lru(REMEMBERED)
        self._waiters = Waiters()
        self._room = asyncio.Event()
        self._key = -1
        self._numbers: Numbers | None = None
        self.set_keys(keys)

    def set_keys(self, keys: Mapping[int, SigningKey]) -> None:
        """This node's operations keys by index, as the ledger has them now. The newest signs; none: nothing can be
        prepared, as at an institution that is not accredited yet."""
        self._keys = dict(keys)
        key = max(keys, default=-1)
        if key != self._key:
            self._key = key
            self._numbers = Numbers(self._outbox, self._standing, self._institution, key) if keys else None
            self._numbers_pending = {e.body.number: None for e in self._pending.values() if e.body.key == key}
            self._room.set()

    async def load(self) -> None:
        """After a start: take up what the outbox holds, even what is ahead of a ledger that is being fetched anew."""
        waiting = await self._outbox.pending()
        results = await self._intake.check([one.raw for one in waiting], in_block=True)
        refused: list[tuple[bytes, ChartledgerError]] = []
        for one, result in zip(waiting, results, strict=True):
            if isinstance(result, ChartledgerError):
                refused.append((one.id, result))
            elif one.valid_until <= self._executor.head.timestamp:
                refused.append((one.id, Expired()))
            else:
                self._own(result)
                self.take_up(result)
        if refused:
            await self.drop(refused)
        self.retry()

    # --- in ------------------------------------------------------------------------------------------------------

    async def prepare(self, batches: Sequence[Sequence[SignedOperation]]) -> list[Prepared]:
        """See `node.services.Submission.prepare`."""
        await self._await_room()
        key, source = self._key, self._numbers
        if source is None:
            raise NotAccredited("this node holds no operations key that stands on the ledger")
        numbers = await source.take(len(batches))
        try:
            entries = await self._prepare(key, numbers, batches)
        except BaseException:
            source.give_back(numbers)
            raise
        self._checked.update({entry.id: entry for entry in entries})
        return [_prepared(entry) for entry in entries]

    async def _prepare(
        self, key: int, numbers: Sequence[int], batches: Sequence[Sequence[SignedOperation]]
    ) -> list[Entry]:
        """Signed, and valid at the head one after the other. Raises what refuses the first that is not."""
        chain, valid_until = self._executor.head.chain, self._valid_until()
        entries = [
            self._sign(TransactionBody(chain, self._institution, key, number, valid_until, tuple(batch)))
            for number, batch in zip(numbers, batches, strict=True)
        ]
        for result in await self._executor.try_all(entries):
            if isinstance(result, InvalidTransaction):
                raise result
        return entries

    async def adopt(self, raws: Sequence[bytes]) -> list[Prepared | ChartledgerError]:
        """See `node.services.Submission.adopt`."""
        results = await self._check(raws)
        for index, result in enumerate(results):
            if isinstance(result, Entry) and result.body.institution != self._institution:
                results[index] = Unauthorised(
                    f"this node submits for institution {self._institution}, not {result.body.institution}"
                )
        entries = [result for result in results if isinstance(result, Entry)]
        tried = await self._executor.try_all(entries)
        refused = {e.id: r for e, r in zip(entries, tried, strict=True) if isinstance(r, InvalidTransaction)}
        if refused:
            # A client that sends the same again gets what became of it, not a refusal.
            waiting, receipts = await self._outbox.standing(refused)
            refused = {id_: r for id_, r in refused.items() if id_ not in waiting and id_ not in receipts}
        good = [entry for entry in entries if entry.id not in refused]
        self._checked.update({entry.id: entry for entry in good})
        return [
            refused.get(result.id) or _prepared(result) if isinstance(result, Entry) else result for result in results
        ]

    async def submit(self, prepared: Sequence[Prepared]) -> None:
        """See `node.services.Submission.submit`."""
        entries = await self._entries(prepared)
        fresh = [e for e in entries if e.id not in self._pending and self._outcomes.get(e.id) is None]
        if not self._pool.room(fresh):
            raise Busy
        await self._outbox.add(
            [Outgoing(e.id, e.body.institution, e.body.key, e.body.number, e.body.valid_until, e.raw) for e in fresh]
        )
        if self._executor.head.height:
            # What is final already was left out of the outbox, and must not wait for ever.
            known = await self._outbox.receipts([e.id for e in fresh]) if self._maybe_final(fresh) else {}
            fresh = [e for e in fresh if e.id not in known and self._outcomes.get(e.id) is None]
        now = self._clock.monotonic_ms()
        for entry in fresh:
            entry.added_ms = now
            self._own(entry)
        self.hold(fresh)
        self.retry()

    def _maybe_final(self, entries: Sequence[Entry]) -> bool:
        """Whether some number is used up on the ledger already."""
        head_ms = self._executor.head.timestamp
        for entry in entries:
            try:
                self._standing.check_fresh(entry, head_ms)
            except (Replayed, Expired):
                return True
        return False

    def pooled(self, entries: Sequence[Entry]) -> None:
        """Pushed to every peer, and work."""
        self._gossip.push(entries)
        self._work()

    async def outcomes(self, ids: Sequence[bytes], wait_s: float) -> list[Outcome]:
        """See `node.services.Submission.outcomes`."""
        pending = [id_ for id_ in dict.fromkeys(ids) if id_ in self._pending]
        if pending and wait_s > 0:
            await self._waiters.wait(pending, wait_s)
        found: dict[bytes, Outcome] = {}
        for id_ in ids:
            outcome = self._outcomes.get(id_)
            if outcome is not None:
                found[id_] = outcome
            elif id_ in self._pending:
                found[id_] = Waiting.PENDING
        unknown = {id_ for id_ in ids if id_ not in found}
        stored = await self._outbox.receipts(unknown) if unknown else {}
        for id_ in unknown:
            receipt = stored.get(id_)
            found[id_] = (
                Waiting.UNKNOWN
                if receipt is None
                else Final(id_, receipt.height, receipt.timestamp, decode(Receipt, receipt.receipt))
            )
        return [found[id_] for id_ in ids]

    # --- what finality says --------------------------------------------------------------------------------------

    def settled(self, executed: Executed) -> tuple[Settled, ...]:
        """Those of the block's transactions that are in the outbox, with what is stored in their place."""
        if not self._pending:
            return ()
        return tuple(
            Settled(
                id_,
                encode(receipt),
                tuple(
                    Place(index, one.chart, one.first_event)
                    for index, one in enumerate(receipt.operations)
                    if one.chart is not None
                ),
            )
            for id_, receipt in zip(executed.ids, executed.receipts, strict=True)
            if id_ in self._pending
        )

    def final(self, executed: Executed) -> None:
        """The block is final and durable: answer whoever waits."""
        now = self._clock.monotonic_ms()
        height, timestamp = executed.header.height, executed.header.timestamp
        done: dict[bytes, Final | Dead] = {}
        for id_, receipt in zip(executed.ids, executed.receipts, strict=True):
            entry = self._pending.get(id_)
            if entry is not None:
                self.latencies.add(now - entry.added_ms)
                done[id_] = Final(id_, height, timestamp, receipt)
        self._finish(done)

    async def drop(self, lost: Sequence[tuple[bytes, ChartledgerError]]) -> None:
        """Out of the outbox, and whoever waits is told why."""
        await self._outbox.drop([id_ for id_, _ in lost])
        for id_, error in dict(lost).items():
            log.warning("own transaction cannot become final", transaction=id_.hex(), code=error.code)
            if isinstance(error, Expired):
                self.expired = [*self.expired[-99:], id_]
        self._finish({id_: Dead(id_, error) for id_, error in lost})

    def _finish(self, outcomes: Mapping[bytes, Final | Dead]) -> None:
        self._outcomes.update(outcomes)
        for id_ in outcomes:
            entry = self.release(id_)
            if entry is not None and entry.body.key == self._key:
                self._numbers_pending.pop(entry.body.number, None)
            self._waiters.settled(id_)
        if outcomes:
            self._room.set()

    # --- inside --------------------------------------------------------------------------------------------------

    def _own(self, entry: Entry) -> None:
        if entry.body.key == self._key:
            self._numbers_pending[entry.body.number] = None

    async def _await_room(self) -> None:
        """Wait while what is in flight spans nearly the whole anti-replay window."""
        span = limits.WINDOW_BITS_INSTITUTION - SPAN_MARGIN
        while self._numbers_pending:
            oldest = next(iter(self._numbers_pending))
            newest = next(reversed(self._numbers_pending))
            if newest - oldest < span:
                return
            self._room.clear()
            await self._room.wait()

    def _valid_until(self) -> int:
        now = max(self._executor.head.timestamp, self._clock.wall_ms())
        return now + min(VALID_MS, self._standing.params.valid_until_max_ms // 2)

    def _sign(self, body: TransactionBody) -> Entry:
        key = self._keys.get(body.key)
        if key is None:
            raise UnknownKey(f"operations key {body.key} was retired meanwhile")
        transaction = sign_transaction(key, body)
        raw = encode(transaction)
        self._standing.check_fits(raw)
        return make_entry(transaction, raw, key.public)

    async def _check(self, raws: Sequence[bytes]) -> list[Entry | ChartledgerError]:
        """As `Intake.check`, and what no block has room for is refused too."""
        results = await self._intake.check(raws)
        for index, raw in enumerate(raws):
            try:
                self._standing.check_fits(raw)
            except Oversize as error:
                results[index] = error
        return results

    async def _entries(self, prepared: Sequence[Prepared]) -> list[Entry]:
        entries: list[Entry] = []
        for one in prepared:
            entry = self._pending.get(one.id) or self._checked.get(one.id)
            if entry is None:
                result = (await self._check([one.raw]))[0]
                if isinstance(result, ChartledgerError):
                    raise result
                entry = result
            entries.append(entry)
        return entries


def _prepared(entry: Entry) -> Prepared:
    return Prepared(entry.id, entry.raw, entry.body.number, entry.body.valid_until)
