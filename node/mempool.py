"""The pool of transactions that are not final yet: bounded, fair between institutions, owners' operations first.

Sans-I/O: no clock, no sockets, no state. Signatures are verified before anything is added; whether a transaction is
valid on a state is for `node.execution` to say. Relies on the ledger's window numbers: an institution uses each
number of a key once, so the pool holds one transaction for each (institution, key, number) and a second is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice, takewhile

from msgspec import Struct

from protocol import limits
from protocol.crypto.hashing import Domain, digest, transaction_digest
from protocol.crypto.signing import SIGNATURE_BYTES, transaction_message_of, verify
from protocol.errors import Busy, Replayed
from protocol.ledger.blocks import BLOCK_OVERHEAD_BYTES, TRANSACTION_OVERHEAD_BYTES
from protocol.ledger.transition import Family, check_form, cost
from protocol.types.transaction import Transaction, TransactionBody

ENTRY_OVERHEAD_BYTES = 1_200
"""What a pooled transaction costs in memory beside its bytes: decoded objects, digests and index entries."""

HEADER_BYTES = 256
"""At least what a header takes; the rest of a block's size limit is for transactions."""

Slot = tuple[int, int, int]
_Queues = dict[int, dict[bytes, "Entry"]]  # carrying institution -> by id, in order of arrival


LOOK_AGAIN = 8
"""Final blocks that pass a transaction by before its validity is looked at again; then twice as many, and so on."""
TRIED_AT_ONCE = 1_024
"""Transactions, the oldest first, that are tried together on a head that stands still."""


def room_in(block_bytes: int) -> int:
    """Bytes for transactions, each with `TRANSACTION_OVERHEAD_BYTES`, in a block of at most `block_bytes`."""
    return max(0, block_bytes - BLOCK_OVERHEAD_BYTES - HEADER_BYTES)


class Entry(Struct, eq=False, gc=False):
    """A transaction whose encoding and signature were checked. `digest` is its leaf of `transactions_root`."""

    raw: bytes
    id: bytes
    digest: bytes
    transaction: Transaction
    owners: bool
    verified: bytes | None  # the public key that the signature was verified under, if it was
    slot: Slot  # what the ledger uses up: (institution, key, number)
    cost: int  # of `limits.BLOCK_COST`
    added_ms: int = 0
    survived: int = 0  # final blocks that passed without it
    carried: bool = False  # stands in a notarized block that is not final yet
    unfit: bool = False  # was found invalid on the final head of now
    holders: int = 0  # bit per institution: who is known to have it
    told_ms: int = 0  # when a leader was last reminded of it

    @property
    def body(self) -> TransactionBody:
        """What the institution signed."""
        return self.transaction.body

    @property
    def idle(self) -> bool:
        """Whether it is no work: it needs no block of its own, or none would hold it."""
        return self.carried or self.unfit

    def signed_by(self, public: bytes) -> bool:
        """Whether the signature verifies under this key; see `protocol.ledger.transition.SignedBy`."""
        if public == self.verified:
            return True
        if not verify(public, transaction_message_of(self.raw), self.transaction.signature):
            return False
        self.verified = public
        return True

    @property
    def cost_bytes(self) -> int:
        """What it counts for in the pool's bounds."""
        return len(self.raw) + ENTRY_OVERHEAD_BYTES


def make_entry(transaction: Transaction, raw: bytes, verified: bytes | None) -> Entry:
    """The entry of a transaction whose canonical bytes are `raw`; `verified` is the public key that its signature was
    found to verify under, None if that was not tried. Raises `MixedTransaction` or `TooCostly`."""
    body = transaction.body
    family = check_form(body)
    return Entry(
        raw=raw,
        # The body's canonical bytes, as in `transaction_message_of`: spares encoding it again.
        id=digest(Domain.TRANSACTION_ID, raw[1 : -(2 + SIGNATURE_BYTES)]),
        digest=transaction_digest(raw),
        transaction=transaction,
        verified=verified,
        owners=family is Family.OWNERS,
        cost=cost(body),
        slot=(body.institution, body.key, body.number),
    )


