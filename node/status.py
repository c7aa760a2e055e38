"""The status document: what an operator needs at a glance, and one sentence that says what is wrong and what to do.

Everything is read from memory but blobs, outbox and disk, which cost one query each. The keys of the document are an
interface: scripts read them; times are milliseconds since 1970 unless the name says otherwise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from node import __version__, emergencies, motions
from node.config import Config
from node.core import Core
from node.diagnosis import AuthorityStatus, Clocks, all_well, cast_out, clocks, slow, stalled
from node.doctor import Examination, last_examination
from node.motions import Conviction, Seen
from node.network.interface import PeerState, PeerStatus
from node.records.collecting import Collector
from node.records.erase import ErasureWork
from node.records.repair import Repair
from node.scrub import Scrub
from node.storage.blobs import BlobStore
from protocol.types.institutions import AuthoritySet, quorum_of

LAGGING_BLOCKS = 16
STALLED_VIEWS = 4
"""A transaction pending for the longest a view may last, this many times over, is a stall."""
MUTE_VIEWS = 2
"""Who can be reached and gave no vote for the longest a view may last, this many times over, while transactions waited
and nothing became final, does not vote."""
CONVICTIONS = 100


class StatusReporter:
    """Makes the document for one node."""

    def __init__(self, core: Core, config: Config, blobs: BlobStore, scrub: Scrub) -> None:
        self.erasures: Callable[[], Awaitable[ErasureWork]] = _nothing_to_erase
        """What is left to do for erasures; whoever carries them out sets it."""
        self._core = core
        self._config = config
        self._blobs = blobs
        self._scrub = scrub
        self._copies: tuple[Repair, Collector] | None = None
        self._started_ms = core.now_ms()
        self._final_ms = core.ground.clock.monotonic_ms()
        core.finality.listeners.append(lambda _: self._saw_final())

    def watch(self, repair: Repair, collector: Collector) -> None:
        """Tell of copies too, from now on."""
        self._copies = (repair, collector)

    async def _copies_status(self) -> dict[str, Any]:
        if self._copies is None:
            return {"lacking": 0, "held": 0, "misfits": {}}
        repair, collector = self._copies
        copies = await repair.copies()
        return {"lacking": copies.lacking, "held": copies.held, "misfits": dict(collector.suspects)}

    def _saw_final(self) -> None:
        self._final_ms = self._core.ground.clock.monotonic_ms()

    async def document(self) -> dict[str, Any]:
        """The whole document."""
        core = self._core
        # The set on disk, not the one in memory, which is a block ahead: who sees an epoch here finds what led to it.
        members = await motions.authorities(core)
        head, now = core.head(), core.now_ms()
        machine = core.driver.machine
        peers = core.ground.network.peers()
        authorities = self._authorities(members, peers)
        times = clocks(authorities, core.institution, core.params.drift_ms // 2)
        open_motions = await motions.open_motions(core)
        awaiting = [one for one in open_motions if motions.awaits(one, core.institution, members)]
        counted = emergencies.counts(core.standing.emergencies, max(now, head.timestamp))
        convicted = await motions.convictions(core, CONVICTIONS)
        totals = await self._blobs.totals()
        disk = await asyncio.to_thread(_disk, self._config.data)
        examination = await asyncio.to_thread(last_examination, self._config.data)
        leader = machine.leader(machine.view)
        erasing = await self.erasures()
        document: dict[str, Any] = {
            "version": __version__,
            "institution": {"number": core.institution, "name": self._name(core.institution)},
            "network": core.genesis.name,
            "chain": core.chain.hex(),
            "height": head.height,
            "head_time_ms": head.timestamp,
            "head_age_s": max(0, now - head.timestamp) / 1_000,
            "state_root": head.state_root.hex(),
            "epoch": members.epoch,
            "view": machine.view,
            "leader": {"index": leader, "institution": machine.config.institutions[leader]},
            "role": self._role(members),
            "why_silent": core.why_silent,
            "finality_ms": _percentiles(core.finality_times),
            "submission_ms": _percentiles(core.submission.latencies),
            "authorities": [msgspec.to_builtins(one) for one in authorities],
            "quorum": quorum_of(len(authorities)),
            "params": msgspec.structs.asdict(core.params),
            "clock": {"ahead_ms": times.ahead_ms, "limit_ms": core.params.drift_ms // 2},
            "motions": {
                "open": [one.number for one in open_motions],
                "awaiting": [one.number for one in awaiting],
            },
            "erasures": msgspec.to_builtins(erasing),
            "emergencies": [msgspec.to_builtins(one) for one in counted],
            "convicted": [_conviction(one) for one in convicted],
            "peers": core.peers(),
            "behind_blocks": core.sync.blocks_behind,
            "pending": len(core.pool),
            "pending_by_institution": core.pool.counts(),
            "refused_by_institution": dict(core.refused_of),
            "outbox": core.submission.pending,
            "expired": [id_.hex() for id_ in core.submission.expired],
            "blobs": {
                "count": totals.count,
                "size_bytes": totals.size_bytes,
                "missing": len(self._scrub.missing),
                "corrupt": len(self._scrub.corrupt),
                "bad": self._bad_blobs(examination),
            },
            "copies": await self._copies_status(),
            "disk": disk,
            "examined_ms": None if examination is None else examination.time_ms,
            "up_since_ms": self._started_ms,
        }
        own = [self._owed(one) for one in counted if one.institution == core.institution]
        others = [self._owed(one) for one in counted if one.institution != core.institution]
        worries = self._worries(members, authorities, times, disk, examination) + [said for said in own if said]
        worries += erasure_worries(erasing)
        document["healthy"] = not worries
        said = [*(worries or [all_well(authorities)]), *times.notes, *(one for one in others if one)]
        document["summary"] = " ".join([*said, *(self._awaited(one) for one in awaiting)])
        return document

    # --- authorities ---------------------------------------------------------------------------------------------

    def _authorities(self, members: AuthoritySet, peers: Sequence[PeerStatus]) -> list[AuthorityStatus]:
        """Those of the epoch that the next block belongs to; the machine may still be in the one before."""
        core = self._core
        machine = core.driver.machine
        indexes = {number: index for index, number in enumerate(machine.config.institutions)}
        leader = machine.leader(machine.view)
        by_number = {peer.institution: peer for peer in peers}
        found = []
        for index, member in enumerate(members.members):
            number = member.institution
            peer, at = by_number.get(number), indexes.get(number)
            own = number == core.institution
            state, since = self._own_state(at) if own else self._peer_state(number, at, peer)
            last = None if at is None else machine.presence.last_view[at]
            found.append(
                AuthorityStatus(
                    index=index,
                    institution=number,
                    name=self._name(number),
                    state=state,
                    since_ms=since,
                    last_view=machine.view if own else last,
                    leader=at == leader,
                    clock_offset_ms=None if peer is None else peer.clock_offset_ms,
                )
            )
        return found

    def _own_state(self, index: int | None) -> tuple[str, int | None]:
        """As `_peer_state`, of this node's own institution."""
        core = self._core
        if index is None and core.driver.halted is None:
            return "voting", None  # from the epoch on that is about to begin
        if core.driver.machine.me is None or core.driver.halted is not None:
            return "not voting", self._started_ms
        return ("lagging" if core.sync.blocks_behind > LAGGING_BLOCKS else "voting"), None

    def _peer_state(self, number: int, index: int | None, peer: PeerStatus | None) -> tuple[str, int | None]:
        """`index` is that of the machine's epoch, None if the institution has no seat in it."""
        core = self._core
        if peer is None or peer.state is not PeerState.CONNECTED:
            return "silent", core.router.away_since_ms.get(number, self._started_ms)
        if index is None:
            return "voting", None  # from the epoch on that is about to begin
        machine = core.driver.machine
        mute_ms = self._mute_since(index)
        if mute_ms is not None:
            return "not voting", mute_ms
        behind = peer.height is not None and peer.height + LAGGING_BLOCKS < core.head().height
        # Heights come with pings, and under load dozens of blocks pass between two: who has just voted is not behind.
        last = machine.presence.last_view[index]
        voted = last is not None and last + LAGGING_BLOCKS >= machine.view
        if (behind and not voted) or machine.presence.silent(index):
            return "lagging", None
        return "voting", None

    def _mute_since(self, index: int) -> int | None:
        """Since when (Unix ms) this authority does not vote although there is something to vote on. Who merely
        follows the chain, for want of authority or of a journal, takes in no votes and cannot tell."""
        core = self._core
        if core.driver.machine.me is None:
            return None
        now, limit = core.ground.clock.monotonic_ms(), MUTE_VIEWS * core.params.timeout_cap_ms
        last = core.driver.machine.presence.last_ms[index]
        heard = self._final_ms if last is None else last
        if min(self._waited_ms(), now - self._final_ms, now - heard) <= limit:
            return None
        return core.now_ms() - (now - heard)

    def _waited_ms(self) -> int:
        """How long the oldest transaction in the pool has been there."""
        oldest = next(iter(self._core.pool), None)
        return 0 if oldest is None else self._core.ground.clock.monotonic_ms() - oldest.added_ms

    def _bad_blobs(self, examination: Examination | None) -> int | None:
        """How many blobs are known to be missing or corrupt; None before anybody has looked at all of them."""
        if examination is None and not self._scrub.rounds:
            return None
        findings = [] if examination is None else examination.findings
        examined = sum(1 for finding in findings if finding.check == "blobs" and finding.wrong)
        return max(examined, len(self._scrub.missing) + len(self._scrub.corrupt))

    def _blob_worries(self) -> list[str]:
        missing, corrupt = self._scrub.missing, self._scrub.corrupt
        if not missing and not corrupt:
            return []
        chart, record = min(missing | corrupt)
        return [
            f"damaged: {len(missing)} sealed records are missing and {len(corrupt)} altered, the first being record "
            f"{record} of chart {chart}; restore their blobs from a backup."
        ]

    # --- in words ------------------------------------------------------------------------------------------------

    def _worries(
        self,
        members: AuthoritySet,
        authorities: Sequence[AuthorityStatus],
        times: Clocks,
        disk: Mapping[str, int],
        examination: Examination | None,
    ) -> list[str]:
        core = self._core
        worries = []
        if core.failure.done():
            worries.append("stopping: this node met a failure that it cannot go on with; see its log.")
        if core.driver.halted is not None:
            worries.append(f"halted: {core.driver.halted}. Keep the data folder and call the other institutions.")
        if core.why_silent is not None:
            worries.append(f"not voting: {core.why_silent}")
        worries += self._consensus_worries(members, authorities)
        if times.worry is not None:
            worries.append(times.worry)
        for number, evidence in sorted(core.driver.evidence.items()):
            seat = members.seat(number)
            if seat is not None and seat.since <= evidence.epoch:  # its vote has not been taken away yet
                worries.append(
                    f"{self._name(number)} signed two contradicting votes in view {evidence.view} of epoch "
                    f"{evidence.epoch}: call its operators."
                )
        if disk["free_bytes"] < self._config.disk_warning_bytes:
            worries.append(f"the disk is nearly full: {disk['free_bytes'] >> 20} MiB are free; make room.")
        worries += self._blob_worries()
        if examination is not None:
            wrong = [finding for finding in examination.findings if finding.wrong]
            worries += [f"damaged: {finding.sentence} {finding.advice}".rstrip() for finding in wrong[:3]]
        return worries

    def _consensus_worries(self, members: AuthoritySet, authorities: Sequence[AuthorityStatus]) -> list[str]:
        core = self._core
        out = cast_out(core.standing.institution(core.institution))
        if out is not None:
            return [out]
        stall = stalled(authorities, follows=members.seat(core.institution) is None)
        if stall is not None:
            return [stall]
        if core.sync.blocks_behind > LAGGING_BLOCKS:
            return [f"catching up: {core.sync.blocks_behind} blocks behind; wait, it goes on by itself."]
        waited = self._waited_ms()
        return [slow(authorities, waited)] if waited > STALLED_VIEWS * core.params.timeout_cap_ms else []

    def _owed(self, count: emergencies.Count) -> str | None:
        """Own overdue reviews make a node unhealthy, so that its people see to them; others' are told, too."""
        return emergencies.owed(count, self._name(count.institution), count.institution == self._core.institution)

    def _awaited(self, seen: Seen) -> str:
        what = motions.sentence(seen.leaf.change, self._name)
        return f"Motion {seen.number} ({what}) awaits this institution's vote: `chartledger motion show {seen.number}`."

    def _role(self, members: AuthoritySet) -> str:
        return "follower" if members.seat(self._core.institution) is None else "authority"

    def _name(self, number: int) -> str:
        return self._core.standing.name(number)


