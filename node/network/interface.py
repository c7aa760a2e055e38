"""What the rest of the node knows of the network: channels, messages, requests and the state of each peer.

A peer is named by its institution number. Nothing here blocks and nothing is kept for a peer that is away: whoever
needs a message to arrive sends it again when `Handler.on_peer_up` says that the peer is there (design, section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Protocol

from msgspec import Struct

from node.network.tls import Identity
from protocol.errors import ChartledgerError


class Channel(IntEnum):
    """Queue classes. The lowest goes first; each has a bounded queue of its own for every peer."""

    VOTES = 0
    TRANSACTIONS = 1
    SYNC = 2
    BLOBS = 3


class Member(Struct, frozen=True):
    """An institution that may connect: its Ed25519 certificates (DER), each of which counts, and where it listens.

    `address` is "host:port" ("[::1]:port" for IPv6). None: it is not dialled, but may dial.
    """

    certificates: tuple[bytes, ...]
    address: str | None = None


class PeerState(Enum):
    """What goes on between this node and one peer."""

    CONNECTED = "connected"
    DIALLING = "dialling"  # an attempt is under way
    WAITING = "waiting"  # the last attempt failed; `last_error` says why, and another follows
    UNDIALLED = "undialled"  # no address is known: it must dial


class PeerStatus(Struct, frozen=True):
    """One peer as operators see it. Counts start with the process; times are Unix milliseconds."""

    institution: int
    address: str | None
    state: PeerState
    since_ms: int  # when `state` began
    rtt_ms: float | None  # of the last ping
    clock_offset_ms: int | None  # by how much the peer's clock is ahead of this node's, within half of rtt_ms
    height: int | None  # the peer's final height, as it last said
    agent: str | None  # the peer's software and version, as it says
    bytes_in: int
    bytes_out: int
    queue_bytes: int  # waiting to be sent
    dropped: int  # messages given up because the peer was too slow
    throttled: int  # times that reading from the peer paused because it sent too much
    last_error: str | None  # one sentence: why the last connection or attempt ended


class RequestFailed(ChartledgerError):
    """The peer did not answer the request."""

    advice = "Another peer may have the answer; `chartledger peers` says who is connected."


class PeerGone(RequestFailed):
    """The peer is not connected, or the connection ended before it answered. `sent` is False if it certainly got
    nothing of the request."""

    def __init__(self, sentence: str = "", *, sent: bool = True) -> None:
        super().__init__(sentence)
        self.sent = sent


class RequestTimedOut(RequestFailed):
    """The peer did not answer in time."""


class RequestRefused(RequestFailed):
    """The peer answered that it will not. `refusal` is its stable code, the text its sentence."""

    def __init__(self, refusal: str, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = refusal


class Refuse(ChartledgerError):
    """Raised by `Handler.on_request`: the peer gets `refusal` (a stable kebab-case code) and the sentence."""

    def __init__(self, refusal: str, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = refusal


class Handler(Protocol):
    """What the node does with what comes in. All calls come from the event loop's thread.

    A `DecodeError` raised by `on_message` or `on_request` means that the peer sent what is no message: its connection
    is dropped with that sentence as the reason. Any other exception but `Refuse` is a fault of this node.
    """

    def on_message(self, peer: int, channel: Channel, payload: bytes) -> None:
        """One message that `peer` sent or broadcast. Must return quickly."""

    async def on_request(self, peer: int, method: str, payload: bytes) -> bytes:
        """The answer to a request, at most `limits.FRAME_BYTES - 64` bytes. Raises `Refuse`.

        Cancelled when the peer goes away.
        """

    def on_peer_up(self, peer: int) -> None:
        """A connection stands. Called again, after `on_peer_down`, when a newer one takes its place."""

    def on_peer_down(self, peer: int, reason: str) -> None:
        """The connection ended; what was sent and not answered may be lost."""


class Network(Protocol):
    """Messages to and requests of the other institutions' nodes."""

    def set_handler(self, handler: Handler) -> None:
        """Who gets what comes in; before `start`."""

    async def start(self) -> None:
        """Listen and dial. Raises `ListenFailed` and `BadAddress`."""

    async def stop(self) -> None:
        """Close every connection and wait until nothing of the network runs."""

    def set_members(self, members: Mapping[int, Member]) -> None:
        """Who may connect from now on; a connection of who is not among them, or whose key changed, ends at once."""

    def set_identity(self, identity: Identity) -> None:
        """Another key and certificate of this institution, for every connection from now on."""

    def broadcast(self, channel: Channel, payload: bytes, exclude: frozenset[int] = frozenset()) -> None:
        """Send to every connected peer but `exclude`. Never blocks: a full queue drops its oldest messages, counted.

        `payload` is at most `limits.FRAME_BYTES`, else ValueError.
        """

    def send(self, peer: int, channel: Channel, payload: bytes) -> bool:
        """As `broadcast`, to one peer. False if it is not connected."""

    async def request(self, peer: int, channel: Channel, method: str, payload: bytes, timeout_s: float) -> bytes:
        """The peer's answer. Raises `PeerGone`, `RequestTimedOut` or `RequestRefused`."""

    def drop(self, peer: int, reason: str) -> None:
        """End the connection with a peer that misbehaves; it is let in again after a pause."""

    def connected(self) -> frozenset[int]:
        """The peers that are connected now."""

    def peers(self) -> list[PeerStatus]:
        """Every other member, by number."""


class BadAddress(ChartledgerError):
    """The address is not host:port."""

    advice = 'Write it as "10.0.0.1:7400", "node.example.org:7400" or "[fd00::1]:7400".'


class ListenFailed(ChartledgerError):
    """The peer-to-peer address cannot be listened on."""

    advice = "Another process may use the port: see `listen` in the node's configuration."
