"""What waits at one node to become final: its pool, its own transactions, and how they spread.

The pool is `node.mempool`. Around it stands what `node.gossip`, `node.submission` and `node.finality` do in a node:
push in full, announce what others may lack, remind the leader, keep own transactions in the outbox until they are final
or can never be, look again at what a state refused.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Final, Protocol

from node.mempool import Entry, Mempool
from node.refusals import Refusals
from node.simulation.chainstate import ChainState, Executed
from node.simulation.disk import Disk
from node.simulation.finality import Finality
from node.simulation.ledger import Executor
from node.simulation.tasks import Pause, Promise
from node.standing import Standing
from protocol.errors import (
    Busy,
    ChartExists,
    ChartledgerError,
    CosignatureExpired,
    Expired,
    InvalidTransaction,
    Replayed,
)
from protocol.sync.messages import GossipMessage, Have, Transactions, Want

POOL_BYTES: Final = 64 << 20
TICK_MS: Final = 250
RELAY_AFTER_MS: Final = 500
REMIND_MS: Final = 1_000
WANT_AGAIN_MS: Final = 2_000
LOOK_MS: Final = 1_000
LOOK_CAP_MS: Final = 8_000
REFUSED_MOST: Final = 65_536
FOR_GOOD: Final = (Replayed, Expired, ChartExists, CosignatureExpired)
"""What no later block can mend."""


class Keeper(Protocol):
    """The node around it."""

    number: int
    disk: Disk
    chain: ChainState
    standing: Standing
    executor: Executor
    finality: Finality

    def monotonic_ms(self) -> int: ...

    def wall_ms(self) -> int: ...

    def entry(self, raw: bytes) -> Entry: ...

    def connected(self) -> Sequence[int]: ...

    def institution_of(self, peer: int) -> int | None: ...

    def tell(self, to: int, message: GossipMessage) -> None: ...

    def leader(self) -> int | None: ...

    def work(self, fresh: bool) -> None: ...

    def tick_later(self, delay_ms: int) -> None: ...

    def settled(self, id_: bytes, executed: Executed) -> None: ...

    def begin(self, work: Coroutine[Pause | Promise, None, None]) -> None: ...


class Holding:
    """One life's. After a restart what the outbox holds is taken up again."""

    def __init__(self, keeper: Keeper) -> None:
        self.pool = Mempool(POOL_BYTES)
        self._keeper = keeper
        self._own: dict[bytes, Entry] = {}
        self._unpooled: dict[bytes, Entry] = {}
        self._parked: dict[bytes, Entry] = {}  # refused on some state: not pooled again before one takes them
        self._gone: set[bytes] = set()
        self._refusals = Refusals(REFUSED_MOST)
        self._wanted: dict[bytes, int] = {}
        self._ticking = False
        self._look_ms, self._pause_ms = 0, LOOK_MS

    def load(self) -> None:
        """Take up the outbox."""
        for raw in list(self._keeper.disk.outbox.values()):
            self._own_entry(self._keeper.entry(raw))
        self._retry(push=True)

    @property
    def idle(self) -> bool:
        """Whether nothing here waits for a block."""
        return not len(self.pool)

    # --- own -----------------------------------------------------------------------------------------------------

    def submit(self, entries: Sequence[Entry], to: Iterable[int]) -> None:
        """Own: durable here, pooled, and pushed to those named."""
        for entry in entries:
            self._keeper.disk.outbox[entry.id] = entry.raw
            self._own_entry(entry)
        self._retry(push=False)
        self._push(entries, to)

    def _own_entry(self, entry: Entry) -> None:
        entry.added_ms = self._keeper.monotonic_ms()
        self._own[entry.id] = entry
        self._unpooled[entry.id] = entry

    def _retry(self, push: bool) -> None:
        pooled = []
        for entry in list(self._unpooled.values()):
            try:
                self.pool.add(entry)
                pooled.append(entry)
            except Busy:
                break
            except Replayed:
                self._parked[entry.id] = entry
            del self._unpooled[entry.id]
        if pooled:
            if push:
                self._push(pooled, self._keeper.connected())
            self._keeper.work(fresh=True)
            self._tick_on()

    def _push(self, entries: Sequence[Entry], to: Iterable[int]) -> None:
        now = self._keeper.monotonic_ms()
        peers = list(to)
        for entry in entries:
            entry.told_ms = now
            for peer in peers:
                entry.holders |= 1 << peer
        message = Transactions(tuple(entry.raw for entry in entries))
        for peer in peers:
            self._keeper.tell(peer, message)

    async def review(self) -> None:
        """The head moved: bury what is lost for good, pool again what is valid after all."""
        self._pause_ms = LOOK_MS
        await self._look(at_head=True)

    async def _look(self, at_head: bool) -> None:
        self._look_ms = self._keeper.monotonic_ms() + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, LOOK_CAP_MS)
        if not (self._parked or self._unpooled):
            return
        head_ms = self._keeper.executor.head.timestamp
        for entry in [*self._unpooled.values(), *self._parked.values()]:
            if not self._fresh(entry, head_ms):
                self._bury(entry)
        parked = list(self._parked.values())
        results = await self._keeper.executor.try_all(parked, head_ms + 1 if at_head else None)
        for entry, result in zip(parked, results, strict=True):
            if at_head and isinstance(result, FOR_GOOD):
                self._bury(entry)
            elif not isinstance(result, InvalidTransaction):
                del self._parked[entry.id]
                self._unpooled[entry.id] = entry
        self._retry(push=True)

    def _fresh(self, entry: Entry, head_ms: int) -> bool:
        """Whether number and time allow the transaction above the head."""
        try:
            self._keeper.standing.check_fresh(entry, head_ms)
        except (Expired, Replayed):
            return False
        return True

    def _bury(self, entry: Entry) -> None:
        self._unpooled.pop(entry.id, None)
        self._parked.pop(entry.id, None)
        self._own.pop(entry.id, None)
        self._keeper.disk.outbox.pop(entry.id, None)

    # --- finality ------------------------------------------------------------------------------------------------

    def settled(self, executed: Executed) -> tuple[bytes, ...]:
        """Ids of the block's transactions that are in the outbox."""
        return tuple(id_ for id_ in executed.ids if id_ in self._keeper.disk.outbox)

    def final(self, executed: Executed) -> None:
        """The block is final and stored."""
        for id_ in executed.ids:
            if self._own.pop(id_, None) is not None:
                self._unpooled.pop(id_, None)
                self._parked.pop(id_, None)
                self._keeper.settled(id_, executed)

    def refused(self, entries: Sequence[Entry]) -> None:
        """These left the pool for what is wrong with them: own ones are looked at again."""
        for entry in entries:
            if entry.id in self._own:
                self._parked[entry.id] = self._own[entry.id]
                self._tick_on()

    def forget(self, ids: Iterable[bytes]) -> None:
        """These are final, or can never be: they are not asked for."""
        self._gone.update(ids)

    def doubt(self, entries: Iterable[Entry]) -> None:
        """These were found invalid: they are heard of again from the institution that signed them, after a while."""
        self._refusals.add(entries, self._keeper.monotonic_ms())

    # --- gossip --------------------------------------------------------------------------------------------------

    def hear(self, sender: int, message: GossipMessage) -> None:
        """From another node."""
        bit = 1 << sender
        if isinstance(message, Transactions):
            self._admit(sender, message.transactions)
        elif isinstance(message, Have):
            now = self._keeper.monotonic_ms()
            missing = []
            for id_ in message.ids:
                entry = self.pool.get(id_)
                if entry is not None:
                    entry.holders |= bit
                elif self._welcome(id_, sender) and now - self._wanted.get(id_, -WANT_AGAIN_MS) >= WANT_AGAIN_MS:
                    self._wanted[id_] = now
                    missing.append(id_)
            if missing:
                self._keeper.tell(sender, Want(tuple(missing)))
        else:
            found = [entry for id_ in message.ids if (entry := self.pool.get(id_)) is not None]
            for entry in found:
                entry.holders |= bit
            if found:
                self._keeper.tell(sender, Transactions(tuple(entry.raw for entry in found)))

    def _welcome(self, id_: bytes, sender: int) -> bool:
        keeper = self._keeper
        heard = self._refusals.hears(id_, keeper.institution_of(sender), keeper.monotonic_ms())
        return heard and id_ not in self._gone

    def _admit(self, sender: int, raws: Sequence[bytes]) -> None:
        bit = 1 << sender
        head_ms = self._keeper.executor.head.timestamp
        new = False
        for raw in raws:
            known = self.pool.known(raw)
            if known is not None:
                known.holders |= bit
                continue
            try:
                entry = self._keeper.entry(raw)
                if not self._welcome(entry.id, sender) or entry.id in self._parked or not self._fresh(entry, head_ms):
                    continue
                entry.holders = bit
                entry.added_ms = self._keeper.monotonic_ms()
                new |= self.pool.add(entry)
            except ChartledgerError:
                continue
        if new:
            self._keeper.work(fresh=True)
            self._tick_on()

    def peer_up(self, peer: int) -> None:
        """Announce everything pending: the peer may have been away."""
        bit = 1 << peer
        ids = [entry.id for entry in self.pool]
        for entry in self.pool:
            entry.holders |= bit
        if ids:
            self._keeper.tell(peer, Have(tuple(ids[:4_096])))

    def peer_down(self, peer: int) -> None:
        """What was sent to it may be lost."""
        for entry in self.pool:
            entry.holders &= ~(1 << peer)

    async def tick(self) -> None:
        """Every `TICK_MS` while something waits: announce, remind the leader, look again at what was refused and
        at what the head may refuse."""
        self._ticking = False
        now = self._keeper.monotonic_ms()
        if len(self.pool):
            self._announce(now)
        if self._parked and now >= self._look_ms:
            await self._look(at_head=False)
        await self._keeper.finality.try_again(now)
        self._keeper.work(fresh=False)
        if len(self.pool) or self._parked:
            self._tick_on()

    def _tick_on(self) -> None:
        if not self._ticking:
            self._ticking = True
            delay_ms = TICK_MS if len(self.pool) else max(TICK_MS, self._look_ms - self._keeper.monotonic_ms())
            self._keeper.tick_later(delay_ms)

    def _announce(self, now: int) -> None:
        peers = self._keeper.connected()
        everyone = 0
        for peer in peers:
            everyone |= 1 << peer
        leader = self._keeper.leader()
        lacking: dict[int, list[bytes]] = {}
        for entry in self.pool:
            if now - entry.added_ms < RELAY_AFTER_MS:
                break
            if entry.unfit:
                continue
            if everyone & ~entry.holders:
                for peer in peers:
                    if not entry.holders >> peer & 1:
                        lacking.setdefault(peer, []).append(entry.id)
                entry.holders |= everyone
            elif leader is not None and not entry.carried and now - entry.told_ms >= REMIND_MS and leader in peers:
                lacking.setdefault(leader, []).append(entry.id)
                entry.told_ms = now
        for peer, ids in lacking.items():
            self._keeper.tell(peer, Have(tuple(ids[:4_096])))
