"""What waits at one node to become final: its pool, its own transactions, and how they spread.

The pool is `node.mempool`. Around it stands what `node.gossip`, `node.submission` and `node.finality` do in a node:
push in full, announce what others may lack, remind the leader, keep own transactions in the outbox until they are final
or can never be, look again at what a state refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from node.doubts import Doubts
from node.mempool import Entry, Mempool
from node.refusals import Refusals
from node.simulation.chainstate import ChainState, Executed, State
from node.simulation.disk import Disk
from protocol import limits
from protocol.errors import (
    Busy,
    ChartExists,
    ChartledgerError,
    CosignatureExpired,
    Expired,
    InvalidTransaction,
    Replayed,
)
from protocol.ledger import keys
from protocol.ledger.leaves import decode_leaf
from protocol.ledger.windows import Window, used
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

    def monotonic_ms(self) -> int: ...

    def wall_ms(self) -> int: ...

    def entry(self, raw: bytes) -> Entry: ...

    def connected(self) -> Sequence[int]: ...

    def institution_of(self, peer: int) -> int | None: ...

    def tell(self, to: int, message: GossipMessage) -> None: ...

    def leader(self) -> int | None: ...

    def work(self, fresh: bool) -> None: ...

    def tick_later(self, delay_ms: int) -> None: ...


class Holding:
    """One life's. After a restart what the outbox holds is taken up again."""

    def __init__(self, keeper: Keeper) -> None:
        self.pool = Mempool(POOL_BYTES)
        self._doubts = Doubts(self.pool)
        self._keeper = keeper
        self._own: dict[bytes, Entry] = {}
        self._unpooled: dict[bytes, Entry] = {}
        self._parked: dict[bytes, Entry] = {}  # refused on some state: not pooled again before one takes them
        self._gone: set[bytes] = set()
        self._refusals = Refusals(REFUSED_MOST)
        self._wanted: dict[bytes, int] = {}
        self._lost: list[Entry] = []
        self._notarized: dict[bytes, None] = {}
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

    def review(self) -> None:
        """The head moved: bury what is lost for good, pool again what is valid after all."""
        self._pause_ms = LOOK_MS
        self._look(at_head=True)

    def _look(self, at_head: bool) -> None:
        self._look_ms = self._keeper.monotonic_ms() + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, LOOK_CAP_MS)
        if not (self._parked or self._unpooled):
            return
        head = self._keeper.chain.head
        for entry in [*self._unpooled.values(), *self._parked.values()]:
            if used_up(entry, head):
                self._bury(entry)
        parked = list(self._parked.values())
        at_ms = head.header.timestamp + 1 if at_head else self._keeper.wall_ms()
        for entry, error in zip(parked, self._keeper.chain.try_all(parked, at_ms), strict=True):
            if at_head and isinstance(error, FOR_GOOD):
                self._bury(entry)
            elif error is None:
                del self._parked[entry.id]
                self._unpooled[entry.id] = entry
        self._retry(push=True)

    def _bury(self, entry: Entry) -> None:
        self._unpooled.pop(entry.id, None)
        self._parked.pop(entry.id, None)
        self._own.pop(entry.id, None)
        self._keeper.disk.outbox.pop(entry.id, None)

    # --- finality ------------------------------------------------------------------------------------------------

    def finalized(self, executed: Executed) -> None:
        """A block is final, and not stored yet."""
        self._gone.update(executed.ids)
        carried = {id_ for one in self._keeper.chain.descending() for id_ in one.ids if one.digest in self._notarized}
        self._lost += self.pool.finalize(executed.slots, carried)

    def stored(self, executed: Sequence[Executed]) -> list[tuple[bytes, Executed]]:
        """These blocks are stored: (id, block) of own transactions that are final now."""
        told = []
        for one in executed:
            self._notarized.pop(one.digest, None)
            for id_ in one.ids:
                if self._own.pop(id_, None) is not None or id_ in self._keeper.disk.outbox:
                    self._unpooled.pop(id_, None)
                    self._parked.pop(id_, None)
                    self._keeper.disk.outbox.pop(id_, None)
                    told.append((id_, one))
        self._look_again(empty=not executed[-1].ids)
        return told

    def _look_again(self, empty: bool) -> None:
        refused, self._lost = self._lost, []
        refused += self.pool.expired(self._keeper.chain.head.header.timestamp)
        stale = self.pool.stale(everything=empty)
        if stale:
            errors = self._keeper.chain.try_all(stale, self._keeper.wall_ms())
            refused += [entry for entry, error in zip(stale, errors, strict=True) if error is not None]
        self.refuse(refused)
        self.review()

    def refuse(self, entries: Sequence[Entry]) -> None:
        """These were found invalid: they leave the pool. Own ones are looked at again, others' are not asked for."""
        if not entries:
            return
        self.pool.remove([entry.id for entry in entries])
        self._refusals.add(entries, self._keeper.monotonic_ms())
        for entry in entries:
            if entry.id in self._own:
                self._parked[entry.id] = self._own[entry.id]
                self._tick_on()

    def notarized(self, executed: Executed) -> None:
        """A quorum voted for this block: what it carries is no work of its own."""
        self._notarized[executed.digest] = None
        self.pool.set_carried(executed.ids)

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
        head = self._keeper.chain.head
        new = False
        for raw in raws:
            known = self.pool.known(raw)
            if known is not None:
                known.holders |= bit
                continue
            try:
                entry = self._keeper.entry(raw)
                if not self._welcome(entry.id, sender) or entry.id in self._parked or not fresh(entry, head):
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

    def tick(self) -> None:
        """Every `TICK_MS` while something waits: announce, remind the leader, look again at what was refused and
        at what the head may refuse."""
        self._ticking = False
        now = self._keeper.monotonic_ms()
        if len(self.pool):
            self._announce(now)
        if self._parked and now >= self._look_ms:
            self._look(at_head=False)
        self._try_again(now)
        self._keeper.work(fresh=False)
        if len(self.pool) or self._parked:
            self._tick_on()

    def _try_again(self, now: int) -> None:
        chain = self._keeper.chain
        carrying = any(one.ids for one in chain.descending() if one.digest in self._notarized)
        doubtful = self._doubts.due(chain.head.header.height, now, carrying)
        errors = chain.try_all(doubtful, self._keeper.wall_ms()) if doubtful else []
        self.pool.judge((entry, error is None) for entry, error in zip(doubtful, errors, strict=True))

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


def used_up(entry: Entry, state: State) -> bool:
    """Whether the transaction can never become final above this state: its number is used, or its time is over."""
    return not fresh(entry, state)


def fresh(entry: Entry, state: State) -> bool:
    """Whether number and time allow the transaction above this state."""
    body = entry.body
    if body.valid_until <= state.header.timestamp:
        return False
    key = keys.window(body.institution, body.key) if body.institution <= keys.INSTITUTION_MAX else b""
    raw = state.leaves.get(key)
    if raw is None:
        return True
    window = decode_leaf(key, raw)
    assert isinstance(window, Window)
    return not used(window, body.number, limits.WINDOW_BITS_INSTITUTION)


def refusal(chain: ChainState, entry: Entry, wall_ms: int) -> InvalidTransaction | None:
    """What refuses this transaction on the final head, if anything."""
    return chain.try_all([entry], wall_ms)[0]
