"""Spreads pending transactions: who submits pushes them in full and in batches, others announce ids and are asked.

In a full mesh the first push reaches everyone, so announcements wait a moment and in the usual case never happen;
they mend what was lost: dropped messages, peers that were away, meshes that are not full. A leader is reminded of
what stays pending. Sans-I/O. Relies on a wire whose queues are bounded, and on an intake that checks what comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

from node.mempool import Entry, Mempool
from node.sansio.refusals import Refusals
from node.standing import Standing
from protocol.errors import Busy, ChartledgerError, Expired, Oversize, Replayed
from protocol.sync.messages import (
    IDS_PER_MESSAGE,
    TRANSACTIONS_PER_MESSAGE,
    GossipMessage,
    Have,
    Transactions,
    Want,
)

TICK_MS: Final = 250
RELAY_AFTER_MS: Final = 500
"""Pending this long, a transaction is announced to peers that are not known to have it."""
REMIND_MS: Final = 1_000
"""Pending this long, and as often again, the current leader is told of it."""
WANT_AGAIN_MS: Final = 2_000
MESSAGE_BYTES: Final = 512 * 1024
ANSWER_BYTES: Final = 8 * MESSAGE_BYTES
"""Sent in answer to one `Want`, which names far more than it weighs."""
WAITING_BYTES: Final = 16 * 1024 * 1024
"""Received and not yet checked; beyond that the oldest are given up, and announcements bring them again."""
BATCH: Final = 1_024
RECENT_IDS: Final = 65_536


class Wire(Protocol):
    """To the other nodes; a node is named by whatever small number its messages come with."""

    def connected(self) -> Collection[int]: ...

    def institution_of(self, peer: int) -> int | None:
        """Whose node it is."""

    def tell(self, peer: int, message: GossipMessage) -> None: ...

    def tell_all(self, message: GossipMessage) -> None: ...


class Clock(Protocol):
    """The node's own, for what is sent again after a while."""

    def monotonic_ms(self) -> int: ...


class Intake(Protocol):
    """Checks encoding and signature; see `node.intake.Intake`."""

    async def check(self, raws: Sequence[bytes]) -> Sequence[Entry | ChartledgerError]: ...


class Admission(Protocol):
    """Takes checked transactions of others into the pool; returns those that are new there."""

    def __call__(self, entries: Sequence[Entry]) -> list[Entry]: ...