class _Room:
    """What a block has left: bytes, cost and transactions."""

    __slots__ = ("cost", "count", "size", "size_limit")

    def __init__(self, size: int, cost: int, count: int) -> None:
        self.size = self.size_limit = size
        self.cost = cost
        self.count = count

    def fill(self, source: Iterator[Entry], keep: _Room) -> list[Entry]:
        """Those of `source` that fit, until no more is left than `keep`; the last may take more, or a large one would
        never go."""
        chosen: list[Entry] = []
        while self.size > keep.size and self.cost > keep.cost and self.count > keep.count:
            entry = next(source, None)
            if entry is None:
                break
            size = len(entry.raw) + TRANSACTION_OVERHEAD_BYTES
            if size > self.size or entry.cost > self.cost:
                # One that does not fit must not keep smaller ones out, but a full block need not try them all.
                if self.size < self.size_limit // 16 or self.cost < limits.BLOCK_COST // 16:
                    break
                continue
            chosen.append(entry)
            self.size -= size
            self.cost -= entry.cost
            self.count -= 1
        return chosen


def _in_turns(queues: _Queues, skip: Collection[bytes]) -> Iterator[Entry]:
    waiting = [iter(queue.items()) for queue in queues.values()]
    while waiting:
        still = []
        for queue in waiting:
            # In turns of 16: fair, without a generator's switch for each transaction.
            turn = list(islice(queue, 16))
            for id_, entry in turn:
                if id_ not in skip:
                    yield entry
            if len(turn) == 16:
                still.append(queue)
        waiting = still


