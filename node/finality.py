"""The asyncio side of finality: one task that takes what became final to disk, and futures for whoever waits.

What a block's finality causes, and in which order, is decided by `node.sansio.finality`. What piled up while the last
commit ran is committed together: one SQLite transaction, one sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from node.execution import Executed, Executor
from node.mempool import Mempool
from node.sansio.finality import Final, FinalityCore, Forgets, Outcomes, Promise
from node.standing import Standing
from node.storage.types import CommittedBlock
from protocol.types.votes import Certificate


class Store(Protocol):
    """Where final blocks go."""

    async def commit(self, blocks: Sequence[CommittedBlock], journal_mark: bytes | None = None) -> None: ...


class Finality(FinalityCore[Executed]):
    """See `FinalityCore`. `journal_mark`: how far the journal must reach that votes now; it goes with each commit."""

    def __init__(
        self,
        *,
        executor: Executor,
        store: Store,
        pool: Mempool,
        standing: Standing,
        gossip: Forgets,
        outcomes: Outcomes[Executed],
        certificate: Certificate | None,
        former: Certificate | None,
        journal_mark: Callable[[], bytes | None],
    ) -> None:
        super().__init__(
            executor=executor,
            pool=pool,
            standing=standing,
            gossip=gossip,
            outcomes=outcomes,
            certificate=certificate,
            former=former,
        )
        self._store = store
        self._journal_mark = journal_mark
        self._wake = asyncio.Event()

    def promise(self) -> asyncio.Future[None]:
        """A future of this loop."""
        return asyncio.get_running_loop().create_future()

    async def kept(self, promise: Promise) -> None:
        """Wait for it; a waiter that is cancelled leaves it alone."""
        assert isinstance(promise, asyncio.Future)
        await asyncio.wait([promise])

    async def commit(self, blocks: Sequence[Final[Executed]]) -> None:
        """One SQLite transaction."""
        await self._store.commit([_committed(block) for block in blocks], self._journal_mark())

    def wake(self) -> None:
        """Have `run` go on."""
        self._wake.set()

    async def run(self) -> None:
        """Store what comes, until cancelled. Whatever it raises stops the node."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.store()

    async def drain(self) -> None:
        """Wait until everything queued is stored; for a stop, while `run` still runs."""
        for batch in list(self._queue):
            await self.kept(batch.done)


def _committed(final: Final[Executed]) -> CommittedBlock:
    executed = final.executed
    changes = executed.overlay.changes
    return CommittedBlock(
        header=executed.header,
        transactions=executed.block.transactions,
        certificate=final.certificate,
        nullifications=final.nullifications,
        leaves=changes.leaves,
        nodes=executed.overlay.tree.nodes,
        events=tuple(changes.events),
        settled=final.settled,
    )
