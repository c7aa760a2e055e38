"""The status document: what an operator needs at a glance, and one sentence that says what is wrong and what to do.

Everything is read from memory but blobs, outbox and disk, which cost one query each. The keys of the document are an
interface (docs/api.md); times are milliseconds since 1970 unless the name says otherwise.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from node import __version__
from node.config import Config
from node.core import Core
from node.doctor import Examination, last_examination
from node.network.interface import PeerState, PeerStatus
from node.scrub import Scrub
from node.storage.blobs import BlobStore
from protocol.consensus.quorum import quorum

LAGGING_BLOCKS = 16
STALLED_VIEWS = 4
"""A transaction pending for the longest a view may last, this many times over, is a stall."""


class AuthorityStatus(Struct, frozen=True):
    """One authority as this node sees it. `since_ms`: since when it is silent, None if it is not."""

    index: int
    institution: int
    name: str
    state: str  # "voting", "lagging" or "silent"; for a node that may not vote itself, "not voting"
    since_ms: int | None
    last_view: int | None
    leader: bool


class StatusReporter:
    """Makes the document for one node."""

    def __init__(self, core: Core, config: Config, blobs: BlobStore, scrub: Scrub) -> None:
        self._core = core
        self._config = config
        self._blobs = blobs
        self._scrub = scrub
        self._started_ms = core.now_ms()

    async def document(self) -> dict[str, Any]:
        """The whole document."""
        core = self._core
        head, now = core.head(), core.now_ms()
        machine = core.driver.machine
        peers = core.ground.network.peers()
        authorities = self._authorities(peers)
        totals = await self._blobs.totals()
        disk = await asyncio.to_thread(_disk, self._config.data)
        examination = await asyncio.to_thread(last_examination, self._config.data)
        leader = machine.leader(machine.view)
        document: dict[str, Any] = {
            "version": __version__,
            "institution": {"number": core.institution, "name": self._name(core.institution)},
            "network": core.genesis.name,
            "chain": core.chain.hex(),
            "height": head.height,
            "head_time_ms": head.timestamp,
            "head_age_s": max(0, now - head.timestamp) / 1_000,
            "state_root": head.state_root.hex(),
            "epoch": head.epoch,
            "view": machine.view,
            "leader": {"index": leader, "institution": core.genesis.authorities[leader]},
            "role": self._role(),
            "finality_ms": _percentiles(core.finality_times),
            "submission_ms": _percentiles(core.submission.latencies),
            "authorities": [msgspec.to_builtins(one) for one in authorities],
            "quorum": quorum(len(authorities)),
            "peers": core.peers(),
            "behind_blocks": core.sync.blocks_behind,
            "pending": len(core.pool),
            "pending_by_institution": core.pool.counts(),
            "outbox": core.submission.pending,
            "expired": [id_.hex() for id_ in core.submission.expired],
            "blobs": {
                "count": totals.count,
                "size_bytes": totals.size_bytes,
                "missing": len(self._scrub.missing),
                "corrupt": len(self._scrub.corrupt),
                "bad": self._bad_blobs(examination),
            },
            "disk": disk,
            "examined_ms": None if examination is None else examination.time_ms,
            "up_since_ms": self._started_ms,
        }
        worries = self._worries(authorities, peers, disk, examination)
        document["healthy"] = not worries
        document["summary"] = " ".join(worries) if worries else self._all_well(authorities)
        return document

    # --- authorities ---------------------------------------------------------------------------------------------

    def _authorities(self, peers: Sequence[PeerStatus]) -> list[AuthorityStatus]:
        core = self._core
        machine = core.driver.machine
        leader = machine.leader(machine.view)
        by_number = {peer.institution: peer for peer in peers}
        found = []
        for index, number in enumerate(core.genesis.authorities):
            peer = by_number.get(number)
            state, since = self._own_state() if peer is None else self._peer_state(index, peer)
            found.append(
                AuthorityStatus(
                    index=index,
                    institution=number,
                    name=self._name(number),
                    state=state,
                    since_ms=since,
                    last_view=machine.presence.last_view[index] if peer is not None else machine.view,
                    leader=index == leader,
                )
            )
        return found

    def _own_state(self) -> tuple[str, int | None]:
        core = self._core
        if core.driver.machine.me is None or core.driver.halted is not None:
            return "not voting", None
        return ("lagging" if core.sync.blocks_behind > LAGGING_BLOCKS else "voting"), None

    def _peer_state(self, index: int, peer: PeerStatus) -> tuple[str, int | None]:
        core = self._core
        if peer.state is not PeerState.CONNECTED:
            return "silent", core.router.away_since_ms.get(peer.institution, self._started_ms)
        machine = core.driver.machine
        behind = peer.height is not None and peer.height + LAGGING_BLOCKS < core.head().height
        # Heights come with pings, and under load dozens of blocks pass between two: who has just voted is not behind.
        last = machine.presence.last_view[index]
        voted = last is not None and last + LAGGING_BLOCKS >= machine.view
        if (behind and not voted) or machine.presence.silent(index):
            return "lagging", None
        return "voting", None

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
        authorities: Sequence[AuthorityStatus],
        peers: Sequence[PeerStatus],
        disk: Mapping[str, int],
        examination: Examination | None,
    ) -> list[str]:
        core = self._core
        worries = []
        if core.failure.done():
            worries.append("stopping: this node met a failure that it cannot go on with; see its log.")
        if core.driver.halted is not None:
            worries.append(f"halted: {core.driver.halted}. Keep the data folder and call the other institutions.")
        if core.ground.why_silent is not None:
            worries.append(f"not voting: {core.ground.why_silent}. Its vote key must be rotated on the ledger.")
        worries += self._consensus_worries(authorities)
        for index, evidence in sorted(core.driver.evidence.items()):
            name = authorities[index].name
            worries.append(f"{name} signed two contradicting votes in view {evidence.view}: call its operators.")
        if disk["free_bytes"] < self._config.disk_warning_bytes:
            worries.append(f"the disk is nearly full: {disk['free_bytes'] >> 20} MiB are free; make room.")
        worries += self._blob_worries()
        if examination is not None:
            wrong = [finding for finding in examination.findings if finding.wrong]
            worries += [f"damaged: {finding.sentence} {finding.advice}".rstrip() for finding in wrong[:3]]
        return worries

    def _consensus_worries(self, authorities: Sequence[AuthorityStatus]) -> list[str]:
        core = self._core
        needed = quorum(len(authorities))
        silent = [one for one in authorities if one.state == "silent"]
        able = [one for one in authorities if one.state in {"voting", "lagging"}]
        if len(able) < needed:
            names = ", ".join(f"{one.name} since {_clock_time(one.since_ms)}" for one in silent)
            return [
                f"stalled: {len(silent)} of {len(authorities)} authorities are silent ({names}); {needed} are needed; "
                "start them or check the network."
            ]
        if core.sync.blocks_behind > LAGGING_BLOCKS:
            return [f"catching up: {core.sync.blocks_behind} blocks behind; wait, it goes on by itself."]
        params = core.params
        oldest = next(iter(core.pool), None)
        waited = 0 if oldest is None else core.ground.clock.monotonic_ms() - oldest.added_ms
        if waited > STALLED_VIEWS * params.timeout_cap_ms:
            lagging = ", ".join(one.name for one in authorities if one.state == "lagging") or "none by its own fault"
            return [
                f"slow: a transaction has waited for {waited // 1_000} s although a quorum is connected "
                f"(lagging: {lagging}); look at `chartledger peers` for slow connections."
            ]
        return []

    def _all_well(self, authorities: Sequence[AuthorityStatus]) -> str:
        silent = [one for one in authorities if one.state == "silent"]
        voting = sum(1 for one in authorities if one.state == "voting")
        if not silent:
            return f"healthy: {voting} of {len(authorities)} authorities vote."
        names = ", ".join(f"{one.name} since {_clock_time(one.since_ms)}" for one in silent)
        spare = len(authorities) - len(silent) - quorum(len(authorities))
        return (
            f"healthy, but {len(silent)} of {len(authorities)} authorities are silent ({names}); "
            f"{spare if spare else 'no'} more may fail before the chain stops."
        )

    def _role(self) -> str:
        return "authority" if self._core.driver.machine.me is not None else "follower"

    def _name(self, number: int) -> str:
        return self._core.genesis.institutions[number].name


def _percentiles(latencies: Any) -> dict[str, int | None]:
    return {"p50": latencies.percentile(0.5), "p99": latencies.percentile(0.99), "count": latencies.count}


def _clock_time(time_ms: int | None) -> str:
    return "the start" if time_ms is None else datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%H:%M:%S UTC")


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
