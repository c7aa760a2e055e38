"""What the socket and the records side need from the node's core, and nothing more.

It stands above both sides, since `node.records` may not import `node.api` and the core imports neither.

`node/app.py` hands an object of this shape to `node.records` and `node.api`; tests hand them one that keeps a ledger in
memory. Everything here speaks of *final* state: a reader of the socket never sees what may still change.

Who calls what, in the order of a submission::

    prepared = await node.prepare(batches)   # checked on the head, numbered, signed: ids are known, nothing left yet
    ...                                      # blobs, staged records and the idempotency row are made durable here
    await node.submit(prepared)              # durable in the outbox with one sync, then pooled and gossiped
    outcomes = await node.outcomes(ids)      # final with receipt, or dead for good

A transaction that was prepared and never submitted has left no trace outside its caller, so a crash in between is
answered by starting over. In the other direction the core routes a peer's request whose method begins with `records.`
to `Records.answer(peer, method, payload)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from node.storage.types import Asking
from protocol.errors import ChartledgerError
from protocol.ledger.leaves import Chart, GrantLeaf
from protocol.ledger.transition import Receipt
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import Genesis, Institution
from protocol.types.operations import SignedOperation


class Prepared(Struct, frozen=True):
    """A signed transaction that has not left yet: canonical bytes, id, its number and `valid_until` (ledger ms)."""

    id: bytes
    raw: bytes
    number: int
    valid_until: int


class Final(Struct, frozen=True):
    """A transaction that is final: in the block of this height and time (ledger ms), with what it did."""

    id: bytes
    height: int
    timestamp: int
    receipt: Receipt


class Dead(Struct, frozen=True):
    """A transaction that can never become final any more, and why."""

    id: bytes
    error: ChartledgerError


class Waiting(Enum):
    """What is neither final nor dead."""

    PENDING = "pending"  # in the outbox: it may still become final
    UNKNOWN = "unknown"  # neither in the outbox nor among the receipts: it was never submitted here


Outcome = Final | Dead | Waiting


class FinalBlock(Struct, frozen=True):
    """A block as it became final. `events` are (chart, event number, canonical event) in order; empty when it was read
    back from storage, where events are kept by chart."""

    header: Header
    digest: bytes
    transactions: tuple[bytes, ...]
    events: tuple[tuple[int, int, bytes], ...] = ()


class Submission(Protocol):
    """The way in."""

    async def prepare(self, batches: Sequence[Sequence[SignedOperation]]) -> list[Prepared]:
        """Number and sign each list of operations as one transaction of this institution.

        Each is applied to a throw-away copy of the final head first; the first that is refused raises its
        `InvalidTransaction`, and then nothing was signed. The numbers are durable: never handed out again.
        """
        ...

    async def adopt(self, raws: Sequence[bytes]) -> list[Prepared | ChartledgerError]:
        """Take in transactions that a client signed: each decoded and its signature checked, or why not. In order."""
        ...

    async def submit(self, prepared: Sequence[Prepared]) -> None:
        """Make all durable in the outbox with one sync, then pool and gossip them. Raises `Busy` when full: then none
        was taken. Submitting what is in the outbox or final already changes nothing."""
        ...

    async def outcomes(self, ids: Sequence[bytes], wait_s: float) -> list[Outcome]:
        """Where each transaction stands, in order; waits up to `wait_s` seconds while any is pending. Answers after a
        restart too: from the outbox and the durable receipts."""
        ...


class Queries(Protocol):
    """The final state, read."""

    @property
    def institution(self) -> int:
        """This institution's number."""
        ...

    @property
    def genesis(self) -> Genesis: ...

    @property
    def chain(self) -> bytes:
        """The chain's id."""
        ...

    @property
    def proofs(self) -> Proofs:
        """What can be shown of it offline."""
        ...

    @property
    def params(self) -> Params:
        """At the final head."""
        ...

    def head(self) -> Header:
        """The final head; from memory."""
        ...

    def now_ms(self) -> int:
        """This node's clock, milliseconds since the epoch."""
        ...

    def accredited(self) -> list[int]:
        """Numbers of the institutions that are accredited at the final head, ascending; from memory."""
        ...

    async def institution_leaf(self, number: int) -> Institution | None: ...

    async def chart(self, number: int) -> Chart | None: ...

    async def chart_of_owner(self, owner_key: bytes) -> int | None: ...

    async def charts_of_custodian(self, institution: int, first: int, count: int) -> list[int]:
        """Numbers of the charts it keeps, ascending, from `first` on."""
        ...

    async def grant(self, chart: int, grant: int) -> GrantLeaf | None: ...

    async def leaves(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """State leaves by key (protocol/ledger/keys.py) at the head; absent ones are left out. One query."""
        ...

    async def last_leaves(self, kind: int, count: int) -> list[tuple[bytes, bytes]]:
        """Up to `count` (key, leaf) of the state leaves of one kind (`protocol.ledger.keys.KIND_*`) with the highest
        keys, descending. One query."""
        ...

    async def events(self, chart: int, first: int, count: int) -> list[tuple[int, bytes]]:
        """Up to `count` (number, canonical event), ascending, or fewer where they are large: go on behind the last one.
        Empty beyond the end or for no such chart."""
        ...

    async def events_at(self, chart: int, numbers: Sequence[int]) -> dict[int, bytes]:
        """Canonical events by number; absent ones are left out. One query."""
        ...

    async def askings(self, before: int | None, count: int) -> list[Asking]:
        """Up to `count` events by which somebody asked to read, of all charts, the last to become final first; those
        before position `before`, or the last ones. Fewer where they are large: go on before the last one."""
        ...

    async def blocks(self, first: int, count: int) -> list[FinalBlock]:
        """Final blocks by ascending height; may stop early for size, and is empty beyond the head."""
        ...


class Proofs(Protocol):
    """Proof files, of the final head where nothing else is said.

    `epoch` is the one whose authorities the verifier trusts: those of 0 stand in the genesis. Every method raises
    `TooManyEpochs`, `BadProof` for an epoch above the head's, and `Busy`.
    """

    async def inclusion(self, chart: int, event: int, epoch: int = 0) -> bytes:
        """That the event stands in the chart's history. Raises `UnknownChart` or `UnknownRecord`."""
        ...

    async def final(self, epoch: int = 0, height: int | None = None) -> bytes:
        """That the block at `height` is final; without one, the head, or the end of the last epoch that one proof
        reaches. Raises `BadProof`."""
        ...

    async def history(self, chart: int, first: int = 0, epoch: int = 0) -> bytes:
        """All that happened to the chart from event `first` on, or as much of it as one proof carries. Raises
        `UnknownChart` or `UnknownRecord`."""
        ...

    async def grant(
        self, chart: int, number: int, institution: int | None = None, record: int | None = None, epoch: int = 0
    ) -> bytes:
        """Whether the grant is in force, for this institution, as to this record. Raises `UnknownChart`,
        `UnknownRecord`, `UnknownGrant` or `BadTerms`."""
        ...

    async def past_grant(
        self, chart: int, number: int, height: int, institution: int | None = None, epoch: int = 0
    ) -> bytes:
        """How the grant stood at a height. Raises as `grant`, and `BadProof` if one proof cannot carry the history."""
        ...

    async def erasure(self, chart: int, event: int, epoch: int = 0) -> bytes:
        """What became of the erasure that this event ordered. Raises `UnknownChart` or `UnknownErasure`."""
        ...


class Operations(Protocol):
    """What an operator looks at."""

    async def status(self) -> Mapping[str, Any]:
        """The status document, as JSON; has `healthy: bool` and `summary: str` (one line in words) at least."""
        ...

    def peers(self) -> list[Mapping[str, Any]]: ...

    def metrics_text(self) -> str:
        """Prometheus text format."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[FinalBlock]]:
        """Final blocks from now on, `events` filled. Bounded: the iterator ends for who falls too far behind, and when
        the node stops."""
        ...


class Peers(Protocol):
    """The way to other institutions."""

    async def ask(self, institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        """Send a request on the blob channel. Raises `node.network.interface.RequestFailed`."""
        ...


class NodeServices(Submission, Queries, Operations, Peers, Protocol):
    """All of it, on one object."""
