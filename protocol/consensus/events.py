"""What happens to the machine. The driver turns sockets, timers and disks into these; nothing else goes in.

`now_ms` passed beside an event is a monotonic clock in milliseconds; it only ever arms timers.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from protocol.types.block import Block
from protocol.types.votes import Certificate, ConsensusMessage


class Verdict(Enum):
    """What the ledger says of a proposed block."""

    VALID = "valid"
    INVALID = "invalid"  # for good: nullify, keep the evidence
    REFUSED = "refused"  # not now (its time is too old for this voter's clock): nullify, no evidence


class Started(Struct, frozen=True):
    """The node is up: restored state is in the machine, the network may be used."""


class Received(Struct, frozen=True):
    """A decoded message from the authority with index `sender`, or from a non-authority (None). Unverified."""

    sender: int | None
    message: ConsensusMessage


class Built(Struct, frozen=True):
    """Answer to `Build`. None: nothing to put in (or, where an empty block was allowed, none can be built, and then
    the leader nullifies). The block counts as validated: the driver keeps its state as it does for `Validated`."""

    view: int
    parent_view: int
    block: Block | None


class Validated(Struct, frozen=True):
    """Answer to `Validate`."""

    view: int
    block: bytes  # digest
    verdict: Verdict


class TimerFired(Struct, frozen=True):
    """The timer armed by the `SetTimer` of this serial; older serials are ignored."""

    serial: int


class WorkChanged(Struct, frozen=True):
    """Whether a pooled transaction waits that no unfinalized block holds yet, or a heartbeat is due (rule 9).

    To be told on every change; telling True again makes a leader that had nothing to build try again.
    """

    has_work: bool


class PeerUp(Struct, frozen=True):
    """The authority with this index became reachable: it may lack what was sent meanwhile (rule 8)."""

    index: int


class CaughtUp(Struct, frozen=True):
    """The node's sync applied final blocks by range; `certificate` finalizes `block`, the new final head.

    Sync and `Finalized` both move the final head, so the driver carries out one after the other, and drops from
    `Finalized` the blocks at or below its head.
    """

    block: Block
    certificate: Certificate


Event = Started | Received | Built | Validated | TimerFired | WorkChanged | PeerUp | CaughtUp