async def _nothing_to_erase() -> ErasureWork:
    return ErasureWork(0, 0, None, 0)


def erasure_worries(work: ErasureWork) -> list[str]:
    """What an operator must know of erasures here."""
    found = []
    if work.blocked is not None:
        found.append(f"an erasure waits: {work.blocked}. No receipt is given until it is done.")
    if work.lost:
        found.append(
            f"{work.lost} sealed rows open no more: the key-encryption key that they lie under was destroyed or lost. "
            "Their records come back from their holders or from whoever sent them; docs/operators.md says more."
        )
    return found


def _conviction(one: Conviction) -> dict[str, int]:
    view = one.leaf.first.subject.view
    return {
        "institution": one.leaf.institution,
        "epoch": one.epoch,
        "view": view,
        "height": one.leaf.reported_at,
    }


def _percentiles(latencies: Any) -> dict[str, int | None]:
    return {"p50": latencies.percentile(0.5), "p99": latencies.percentile(0.99), "count": latencies.count}


def _disk(folder: Path) -> dict[str, int]:
    used = 0
    for at, _, files in os.walk(folder):
        for name in files:
            try:
                used += os.stat(os.path.join(at, name)).st_size
            except FileNotFoundError:  # a temporary file that was moved meanwhile
                continue
    space = os.statvfs(folder)
    return {"data_bytes": used, "free_bytes": space.f_bavail * space.f_frsize}
