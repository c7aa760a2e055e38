"""What the machine wants done. The driver carries effects out in order.

A step returns its `Persist` effects first. They are appended in order and synced once, before any `Send` or
`Finalized` of that step is carried out (rule 7); the journal is append-only, so one sync covers all that was appended
before it.
"""

from __future__ import annotations

from msgspec import Struct

from protocol.types.block import Block, Header
from protocol.types.votes import Body, Certificate, ConsensusMessage, Proposal, Vote

Record = Vote | Certificate | Proposal | Body
"""What the journal holds: own votes, certificates, proposals with their bodies, and bodies that came without one."""


class Persist(Struct, frozen=True):
    """Append to the journal; synced before anything that follows leaves the node.

    `sync` False: nothing of this step rests on the record (a finalization, which whoever forgets it learns again), so
    a step whose records are all such needs no sync of its own. A driver may sync all the same.
    """

    record: Record
    sync: bool = True


class Send(Struct, frozen=True):
    """To the authority with index `to`, or to every authority if None.

    Of what goes to all, followers have use for certificates of kind FINALIZE only; the rest need not reach them.
    """

    to: int | None
    message: ConsensusMessage


class Build(Struct, frozen=True):
    """Build a block on `parent` (digest of the final head or of a block validated before); answer with `Built`.

    `size_limit`: bytes that the block may have, as rule 10 leaves them; 0 asks for a block without transactions.
    `allow_empty` False: answer `Built(block=None)` if nothing in the pool is valid on this parent and no heartbeat
    is due; the machine then builds without transactions only if finality needs it. True: build in any case.
    """

    view: int
    parent_view: int
    parent: bytes
    size_limit: int
    allow_empty: bool


class Validate(Struct, frozen=True):
    """Validate the whole block on its parent's state (ledger rules and time); answer with `Validated`.

    Asked only once the parent is the final head or was answered VALID. The machine has checked that the header's
    chain, epoch, proposer, height and `transactions_root` are right, so the transactions are those of the header.

    `certified` False: the clock rule holds: wait while the block's time is ahead of this node's clock, answer
    REFUSED if it is too far behind. True: a quorum has voted for it, so the clock rule does not apply. A block may
    be asked for a second time with `certified` True: that ends a wait for the clock; execute it only once.
    """

    view: int
    block: Block
    certified: bool


class Finalized(Struct, frozen=True):
    """These blocks are final, oldest first; `certificate` finalizes the last. Apply and store, all in one.

    Each was answered VALID before. The first one's parent is the former final head: of an earlier `Finalized`, of
    `CaughtUp`, or of the start. After a restart, blocks come again that were not yet stored.
    """

    blocks: tuple[Block, ...]
    certificate: Certificate
    nullifications: tuple[Certificate, ...]  # of the gaps between them, which evidence may need


class EpochEnded(Struct, frozen=True):
    """The last block of the `Finalized` before this ended the epoch: this machine signs nothing more.

    Once that block is stored, go on with a new machine, of the set and parameters that its state holds, with the final
    head (header, None) and `certificate` as its `former`.
    """

    header: Header
    certificate: Certificate


class SetTimer(Struct, frozen=True):
    """Fire `TimerFired(serial)` at `at_ms`. Replaces the former timer; None disarms."""

    serial: int
    at_ms: int | None


class Equivocation(Struct, frozen=True):
    """Two signed subjects of one authority that contradict each other: evidence."""

    index: int
    first: Vote
    second: Vote


class Rejected(Struct, frozen=True):
    """A leader signed a proposal that is invalid for good: evidence, and a line in the log."""

    proposal: Proposal
    reason: str


class Behind(Struct, frozen=True):
    """A verified finalization is of a block that is not here: fetch final blocks by range, then `CaughtUp`.

    Comes again, on a capped timer, until the gap is closed, by sync or because the bodies came after all. `block` None:
    a message of a later epoch was seen, which nothing here can verify; ask how far others are.
    """

    final_view: int
    block: bytes | None
    sender: int | None


class Halted(Struct, frozen=True):
    """The machine has stopped voting for good (rule 4): this node is broken or more than f are."""

    reason: str


Effect = (
    Persist | Send | Build | Validate | Finalized | EpochEnded | SetTimer | Equivocation | Rejected | Behind | Halted
)