class Mempool:
    """At most `capacity_bytes`, of which one institution takes at most `share` (0 to 1)."""

    def __init__(self, capacity_bytes: int, share: float = 0.5) -> None:
        self._capacity_bytes = capacity_bytes
        self._share_bytes = int(capacity_bytes * share)
        self._by_raw: dict[bytes, Entry] = {}
        self._by_id: dict[bytes, Entry] = {}
        self._slots: dict[Slot, Entry] = {}
        self._owners: _Queues = {}
        self._queues: _Queues = {}
        self._used_bytes: dict[int, int] = {}
        self._total_bytes = 0
        self._idle = 0
        self.refused = 0  # for want of room, since the start

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    @property
    def bytes_used(self) -> int:
        """Of the capacity."""
        return self._total_bytes

    @property
    def has_work(self) -> bool:
        """Whether a transaction waits that no notarized block carries, and that the final head was not found to refuse
        (design, section 5, rule 9)."""
        return len(self._by_id) > self._idle

    def known(self, raw: bytes) -> Entry | None:
        """The pooled transaction with exactly these bytes: decoded and verified already."""
        return self._by_raw.get(raw)

    def get(self, transaction: bytes) -> Entry | None:
        """The pooled transaction of this id."""
        return self._by_id.get(transaction)

    def room(self, entries: Iterable[Entry]) -> bool:
        """Whether all of `entries` fit together."""
        wanted: dict[int, int] = {}
        for entry in entries:
            institution = entry.slot[0]
            wanted[institution] = wanted.get(institution, 0) + entry.cost_bytes
        return self._total_bytes + sum(wanted.values()) <= self._capacity_bytes and all(
            self._used_bytes.get(institution, 0) + size <= self._share_bytes for institution, size in wanted.items()
        )

    def add(self, entry: Entry) -> bool:
        """Take `entry` in; False if it is here already.

        Raises `Busy` when the pool or the institution's share is full, `Replayed` when another transaction waits
        under the same number.
        """
        if entry.id in self._by_id:
            return False
        slot = entry.slot
        if slot in self._slots:
            raise Replayed("another transaction with this number is pending")
        institution, cost = slot[0], entry.cost_bytes
        used = self._used_bytes.get(institution, 0)
        if self._total_bytes + cost > self._capacity_bytes or used + cost > self._share_bytes:
            self.refused += 1
            raise Busy("the pool of pending transactions is full")
        self._by_raw[entry.raw] = self._by_id[entry.id] = self._slots[slot] = entry
        (self._owners if entry.owners else self._queues).setdefault(institution, {})[entry.id] = entry
        self._used_bytes[institution] = used + cost
        self._total_bytes += cost
        return True

    def select(self, size_limit: int, count: int, skip: Collection[bytes]) -> list[Entry]:
        """What a block should hold: owners' first, then institutions', carriers in turn, each in order of arrival.

        Owners' operations take about half of the block if institutions' want the rest: nobody can keep all others out
        by carrying owners' without end. At most `count` transactions of together `size_limit` bytes and of what a
        block may cost. Ids in `skip` (in blocks below) are left out.
        """
        room = _Room(size_limit, limits.BLOCK_COST, count)
        owners = _in_turns(self._owners, skip)
        first = room.fill(owners, _Room(size_limit // 2, limits.BLOCK_COST // 2, count // 2))
        then = room.fill(_in_turns(self._queues, skip), _Room(0, 0, 0))
        return first + room.fill(owners, _Room(0, 0, 0)) + then

    def set_carried(self, ids: Iterable[bytes]) -> None:
        """These stand in a notarized block: they are no work of their own while it may become final."""
        for id_ in ids:
            entry = self._by_id.get(id_)
            if entry is not None:
                self._idle += not entry.idle
                entry.carried = True

    def oldest(self, before_ms: int) -> list[Entry]:
        """Those that came before this and stand in no notarized block, not more than are tried at once."""
        old = takewhile(lambda entry: entry.added_ms <= before_ms, self._by_id.values())
        return list(islice((entry for entry in old if not entry.carried), TRIED_AT_ONCE))

    def judge(self, verdicts: Iterable[tuple[Entry, bool]]) -> None:
        """Each of these is valid on the final head, or not. What is not is no work until another block is final, but
        stays: the node may be behind, and others ahead."""
        for entry, valid in verdicts:
            if self._by_id.get(entry.id) is entry:
                self._idle -= entry.idle
                entry.unfit = not valid
                self._idle += entry.idle

    def remove(self, ids: Iterable[bytes]) -> list[Entry]:
        """Forget these; returns those that were here."""
        return [entry for id_ in ids if (entry := self._drop(id_)) is not None]

    def finalize(self, slots: Mapping[Slot, bytes], still_carried: Collection[bytes]) -> list[Entry]:
        """A block became final with transactions `slots` (number used -> id): forget these and whatever wanted the
        same number. The rest has survived one more block, and only `still_carried` stand in notarized blocks above.

        Returns the entries that lost their number to another transaction.
        """
        lost: list[Entry] = []
        for slot, id_ in slots.items():
            entry = self._slots.get(slot)
            if entry is not None:
                self._drop(entry.id)
                if entry.id != id_:
                    lost.append(entry)
        self._idle = 0
        for entry in self._by_id.values():
            entry.survived += 1
            entry.carried = entry.id in still_carried
            entry.unfit = False
            self._idle += entry.carried
        return lost

    def expired(self, ledger_ms: int) -> list[Entry]:
        """Those that no block after ledger time `ledger_ms` may hold."""
        return [entry for entry in self._by_id.values() if entry.body.valid_until <= ledger_ms]

    def stale(self, everything: bool) -> list[Entry]:
        """Those due for another look: `everything`, or those that 8, 16, 32, ... final blocks have passed by."""
        return [
            entry
            for entry in self._by_id.values()
            if not entry.carried
            and (everything or (entry.survived >= LOOK_AGAIN and entry.survived & (entry.survived - 1) == 0))
        ]

    def counts(self) -> dict[int, int]:
        """Pending transactions by institution."""
        counts: dict[int, int] = {}
        for institution, _, _ in self._slots:
            counts[institution] = counts.get(institution, 0) + 1
        return counts

    def _drop(self, id_: bytes) -> Entry | None:
        entry = self._by_id.pop(id_, None)
        if entry is None:
            return None
        del self._by_raw[entry.raw]
        del self._slots[entry.slot]
        institution = entry.slot[0]
        queues = self._owners if entry.owners else self._queues
        queue = queues[institution]
        del queue[id_]
        if not queue:
            del queues[institution]
        self._total_bytes -= entry.cost_bytes
        left = self._used_bytes[institution] - entry.cost_bytes
        if left:
            self._used_bytes[institution] = left
        else:
            del self._used_bytes[institution]
        self._idle -= entry.idle
        return entry
