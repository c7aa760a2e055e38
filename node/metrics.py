"""Metrics in Prometheus' text format (version 0.0.4): numbers of this node, never anything of a record or patient."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from node import emergencies
from node.core import Core
from node.network.interface import PeerState
from node.records.repair import Copies, Repair

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(core: Core, repair: Repair | None = None) -> str:
    """All metrics of the node."""
    return "".join(f"{line}\n" for line in _lines(core, repair))


def _lines(core: Core, repair: Repair | None) -> Iterator[str]:
    machine = core.driver.machine
    copies = Copies() if repair is None else repair.known
    head = core.head()
    peers = core.ground.network.peers()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    gauges: list[tuple[str, str, float]] = [
        ("height", "Height of the final head.", head.height),
        ("epoch", "Epoch that the next block belongs to.", core.standing.authorities.epoch),
        ("authorities", "Authorities of that epoch.", len(core.standing.authorities.members)),
        ("head_timestamp_seconds", "Ledger time of the final head.", head.timestamp / 1_000),
        ("view", "Consensus view that this node is in.", machine.view),
        ("voting", "1 if this node votes.", int(machine.me is not None and core.driver.halted is None)),
        ("pending_transactions", "Transactions in the pool.", len(core.pool)),
        ("pending_bytes", "Memory that the pool takes.", core.pool.bytes_used),
        ("outbox_transactions", "Own transactions that are not final.", core.submission.pending),
        ("behind_blocks", "Final blocks still to be fetched.", core.sync.blocks_behind),
        ("peers_connected", "Connected peers.", sum(1 for peer in peers if peer.state is PeerState.CONNECTED)),
        ("copies_lacking_records", "Own records with fewer holders than wanted.", copies.lacking),
        ("held_records", "Records held for other institutions, each with a share of its key.", copies.held),
        ("resident_bytes_max", "Greatest resident memory so far.", usage.ru_maxrss * 1_024),
    ]
    counters: list[tuple[str, str, float]] = [
        ("blocks_final_total", "Blocks that became final since the start.", core.blocks_final),
        ("transactions_final_total", "Transactions that became final since the start.", core.transactions_final),
        ("own_final_total", "Own transactions that became final since the start.", core.submission.latencies.count),
        ("gossip_received_total", "Transactions received from peers.", core.gossip.received),
        ("gossip_refused_total", "Transactions of peers that were refused.", core.gossip.refused),
        ("gossip_dropped_total", "Transactions of peers given up for want of room.", core.gossip.dropped),
        ("pool_refused_total", "Transactions that found the pool full.", core.pool.refused),
        ("equivocations_total", "Authorities seen to contradict themselves.", len(core.driver.evidence)),
        ("cpu_seconds_total", "Processor time used.", usage.ru_utime + usage.ru_stime),
    ]
    for name, help_, value in gauges:
        yield from _metric(name, help_, "gauge", [("", value)])
    for name, help_, value in counters:
        yield from _metric(name, help_, "counter", [("", value)])
    for name, help_, times in (
        ("finality_ms", "From first sight of a block to its being durable, recent blocks.", core.finality_times),
        ("submission_ms", "From submission to final, recent own transactions.", core.submission.latencies),
    ):
        quantiles = [(f'{{quantile="{share}"}}', times.percentile(share)) for share in (0.5, 0.99)]
        yield from _metric(name, help_, "gauge", [(label, value) for label, value in quantiles if value is not None])
    for name, help_, attribute in (
        ("peer_bytes_in_total", "Bytes received from a peer.", "bytes_in"),
        ("peer_bytes_out_total", "Bytes sent to a peer.", "bytes_out"),
        ("peer_dropped_total", "Messages given up because the peer was too slow.", "dropped"),
    ):
        rows = [(f'{{institution="{peer.institution}"}}', float(getattr(peer, attribute))) for peer in peers]
        yield from _metric(name, help_, "counter", rows)
    refused = [(f'{{institution="{number}"}}', float(count)) for number, count in sorted(core.refused_of.items())]
    yield from _metric("refused_total", "Invalid transactions by the institution that signed them.", "counter", refused)
    yield from _emergencies(core)
    offsets = [(peer.institution, peer.clock_offset_ms) for peer in peers if peer.clock_offset_ms is not None]
    rows = [(f'{{institution="{number}"}}', offset / 1_000) for number, offset in offsets]
    yield from _metric("peer_clock_offset_seconds", "How far a peer's clock is ahead of this one.", "gauge", rows)


def _emergencies(core: Core) -> Iterator[str]:
    """What each institution did in emergencies, as the ledger counts it, and owes."""
    counted = emergencies.counts(core.standing.emergencies, max(core.now_ms(), core.head().timestamp))
    for name, help_, kind in (
        ("opened", "Emergencies in which an institution read.", "counter"),
        ("unreviewed", "Emergencies of an institution that wait for a review.", "gauge"),
        ("overdue", "Emergencies of an institution whose review is overdue.", "gauge"),
        ("late", "Emergencies of an institution that were reviewed late.", "counter"),
        ("unjustified", "Emergencies of an institution that a review found no justification for.", "counter"),
    ):
        rows = [(f'{{institution="{one.institution}"}}', float(getattr(one, name))) for one in counted]
        suffix = "_total" if kind == "counter" else ""
        yield from _metric(f"emergencies_{name}{suffix}", help_, kind, rows)


def _metric(name: str, help_: str, kind: str, rows: list[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP chartledger_{name} {help_}"
    yield f"# TYPE chartledger_{name} {kind}"
    for labels, value in rows:
        yield f"chartledger_{name}{labels} {value:g}" if value < 1e6 else f"chartledger_{name}{labels} {value:.3f}"
