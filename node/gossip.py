"""Spreads pending transactions: who submits pushes them in full and in batches, others announce ids and are asked.

In a full mesh the first push reaches everyone, so announcements wait a moment and in the usual case never happen;
they mend what was lost: dropped messages, peers that were away, meshes that are not full. A leader is reminded of
what stays pending. Sans-I/O but for the task that feeds the intake. Relies on the network's bounded queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol, cast

from node.clock import Clock
from node.intake import Intake
from node.mempool import Entry, Mempool
from node.network.interface import Channel, Network
from node.refusals import Refusals
from protocol.codec.canonical import decode, encode
from protocol.errors import ChartledgerError
from protocol.sync.messages import (
    IDS_PER_MESSAGE,
    TRANSACTIONS_PER_MESSAGE,
    GossipMessage,
    Have,
    Transactions,
    Want,
)

TICK_MS = 250
RELAY_AFTER_MS = 500
"""Pending this long, a transaction is announced to peers that are not known to have it."""
REMIND_MS = 1_000
"""Pending this long, and as often again, the current leader is told of it."""
WANT_AGAIN_MS = 2_000
MESSAGE_BYTES = 512 * 1024
ANSWER_BYTES = 8 * MESSAGE_BYTES
"""Sent in answer to one `Want`, which names far more than it weighs."""
WAITING_BYTES = 16 * 1024 * 1024
"""Received and not yet checked; beyond that the oldest are given up, and announcements bring them again."""
BATCH = 1_024
RECENT_IDS = 65_536
_MESSAGE = cast(type[GossipMessage], GossipMessage)


class Admission(Protocol):
    """Takes checked transactions of others into the pool; returns those that are new there."""

    def __call__(self, entries: Sequence[Entry]) -> list[Entry]: ...


class Gossip:
    """One node's share in spreading transactions."""

    def __init__(self, network: Network, pool: Mempool, intake: Intake, admit: Admission, clock: Clock) -> None:
        self._network = network
        self._pool = pool
        self._intake = intake
        self._admit = admit
        self._clock = clock
        self._waiting: deque[tuple[int, tuple[bytes, ...]]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
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
        holders = _mask(self._network.connected())
        now = self._clock.monotonic_ms()
        for entry in entries:
            entry.holders |= holders
            entry.told_ms = now
        for payload in _transactions(entry.raw for entry in entries):
            self._network.broadcast(Channel.TRANSACTIONS, payload)

    def tick(self, leader: int | None) -> None:
        """Announce what has been pending for a while to who may lack it, and remind `leader` (an institution, None if
        it is this one). Call every `TICK_MS` while the pool holds anything."""
        now = self._clock.monotonic_ms()
        peers = self._network.connected()
        everyone = _mask(peers)
        lacking: dict[int, list[bytes]] = {}
        for entry in self._pool:
            if now - entry.added_ms < RELAY_AFTER_MS:
                break  # the pool is in order of arrival
            if entry.unfit:
                continue
            if everyone & ~entry.holders:
                for peer in peers:
                    if not entry.holders >> peer & 1:
                        lacking.setdefault(peer, []).append(entry.id)
                entry.holders |= everyone
            elif leader in peers and not entry.carried and now - entry.told_ms >= REMIND_MS:
                lacking.setdefault(leader, []).append(entry.id)
                entry.told_ms = now
        for peer, ids in lacking.items():
            self._announce(peer, ids)
        self._wanted = {id_: at for id_, at in self._wanted.items() if now - at < WANT_AGAIN_MS}

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
            message = Have(tuple(ids[start : start + IDS_PER_MESSAGE]))
            self._network.send(peer, Channel.TRANSACTIONS, encode(message))

    # --- in ------------------------------------------------------------------------------------------------------

    def on_payload(self, peer: int, payload: bytes) -> None:
        """A message on the channel of transactions. Raises `DecodeError` for what is none."""
        match decode(_MESSAGE, payload):
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
        self._wake.set()

    def _on_have(self, peer: int, ids: Iterable[bytes]) -> None:
        now = self._clock.monotonic_ms()
        bit = 1 << peer
        missing = []
        for id_ in ids:
            entry = self._pool.get(id_)
            if entry is not None:
                entry.holders |= bit
            elif self._welcome(id_, peer, now) and now - self._wanted.get(id_, -WANT_AGAIN_MS) >= WANT_AGAIN_MS:
                missing.append(id_)
                if len(self._wanted) < RECENT_IDS:
                    self._wanted[id_] = now
        if missing:
            self._network.send(peer, Channel.TRANSACTIONS, encode(Want(tuple(missing))))

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
            self._network.send(peer, Channel.TRANSACTIONS, out)

    def forget(self, ids: Iterable[bytes]) -> None:
        """These are final, or can never be: never ask for them again."""
        self._final.update(dict.fromkeys(ids))
        for id_ in list(islice(self._final, max(0, len(self._final) - RECENT_IDS))):
            del self._final[id_]

    def doubt(self, entries: Iterable[Entry]) -> None:
        """These were found invalid: ask for one again only if the institution that signed it announces it anew."""
        self._refusals.add(entries, self._clock.monotonic_ms())

    def _welcome(self, id_: bytes, peer: int, now_ms: int) -> bool:
        return id_ not in self._final and self._refusals.hears(id_, peer, now_ms)

    @property
    def refused(self) -> int:
        """How many were refused since the start, from whomever."""
        return sum(self.refused_from.values())

    async def run(self, on_new: Callable[[], None]) -> None:
        """Check what came in and admit it, in batches, until cancelled; `on_new` is called after each that brought
        anything."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                peers: list[int] = []
                raws: list[bytes] = []
                while self._waiting and len(raws) < BATCH:
                    peer, batch = self._waiting.popleft()
                    self._waiting_bytes -= sum(map(len, batch))
                    raws.extend(batch)
                    peers.extend([peer] * len(batch))
                entries: list[Entry] = []
                now = self._clock.monotonic_ms()
                for peer, result in zip(peers, await self._intake.check(raws), strict=True):
                    if isinstance(result, ChartledgerError):
                        self.refused_from[peer] = self.refused_from.get(peer, 0) + 1
                    elif self._welcome(result.id, peer, now):
                        result.holders = 1 << peer
                        entries.append(result)
                self.received += len(raws)
                if entries and self._admit(entries):
                    on_new()


def _mask(peers: Iterable[int]) -> int:
    mask = 0
    for peer in peers:
        mask |= 1 << peer
    return mask


def _transactions(raws: Iterable[bytes]) -> Iterable[bytes]:
    """Encoded `Transactions` messages of about `MESSAGE_BYTES`."""
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        if batch and (size + len(raw) > MESSAGE_BYTES or len(batch) == TRANSACTIONS_PER_MESSAGE):
            yield encode(Transactions(tuple(batch)))
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield encode(Transactions(tuple(batch)))
