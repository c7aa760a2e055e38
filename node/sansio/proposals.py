"""Answers what the consensus machine asks of the ledger: build, validate, make final.

The link between `node.sansio.stepping`, which knows no ledger, and what executes blocks and makes them final, which
know no votes. Sans-I/O: what takes time is awaited from ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from node.mempool import Entry
from node.sansio.asking import check_clock
from node.sansio.finality import Executed, FinalityCore, Promise
from protocol.consensus.effects import Build, Finalized, Validate
from protocol.crypto.hashing import block_digest
from protocol.errors import InvalidTransaction
from protocol.ledger.transition import Execution, Receipt
from protocol.params import Params
from protocol.types.block import Block, Header

BACKLOG_BLOCKS = 32
"""Final blocks that may wait for the disk before this node stops taking on new ones."""

E = TypeVar("E", bound=Executed)
E_co = TypeVar("E_co", bound=Executed, covariant=True)


class Voter(Protocol[E_co]):
    """Executes blocks, and waits by this node's clock; see `node.execution.Executor`."""

    def params(self) -> Params: ...

    def wall_ms(self) -> int: ...

    async def execute(self, block: Block) -> E_co: ...

    async def await_clock(self, timestamp: int, digest: bytes) -> None:
        """Wait until the clock shows this time, or `end_wait` is called for the block."""

    def end_wait(self, digest: bytes) -> None: ...


class Proposer(Protocol[E_co]):
    """Builds blocks, and keeps what it executed."""

    async def build(self, wanted: Build) -> tuple[Block | None, list[tuple[Entry, InvalidTransaction]]]: ...

    async def validate(self, wanted: Validate) -> None: ...

    def known(self, digest: bytes) -> E_co | None: ...


class Proposals(Generic[E]):
    """See `node.sansio.stepping.Ledger`."""

    def __init__(self, executor: Proposer[E], finality: FinalityCore[E]) -> None:
        self._executor = executor
        self._finality = finality
        self._notarized: set[bytes] = set()  # of those not executed yet

    async def build(self, wanted: Build) -> Block | None:
        """A block as wanted; None if nothing goes in, none is wanted empty and no
        heartbeat is due. Raises `Obsolete`."""
        await self._finality.backlog_below(BACKLOG_BLOCKS)
        while True:
            block, bad = await self._executor.build(wanted)
            self._finality.refuse(bad)
            # A blockful of what is invalid must not cost the turn of what waits behind it. Each round empties the pool
            # of what it tried.
            if block is not None or not bad:
                return block

    async def validate(self, wanted: Validate) -> None:
        """Raises `InvalidBlock`, `Refused` or `Obsolete`."""
        await self._finality.backlog_below(BACKLOG_BLOCKS)
        await self._executor.validate(wanted)
        digest = block_digest(wanted.block.header)
        if digest in self._notarized:
            self.notarized(digest)

    def notarized(self, digest: bytes) -> None:
        """A quorum voted for this block."""
        executed = self._executor.known(digest)
        if executed is None:
            self._notarized.add(digest)
        else:
            self._notarized.discard(digest)
            self._finality.notarized(executed)

    def finalized(self, effect: Finalized) -> Promise:
        """Take final blocks to disk; kept once they are durable."""
        self._notarized.clear()
        return self._finality.put(effect.blocks, effect.certificate, effect.nullifications)


async def validate(voter: Voter[E], wanted: Validate) -> None:
    """Execute the block, and hold it against this node's clock unless a quorum voted for it.

    Raises `InvalidBlock` for what is wrong for good, `Refused` for what the clock does not allow, `Obsolete`.
    """
    header = wanted.block.header
    digest = block_digest(header)
    if wanted.certified:
        voter.end_wait(digest)
        await voter.execute(wanted.block)
        return
    check_clock(header.timestamp, voter.wall_ms(), voter.params())
    await voter.execute(wanted.block)
    await voter.await_clock(header.timestamp, digest)


SignedBy = Callable[[Entry], Callable[[bytes], bool]]
"""Whether a pooled transaction's signature verifies under a key; see `protocol.ledger.transition.SignedBy`."""


def applied(
    execution: Execution, entries: Iterable[Entry], signed_by: SignedBy
) -> Iterator[tuple[Entry, Receipt | InvalidTransaction]]:
    """Apply each of these to the block in the making, one after the other: what it does there, or what refuses it."""
    for entry in entries:
        result: Receipt | InvalidTransaction
        try:
            result = execution.apply(entry.body, signed_by(entry))
        except InvalidTransaction as error:
            result = error
        yield entry, result


def called_for(wanted: Build, parent: Header, timestamp: int, params: Params, transactions: int) -> bool:
    """Whether a block of so many transactions is to be built: not an empty one, unless asked for or for its time."""
    return transactions > 0 or wanted.allow_empty or timestamp - parent.timestamp >= params.heartbeat_ms