class Spreading:
    """One node's share in spreading transactions. Whenever a message was heard after which `waiting` holds, somebody
    calls `admit_waiting`, one at a time."""

    def __init__(self, wire: Wire, pool: Mempool, intake: Intake, admit: Admission, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._pool = pool
        self._intake = intake
        self._admit = admit
        self._waiting: deque[tuple[int, tuple[bytes, ...]]] = deque()
        self._waiting_bytes = 0
        self._wanted: dict[bytes, int] = {}
        self._final: dict[bytes, None] = {}  # recently final ids, or such that never will be, oldest first
        self._refusals = Refusals(RECENT_IDS)
        self.received = 0
        self.refused_from: dict[int, int] = {}
        """What did not decode or was not signed with its institution's key, by the peer that passed it on."""
        self.dropped = 0

    # --- out -----------------------------------------------------------------------------------------------------

    def push(self, entries: Sequence[Entry]) -> None:
        """Send own new transactions, in full, to every connected peer."""
        holders = _mask(self._wire.connected())
        now_ms = self._clock.monotonic_ms()
        for entry in entries:
            entry.holders |= holders
            entry.told_ms = now_ms
        for message in _transactions(entry.raw for entry in entries):
            self._wire.tell_all(message)

    def tick(self, leader: int | None) -> None:
        """Announce what has been pending for a while to who may lack it, and remind `leader` (a peer, None if it is
        this node). Call every `TICK_MS` while the pool holds anything."""
        now_ms = self._clock.monotonic_ms()
        peers = self._wire.connected()
        everyone = _mask(peers)
        lacking: dict[int, list[bytes]] = {}
        for entry in self._pool:
            if now_ms - entry.added_ms < RELAY_AFTER_MS:
                break  # the pool is in order of arrival
            if entry.unfit:
                continue
            if everyone & ~entry.holders:
                for peer in peers:
                    if not entry.holders >> peer & 1:
                        lacking.setdefault(peer, []).append(entry.id)
                entry.holders |= everyone
            elif leader is not None and leader in peers and not entry.carried and now_ms - entry.told_ms >= REMIND_MS:
                lacking.setdefault(leader, []).append(entry.id)
                entry.told_ms = now_ms
        for peer, ids in lacking.items():
            self._announce(peer, ids)
        self._wanted = {id_: at for id_, at in self._wanted.items() if now_ms - at < WANT_AGAIN_MS}

    def on_peer_up(self, peer: int) -> None:
        """Announce everything pending: the peer may have been away."""
        bit = 1 << peer
        ids = [entry.id for entry in self._pool]
        for entry in self._pool:
            entry.holders |= bit
        self._announce(peer, ids)

    def on_peer_down(self, peer: int) -> None:
        """What was sent to it may be lost."""
        bit = 1 << peer
        for entry in self._pool:
            entry.holders &= ~bit

    def _announce(self, peer: int, ids: Sequence[bytes]) -> None:
        for start in range(0, len(ids), IDS_PER_MESSAGE):
            self._wire.tell(peer, Have(tuple(ids[start : start + IDS_PER_MESSAGE])))

    # --- in ------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether received transactions wait to be checked."""
        return bool(self._waiting)

    def hear(self, peer: int, message: GossipMessage) -> None:
        """A message of a peer."""
        match message:
            case Transactions(transactions):
                self._enqueue(peer, transactions)
            case Have(ids):
                self._on_have(peer, ids)
            case Want(ids):
                self._on_want(peer, ids)

    def _enqueue(self, peer: int, raws: tuple[bytes, ...]) -> None:
        bit = 1 << peer
        fresh = []
        for raw in raws:
            entry = self._pool.known(raw)
            if entry is None:
                fresh.append(raw)
            else:
                entry.holders |= bit
        if not fresh:
            return
        self._waiting.append((peer, tuple(fresh)))
        self._waiting_bytes += sum(map(len, fresh))
        while self._waiting_bytes > WAITING_BYTES and len(self._waiting) > 1:
            _, lost = self._waiting.popleft()
            self._waiting_bytes -= sum(map(len, lost))
            self.dropped += len(lost)

    def _on_have(self, peer: int, ids: Iterable[bytes]) -> None:
        now_ms = self._clock.monotonic_ms()
        bit = 1 << peer
        missing = []
        for id_ in ids:
            entry = self._pool.get(id_)
            if entry is not None:
                entry.holders |= bit
            elif self._welcome(id_, peer, now_ms) and now_ms - self._wanted.get(id_, -WANT_AGAIN_MS) >= WANT_AGAIN_MS:
                missing.append(id_)
                if len(self._wanted) < RECENT_IDS:
                    self._wanted[id_] = now_ms
        if missing:
            self._wire.tell(peer, Want(tuple(missing)))

    def _on_want(self, peer: int, ids: Iterable[bytes]) -> None:
        """Answer with each once, and with no more than `ANSWER_BYTES`: what is left is announced again."""
        bit = 1 << peer
        left = ANSWER_BYTES
        found: list[bytes] = []
        for id_ in dict.fromkeys(ids):
            entry = self._pool.get(id_)
            if entry is None:
                continue
            left -= len(entry.raw)
            if left >= 0:
                entry.holders |= bit
                found.append(entry.raw)
            else:
                entry.holders &= ~bit
        for out in _transactions(found):
            self._wire.tell(peer, out)

    def forget(self, ids: Iterable[bytes]) -> None:
        """These are final, or can never be: never ask for them again."""
        self._final.update(dict.fromkeys(ids))
        for id_ in list(islice(self._final, max(0, len(self._final) - RECENT_IDS))):
            del self._final[id_]

    def doubt(self, entries: Iterable[Entry]) -> None:
        """These were found invalid: ask for one again only if the institution that signed it announces it anew."""
        self._refusals.add(entries, self._clock.monotonic_ms())

    def _welcome(self, id_: bytes, peer: int, now_ms: int) -> bool:
        return id_ not in self._final and self._refusals.hears(id_, self._wire.institution_of(peer), now_ms)

    @property
    def refused(self) -> int:
        """How many were refused since the start, from whomever."""
        return sum(self.refused_from.values())

    async def admit_waiting(self, on_new: Callable[[], None]) -> None:
        """Check what came in and admit it, in batches; `on_new` is called after each that brought anything."""
        while self._waiting:
            peers: list[int] = []
            raws: list[bytes] = []
            while self._waiting and len(raws) < BATCH:
                peer, batch = self._waiting.popleft()
                self._waiting_bytes -= sum(map(len, batch))
                raws.extend(batch)
                peers.extend([peer] * len(batch))
            entries: list[Entry] = []
            now_ms = self._clock.monotonic_ms()
            for peer, result in zip(peers, await self._intake.check(raws), strict=True):
                if isinstance(result, ChartledgerError):
                    self.refused_from[peer] = self.refused_from.get(peer, 0) + 1
                elif self._welcome(result.id, peer, now_ms):
                    result.holders = 1 << peer
                    entries.append(result)
            self.received += len(raws)
            if entries and self._admit(entries):
                on_new()


def admit(
    entries: Iterable[Entry],
    *,
    pool: Mempool,
    standing: Standing,
    head_ms: int,
    now_ms: int,
    forget: Callable[[Sequence[bytes]], None],
) -> list[Entry]:
    """Take others' checked transactions into the pool; returns those that are new there. `head_ms`: the final head's
    time. What can never become final is not asked for again."""
    new = []
    for entry in entries:
        try:
            standing.check_fits(entry.raw)
            standing.check_fresh(entry, head_ms)
            entry.added_ms = now_ms
            if pool.add(entry):
                new.append(entry)
        except (Expired, Oversize, Replayed):
            forget([entry.id])
        except Busy:
            continue  # counted by the pool; an announcement brings it again
    return new


def _mask(peers: Iterable[int]) -> int:
    mask = 0
    for peer in peers:
        mask |= 1 << peer
    return mask


def _transactions(raws: Iterable[bytes]) -> Iterable[Transactions]:
    """`Transactions` messages of about `MESSAGE_BYTES`."""
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        if batch and (size + len(raw) > MESSAGE_BYTES or len(batch) == TRANSACTIONS_PER_MESSAGE):
            yield Transactions(tuple(batch))
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield Transactions(tuple(batch))
