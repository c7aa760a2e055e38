"""One node's catching up by ranges of final blocks, and its answers to others (see `node.sync`).

Whom to ask for what is said by `protocol.sync.planner`, what an answer is worth by `protocol.sync.ranges`; certificates
count by the set that this node's own state says for their epoch.
"""

from __future__ import annotations

from typing import Protocol

from node.simulation.chainstate import ChainState
from node.simulation.disk import Disk, StoredBlock
from node.simulation.memory import Memory
from protocol.codec.canonical import encode
from protocol.consensus.quorum import check_certificate
from protocol.errors import BadCertificate, ChartledgerError
from protocol.sync.messages import BLOCKS_PER_RANGE, HEADERS_PER_RANGE, FinalRange, RangeBlock, RangeRequest, Rest
from protocol.sync.planner import RANGE_BYTES, Planner
from protocol.sync.ranges import Segment, check_range
from protocol.types.block import Block
from protocol.types.votes import Certificate

TIMEOUT_MS = 20_000


class Asker(Protocol):
    """The node around it."""

    disk: Disk
    chain: ChainState
    memory: Memory

    def monotonic_ms(self) -> int: ...

    def connected(self) -> list[int]: ...

    def ask(self, to: int, serial: int, request: RangeRequest) -> None: ...

    def answer(self, to: int, serial: int, answer: FinalRange) -> None: ...

    def sync_later(self, delay_ms: int, serial: int) -> None: ...

    def synced(self, segments: list[Segment]) -> None: ...


class Syncing:
    """One life's. One request for blocks is under way at a time."""

    def __init__(self, asker: Asker) -> None:
        self.planner = Planner(asker.disk.state.header.height)
        self.active = False
        self._asker = asker
        self._serial = 0
        self._waiting: tuple[int, int] | None = None  # (serial, peer)
        self._held: tuple[Block, ...] = ()

    # --- asking --------------------------------------------------------------------------------------------------

    def ask_height(self, peer: int) -> None:
        """How far is it?"""
        self._asker.ask(peer, 0, RangeRequest(0, 0, 0))

    def behind(self) -> None:
        """Consensus saw finality that it cannot reach: ask everyone."""
        for peer in self._asker.connected():
            self.ask_height(peer)

    def lost(self, peer: int) -> None:
        """It cannot be asked any more."""
        self.planner.lost(peer)
        if self._waiting is not None and self._waiting[1] == peer:
            self._failed(peer)

    def hear(self, peer: int, serial: int, answer: FinalRange) -> None:
        """An answer."""
        head = self._asker.disk.state.header
        if serial == 0:
            self.planner.heard(peer, answer.height)
            if answer.height > head.height and not self.active:
                self._begin()
            elif self.active and self._waiting is None:
                self._fetch()
            return
        if self._waiting != (serial, peer):
            return
        self._waiting = None
        if not answer.blocks:
            self.planner.answered(peer, 0, answer.height)
            self._fetch()
            return
        if self._held and self._held[0].header.height != head.height + 1:
            self._held = ()
        if self.planner.next_height != head.height + len(self._held) + 1:  # consensus was faster
            self._begin()
            return
        try:
            segments, self._held = check_range(head, answer, self._check, self._held)
        except ChartledgerError:
            self._failed(peer)
            return
        self.planner.answered(peer, len(answer.blocks), answer.height)
        if segments:
            self._asker.synced(segments)  # goes on with `stored`
        else:
            self._fetch()

    def stored(self) -> None:
        """What was synced, or became final otherwise, is stored."""
        if self.active and self._waiting is None:
            self._fetch()

    def refused(self, peer_failed: bool = True) -> None:
        """What was fetched does not execute as its headers say."""
        self._begin()

    def fired(self, serial: int) -> None:
        """A timeout, or the end of a pause (serial 0)."""
        if self._waiting is not None and self._waiting[0] == serial:
            self._failed(self._waiting[1])
        elif serial == 0 and self.active and self._waiting is None:
            self._fetch()

    def _begin(self) -> None:
        self.active = True
        self._held = ()
        self._waiting = None
        self.planner.reset(self._asker.disk.state.header.height)
        self._fetch()

    def _failed(self, peer: int) -> None:
        self.planner.failed(peer, self._asker.monotonic_ms())
        self._begin()

    def _fetch(self) -> None:
        now = self._asker.monotonic_ms()
        wanted = self.planner.next_request(now)
        if wanted is None:
            wait = self.planner.wait_ms(now)
            if wait is None:
                self.active = False
            else:
                self._asker.sync_later(max(wait, 10), 0)
            return
        peer, request = wanted
        self._serial += 1
        self._waiting = (self._serial, peer)
        self._asker.sync_later(TIMEOUT_MS, self._serial)
        self._asker.ask(peer, self._serial, request)

    def _check(self, certificate: Certificate) -> None:
        state = self._asker.disk.state
        authorities = state.authorities(certificate.subject.epoch)
        if authorities is None:
            raise BadCertificate("the certificate is of an unknown epoch")
        check_certificate(
            certificate,
            state.header.chain,
            authorities.epoch,
            [member.vote_key for member in authorities.members],
            self._asker.memory.verify,
        )

    # --- answering -----------------------------------------------------------------------------------------------

    def serve(self, peer: int, serial: int, wanted: RangeRequest) -> None:
        """Answer a request."""
        blocks = self._asker.disk.blocks
        height = len(blocks)
        if wanted.count == 0 or not 0 < wanted.first <= height:
            self._asker.answer(peer, serial, FinalRange(height, (), None))
            return
        stored = _run(
            blocks[wanted.first - 1 :], min(wanted.count, BLOCKS_PER_RANGE), min(wanted.size_bytes, RANGE_BYTES)
        )
        whole = next((n for n in range(len(stored), 0, -1) if stored[n - 1].certificate is not None), 0)
        rest = None if whole else _rest(blocks[wanted.first - 1 + len(stored) :])
        parts = tuple(
            RangeBlock(one.raw, None if one.certificate is None else encode(one.certificate))
            for one in stored[: whole or None]
        )
        self._asker.answer(peer, serial, FinalRange(height, parts, rest))


def _run(blocks: list[StoredBlock], count: int, size_bytes: int) -> list[StoredBlock]:
    """So many of these, of one epoch, of about this size, one at least."""
    run: list[StoredBlock] = []
    for one in blocks[:count]:
        size_bytes -= len(one.raw)
        if run and size_bytes < 0:
            break
        run.append(one)
        if one.block.header.ends_epoch:
            break
    return run


def _rest(blocks: list[StoredBlock]) -> Rest:
    headers = []
    for one in blocks[:HEADERS_PER_RANGE]:
        headers.append(one.raw_header)
        if one.certificate is not None:
            return Rest(tuple(headers), encode(one.certificate))
    raise AssertionError("what is stored last has a certificate")
