"""What oracles are told: one record for each thing that could be seen from outside a node.

Hosts are named by their address. The world emits records in the order in which things happen and stamps each with
virtual time; oracles never look into machines, ledgers or pools themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from protocol.crypto.signing import verify
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import Body, Certificate, ConsensusMessage, Proposal, Vote

JournalRecord = Vote | Certificate | Proposal | Body


class Submitted(Struct, frozen=True, gc=False):
    """A client's transaction was taken into this host's durable outbox. `id` is the transaction's, `raw` its bytes.

    `owed`: it is valid and stays so until `valid_until`, whatever else happens, so liveness owes it. `watched`: others
    may make it invalid, or it was so from the start; liveness owes it unless the naive ledger would refuse it.
    """

    at_ms: int
    host: int
    id: bytes
    raw: bytes
    owed: bool
    watched: bool = False


class VoteLeft(Struct, frozen=True, gc=False):
    """A host sent a vote of its own, alone or in a proposal, to one or to all. `durable`: its journal as far as it is
    synced, oldest first: a list that only grows until another takes its place."""

    at_ms: int
    host: int
    vote: Vote
    durable: Sequence[JournalRecord]


class Sent(Struct, frozen=True, gc=False):
    """A host sent any consensus message, to so many."""

    at_ms: int
    host: int
    message: ConsensusMessage
    copies: int


class MessageArrived(Struct, frozen=True, gc=False):
    """A message of the host with address `sender` came to a host's machine, which was then of this epoch, in this view,
    knew this newest final view, was in its life of this number, and took part in voting or only followed."""

    at_ms: int
    host: int
    sender: int
    message: ConsensusMessage
    life: int
    epoch: int
    view: int
    final_view: int
    voting: bool = True


class BlockFinal(Struct, frozen=True, gc=False):
    """A host holds this block to be final, by votes or by sync. `certificate` finalizes it, or, of several in a row,
    the last one. Comes again for blocks that a crash kept from being stored."""

    at_ms: int
    host: int
    block: Block
    certificate: Certificate


class BlockStored(Struct, frozen=True, gc=False):
    """The block is in this host's storage for good."""

    at_ms: int
    host: int
    height: int
    digest: bytes


class ClientTold(Struct, frozen=True, gc=False):
    """This host told a client that the transaction of this id is final at this height."""

    at_ms: int
    host: int
    id: bytes
    height: int


class Restarted(Struct, frozen=True, gc=False):
    """A host is up, for the first time or again, with this head in storage and this journal. `certificate` is the
    one stored with the head, None at genesis; `life` counts its starts."""

    at_ms: int
    host: int
    life: int
    head: Header
    certificate: Certificate | None
    durable: Sequence[JournalRecord]


class Crashed(Struct, frozen=True, gc=False):
    """A host is down."""

    at_ms: int
    host: int


class EpochBegan(Struct, frozen=True, gc=False):
    """A host goes on with a machine of this epoch, whose set it holds to be this."""

    at_ms: int
    host: int
    authorities: AuthoritySet


class EquivocationFound(Struct, frozen=True, gc=False):
    """A host's machine reports two votes of one authority."""

    at_ms: int
    host: int
    epoch: int
    index: int
    first: Vote
    second: Vote


class Stepped(Struct, frozen=True, gc=False):
    """Sizes of what a host's machine holds: rounds, votes, blocks, certificates, by name. Not after every step."""

    at_ms: int
    host: int
    load: Mapping[str, int]


class Stopped(Struct, frozen=True, gc=False):
    """A host's machine halted: it holds more than f authorities to be traitors, or itself to be broken."""

    at_ms: int
    host: int
    reason: str


class Healed(Struct, frozen=True, gc=False):
    """Faults of networks, disks and clocks are over."""

    at_ms: int


Record = (
    Submitted
    | VoteLeft
    | Sent
    | MessageArrived
    | BlockFinal
    | BlockStored
    | ClientTold
    | Restarted
    | Crashed
    | EpochBegan
    | EquivocationFound
    | Stepped
    | Stopped
    | Healed
)


class Scene(Struct, frozen=True):
    """What does not change in a history.

    `honest`: hosts that never lie, whatever epoch; `institutions`: of every host that was ever accredited, which may
    become more. `verify`: whether (public key, message, signature) is one, perhaps remembered across the history.
    """

    seed: int
    genesis: Genesis
    chain: bytes
    honest: frozenset[int]
    institutions: Mapping[int, int]
    verify: Callable[[bytes, bytes, bytes], bool] = verify

    def lies(self, institution: int) -> bool:
        """Whether a traitor has its keys."""
        return any(of == institution and host not in self.honest for host, of in self.institutions.items())
