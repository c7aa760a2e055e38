"""Executes blocks: builds them from the pool, validates those of others, and keeps what they would change.

A block is executed once, as an overlay above the last final state; what an overlay does not hold comes from storage
through bounded caches, one query for a block's read set and one for each level of the state tree. One lock orders
everything that reads the state, so caches never take in what a later commit replaced. Relies on `protocol.ledger` for
every rule; the clock rule alone, which is for voting only (design, section 4), stands here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from node.caches import Lru, VerifiedSignatures, bytes_of
from node.clock import Clock
from node.intake import Intake
from node.mempool import Entry, Mempool, Slot, room_in
from node.sansio.asking import Obsolete
from node.sansio.proposals import applied, called_for, validate
from node.standing import Standing
from protocol.consensus.effects import Build, Validate
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import Verifier, verify
from protocol.errors import ChartledgerError, InvalidBlock, InvalidTransaction
from protocol.ledger.blocks import (
    apply_block,
    build_block,
    check_cost,
    check_state_root,
    next_authorities_digest,
    next_timestamp,
)
from protocol.ledger.overlay import LayeredView, Overlay, to_fetch
from protocol.ledger.state import read_set
from protocol.ledger.transition import Execution, Receipt
from protocol.ledger.tree import TreeChanges, Walk
from protocol.ledger.view import Changes
from protocol.params import Params
from protocol.types.block import Block, Header
from protocol.types.transaction import TransactionBody

LEAVES_CACHED_BYTES = 12 << 20
NODES_CACHED_BYTES = 16 << 20
SIGNATURES_CACHED = 8_192
TURN = 128
"""Transactions applied before others on the event loop get their turn."""


class StateStore(Protocol):
    """The final state on disk."""

    async def read_set(
        self, keys: Collection[bytes], refs: Collection[tuple[int, int]]
    ) -> tuple[dict[bytes, bytes], dict[tuple[int, int], bytes]]: ...

    async def read_nodes(self, paths: Collection[bytes]) -> dict[bytes, bytes]: ...


class Executed(Struct, frozen=True, eq=False):
    """An executed block: `receipts`, `ids` and `slots` go with its transactions, in order. `seen_ms`: monotonic, when
    its execution began here."""

    digest: bytes
    block: Block
    overlay: Overlay
    receipts: tuple[Receipt, ...]
    ids: tuple[bytes, ...]
    slots: dict[Slot, bytes]
    seen_ms: int

    @property
    def header(self) -> Header:
        return self.block.header

    @property
    def leaves(self) -> Mapping[bytes, bytes]:
        """The state's leaves that it changed."""
        return self.overlay.changes.leaves


