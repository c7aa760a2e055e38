"""What storage takes and gives: plain values, with wire values in their canonical bytes."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from protocol.codec.canonical import decode, encode
from protocol.crypto.shares import ShareIndex
from protocol.types.base import Number, Wire
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.votes import Certificate

_ARRAY_OF_TWO = b"\x92"


class Place(Struct, frozen=True):
    """Where operation `operation` of a transaction landed: its chart, and its first event's number there."""

    operation: int
    chart: int
    event: int


class Copy(Wire, frozen=True):
    """A record at one of its holders: share number `index` of its key was sent there, and `held` says whether the
    holder has all of it as it is now, as far as its writer knows. Who ever had one stays listed: it owes a receipt for
    an erasure."""

    holder: Number
    index: ShareIndex
    held: bool


class Settled(Struct, frozen=True):
    """A transaction of this node's outbox that is final in this block. `receipt` is the driver's own encoding.

    `places` tell what was staged under the id where it belongs now; needed only for operations that staged something.
    """

    id: bytes
    receipt: bytes
    places: tuple[Place, ...] = ()


class CommittedBlock(Struct, frozen=True):
    """A final block and all that follows from it, to be stored whole.

    `certificate` and `nullifications` are those of the finalization that ended with this block; None and () for a
    block that became final as the ancestor of another. `events` are (chart, number, canonical bytes); `leaves` and
    `nodes` are the state's leaves by key and its tree's nodes by path after the block, where it changed them.
    """

    header: Header
    transactions: tuple[bytes, ...]
    certificate: Certificate | None
    nullifications: tuple[Certificate, ...]
    leaves: Mapping[bytes, bytes]
    nodes: Mapping[bytes, bytes]
    events: tuple[tuple[int, int, bytes], ...]
    settled: tuple[Settled, ...] = ()


class Asking(Struct, frozen=True):
    """An event by which somebody asked to read a chart, in canonical bytes; positions ascend as such become final."""

    position: int
    chart: int
    event: int
    raw: bytes


class StoredBlock(Struct, frozen=True):
    """A final block as it is kept: canonical bytes, decoded when asked."""

    height: int
    header_raw: bytes
    transactions_raw: bytes
    certificate_raw: bytes | None
    nullifications_raw: bytes | None

    @property
    def block_raw(self) -> bytes:
        """The canonical bytes of the `Block`: an array of header and transactions."""
        return _ARRAY_OF_TWO + self.header_raw + self.transactions_raw

    @property
    def header(self) -> Header:
        return decode(Header, self.header_raw)

    @property
    def block(self) -> Block:
        return decode(Block, self.block_raw)

    @property
    def certificate(self) -> Certificate | None:
        return None if self.certificate_raw is None else decode(Certificate, self.certificate_raw)

    @property
    def nullifications(self) -> tuple[Certificate, ...]:
        if self.nullifications_raw is None:
            return ()
        return decode(tuple[Certificate, ...], self.nullifications_raw)


class EpochEnd(Struct, frozen=True):
    """The last block of an epoch, the certificate that finalizes it, and the set of the epoch that follows."""

    header: Header
    certificate: Certificate
    next_authorities: AuthoritySet


class Head(Struct, frozen=True):
    """The last final block's header, and the certificate that finalizes it (None at genesis only)."""

    header: Header
    certificate: Certificate | None


def transactions_raw(transactions: tuple[bytes, ...]) -> bytes:
    """The canonical bytes of a block's list of transactions."""
    return encode(transactions)
