"""What the machine wants done. The driver carries effects out in order.

All `Persist` of one step are written and synced, once, before any `Send` or `Finalized` of that step (rule 7).
"""

from __future__ import annotations

from msgspec import Struct

from protocol.types.block import Block
from protocol.types.votes import Certificate, ConsensusMessage, Proposal, Vote

Record = Vote | Certificate | Proposal
"""What the journal holds: own votes, certificates, and proposals with their bodies."""


class Persist(Struct, frozen=True):
    """Append to the journal; synced before anything that follows leaves the node."""

    record: Record


class Send(Struct, frozen=True):
    """To the authority with index `to`, or to every peer if None."""

    to: int | None
    message: ConsensusMessage


class Build(Struct, frozen=True):
    """Build a block on `parent` (digest). `size_limit` in bytes is what rule 10 leaves; answer with `Built`."""

    view: int
    parent_view: int
    parent: bytes
    size_limit: int


class Validate(Struct, frozen=True):
    """Validate the whole block on its parent's state (ledger rules and time); answer with `Validated`."""

    view: int
    block: Block


class Finalized(Struct, frozen=True):
    """These blocks are final, oldest first; `certificate` finalizes the last. Apply and store, all in one."""

    blocks: tuple[Block, ...]
    certificate: Certificate
    nullifications: tuple[Certificate, ...]  # of the gaps between them, which evidence may need


class SetTimer(Struct, frozen=True):
    """Fire `TimerFired(serial)` at `at_ms`. Replaces the former timer; None disarms."""

    serial: int
    at_ms: int | None


class Equivocation(Struct, frozen=True):
    """Two signed subjects of one authority that contradict each other: evidence."""

    index: int
    first: Vote
    second: Vote


class Behind(Struct, frozen=True):
    """A verified certificate shows finality beyond what can be reached by votes: fetch final blocks by range."""

    final_view: int
    block: bytes
    sender: int | None


class Halted(Struct, frozen=True):
    """The machine has stopped voting for good (rule 4): this node is broken or more than f are."""

    reason: str


Effect = Persist | Send | Build | Validate | Finalized | SetTimer | Equivocation | Behind | Halted