class Executor:
    """The states above the final one. `head` is the final head, whether or not its block is stored yet."""

    def __init__(
        self,
        *,
        store: StateStore,
        pool: Mempool,
        intake: Intake,
        standing: Standing,
        head: Header,
        institution: int,
        clock: Clock,
        verifier: Verifier = verify,
    ) -> None:
        self.head = head
        self._store = store
        self._pool = pool
        self._intake = intake
        self._standing = standing
        self._institution = institution
        self._clock = clock
        self._verify = VerifiedSignatures(verifier, SIGNATURES_CACHED)
        self._head_digest = block_digest(head)
        self._executed: dict[bytes, Executed] = {}
        self._clock_waits: dict[bytes, asyncio.Event] = {}
        self._leaves: Lru[bytes, bytes] = Lru(LEAVES_CACHED_BYTES, bytes_of)
        self._nodes: Lru[bytes, bytes] = Lru(NODES_CACHED_BYTES, bytes_of)
        self._lock = asyncio.Lock()

    def known(self, digest: bytes) -> Executed | None:
        """The executed block of this digest, unless it is final and stored."""
        return self._executed.get(digest)

    # --- what consensus asks -------------------------------------------------------------------------------------

    async def build(self, wanted: Build) -> tuple[Block | None, list[tuple[Entry, InvalidTransaction]]]:
        """A block on the parent as `wanted` says, and what was found to be invalid there.

        No block if nothing goes in, none is wanted empty and no heartbeat is due. Raises `Obsolete`.
        """
        seen_ms = self._clock.monotonic_ms()
        async with self._lock:
            parent, overlay = self._state_after(wanted.parent)
            skip = self._carried_by(wanted.parent)
            room = room_in(wanted.size_limit)
            entries = self._pool.select(room, self._standing.params.block_transactions, skip)
            timestamp = next_timestamp(parent, self._clock.wall_ms())
            view = await self._view(overlay, parent.child_epoch, [entry.body for entry in entries])
            self._state_after(wanted.parent)
            execution = Execution(view, parent, timestamp, self._verify)
            good: list[Entry] = []
            receipts: list[Receipt] = []
            bad: list[tuple[Entry, InvalidTransaction]] = []
            for number, (entry, result) in enumerate(applied(execution, entries, _signed_by), 1):
                if isinstance(result, InvalidTransaction):
                    bad.append((entry, result))
                else:
                    good.append(entry)
                    receipts.append(result)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            if not called_for(wanted, parent, timestamp, self._standing.params, len(good)):
                return None, bad
            changes = execution.changes()
            tree = await self._update_tree(wanted.parent, changes)
            raws = [entry.raw for entry in good]
            block = build_block(
                parent, self._institution, timestamp, raws, tree.root, next_authorities_digest(execution)
            )
            self._keep(
                block=block,
                overlay=Overlay(overlay, block.header, changes, tree),
                receipts=receipts,
                entries=good,
                seen_ms=seen_ms,
            )
            return block, bad

    async def validate(self, wanted: Validate) -> None:
        """See `node.sansio.proposals.validate`."""
        await validate(self, wanted)

    def params(self) -> Params:
        """Those at the final head."""
        return self._standing.params

    def wall_ms(self) -> int:
        """What this node believes the time to be."""
        return self._clock.wall_ms()

    def end_wait(self, digest: bytes) -> None:
        """A quorum voted for the block: whether its time has come does not matter any more."""
        if digest in self._clock_waits:
            self._clock_waits[digest].set()

    async def await_clock(self, timestamp: int, digest: bytes) -> None:
        """Wait until this node's clock shows this time, or until `end_wait`."""
        certified = self._clock_waits.setdefault(digest, asyncio.Event())
        try:
            while (ahead := timestamp - self._clock.wall_ms()) > 0:
                async with asyncio.timeout(ahead / 1_000):
                    await certified.wait()
                    return
        except TimeoutError:
            return
        finally:
            self._clock_waits.pop(digest, None)

    async def execute(self, block: Block) -> Executed:
        """Execute the block on its parent's state, unless that was done. Raises `InvalidBlock` or `Obsolete`."""
        digest = block_digest(block.header)
        seen_ms = self._clock.monotonic_ms()
        async with self._lock:
            found = self._executed.get(digest)
            if found is not None:
                return found
            parent, overlay = self._state_after(block.header.parent)
            entries = await self._entries(block.transactions)
            bodies = [entry.body for entry in entries]
            check_cost(bodies)  # before their read set is fetched
            view = await self._view(overlay, parent.child_epoch, bodies)
            self._state_after(block.header.parent)
            signed = [(entry.body, entry.signed_by) for entry in entries]
            done = apply_block(view, parent, block, signed, self._verify)
            tree = await self._update_tree(block.header.parent, done.changes)
            check_state_root(block.header, tree.root)
            above = Overlay(overlay, block.header, done.changes, tree)
            return self._keep(block=block, overlay=above, receipts=done.receipts, entries=entries, seen_ms=seen_ms)

    async def try_all(
        self, entries: Sequence[Entry], timestamp: int | None = None
    ) -> list[Receipt | InvalidTransaction]:
        """What each, one after the other, would do in a block on the final head; changes nothing.

        `timestamp`: the block's, without which it is as if this node proposed it now.
        """
        async with self._lock:
            bodies = [entry.body for entry in entries]
            head, view = self.head, await self._view_at_head(bodies)
            while head is not self.head:
                head, view = self.head, await self._view_at_head(bodies)
            at_ms = next_timestamp(head, self._clock.wall_ms()) if timestamp is None else timestamp
            execution = Execution(view, head, at_ms, self._verify)
            results: list[Receipt | InvalidTransaction] = []
            for number, (_, result) in enumerate(applied(execution, entries, _signed_by), 1):
                results.append(result)
                if number % TURN == 0:
                    await asyncio.sleep(0)
            return results

    # --- what finality says --------------------------------------------------------------------------------------

    def finalized(self, executed: Executed) -> None:
        """The block is final: transactions are tried on its state from now on. It is not stored yet."""
        assert executed.header.parent == self._head_digest
        self.head, self._head_digest = executed.header, executed.digest

    async def stored(self, blocks: Sequence[Executed]) -> None:
        """These final blocks are on disk: storage answers for them now. Lost branches are let go."""
        async with self._lock:
            for executed in blocks:
                self._leaves.update(executed.overlay.changes.leaves)
                self._nodes.update(executed.overlay.tree.nodes)
                del self._executed[executed.digest]
            gone = {id(executed.overlay) for executed in blocks}
            height = blocks[-1].header.height
            for digest, other in list(self._executed.items()):
                if other.header.height <= height:
                    del self._executed[digest]
                elif id(other.overlay.parent) in gone:
                    other.overlay.rebase()

    # --- inside, under the lock ----------------------------------------------------------------------------------

    def _state_after(self, digest: bytes) -> tuple[Header, Overlay | None]:
        """Raises `Obsolete` unless the block is the final head or descends from it. Below and beside the head, what an
        overlay does not hold would come from a storage that is further than the overlay, or soon will be. Asked again
        after each wait for storage: the head may have moved meanwhile."""
        found = self._executed.get(digest)
        below = digest
        while below != self._head_digest:
            one = self._executed.get(below)
            if one is None or one.header.height <= self.head.height:
                raise Obsolete
            below = one.header.parent
        return (self.head, None) if found is None else (found.header, found.overlay)

    def _carried_by(self, digest: bytes) -> set[bytes]:
        """Ids in the block of this digest and the unfinalized ones below it."""
        ids: set[bytes] = set()
        while digest != self._head_digest and (found := self._executed.get(digest)) is not None:
            ids.update(found.ids)
            digest = found.header.parent
        return ids

    async def _entries(self, raws: Sequence[bytes]) -> list[Entry]:
        """The block's transactions, decoded. Their signatures are checked here, in threads if there are any, and by the
        transition where the key is not the head's; what the pool knows was checked before."""
        entries: list[Entry | None] = [self._pool.known(raw) for raw in raws]
        missing = [index for index, entry in enumerate(entries) if entry is None]
        checked = await self._intake.check([raws[i] for i in missing], in_block=True)
        for index, result in zip(missing, checked, strict=True):
            if isinstance(result, ChartledgerError):
                raise InvalidBlock(f"transaction {index} is not valid ({result.code}): {result}")
            entries[index] = result
        return [entry for entry in entries if entry is not None]

    async def _view_at_head(self, bodies: Sequence[TransactionBody]) -> LayeredView:
        found = self._executed.get(self._head_digest)
        return await self._view(None if found is None else found.overlay, self.head.child_epoch, bodies)

    async def _view(self, overlay: Overlay | None, epoch: int, bodies: Sequence[TransactionBody]) -> LayeredView:
        read = read_set(bodies, epoch)
        lacking = to_fetch(overlay, read)
        leaves: dict[bytes, bytes] = {}
        missing: list[bytes] = []
        for key in lacking.keys:
            cached = self._leaves.get(key)
            if cached is None:
                missing.append(key)
            else:
                leaves[key] = cached
        events: dict[tuple[int, int], bytes] = {}
        if missing or lacking.events:
            stored, events = await self._store.read_set(missing, lacking.events)
            self._leaves.update(stored)
            leaves.update(stored)
        return LayeredView(overlay, read, leaves, events)

    async def _update_tree(self, below: bytes, changes: Changes) -> TreeChanges:
        """`below` is the digest of the block whose state changes. Raises `Obsolete`."""
        parent, overlay = self._state_after(below)
        if not changes.leaves:
            return TreeChanges(parent.state_root, {})
        walk = Walk(changes.leaves)
        while wanted := walk.wanted():
            found = overlay.nodes(wanted) if overlay is not None else {}
            missing = []
            for path in wanted:
                if path not in found:
                    cached = self._nodes.get(path)
                    if cached is None:
                        missing.append(path)
                    else:
                        found[path] = cached
            if missing:
                stored = await self._store.read_nodes(missing)
                self._state_after(below)
                self._nodes.update(stored)
                found.update(stored)
                if len(stored) < len(missing):
                    raise AssertionError("the state tree on disk lacks nodes: run `chartledger doctor`")
            walk.supply(found)
        return walk.update(changes.leaves)

    def _keep(
        self,
        *,
        block: Block,
        overlay: Overlay,
        receipts: Iterable[Receipt],
        entries: Sequence[Entry],
        seen_ms: int,
    ) -> Executed:
        executed = Executed(
            digest=block_digest(block.header),
            block=block,
            overlay=overlay,
            receipts=tuple(receipts),
            ids=tuple(entry.id for entry in entries),
            slots={entry.slot: entry.id for entry in entries},
            seen_ms=seen_ms,
        )
        self._executed[executed.digest] = executed
        return executed


def _signed_by(entry: Entry) -> Callable[[bytes], bool]:
    return entry.signed_by
