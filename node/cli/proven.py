"""Fetches what an owner signs over from a node, with proof, and checks it by the chain's id that the wallet keeps."""

from __future__ import annotations

from node.cli.client import Document, Session
from node.wallet import proven
from node.wallet.proven import NodeContradicted
from protocol import limits
from protocol.codec.canonical import decode
from protocol.crypto.hashing import chain_id
from protocol.errors import DecodeError
from protocol.ledger.leaves import Chart
from protocol.proofs import bundle, final, grant, history
from protocol.proofs.final import Finality
from protocol.proofs.grant import GrantProof
from protocol.proofs.history import HistoryProof
from protocol.proofs.light import Checkpoint
from protocol.types.institutions import Genesis


def proven_control(session: Session, chain: bytes, chart: int, *, whole: bool) -> Document:
    """Who controls a chart, as the node tells and its proof bears out. `whole`: grants, delegates and policy too, which
    takes the chart's whole history. Raises `NodeContradicted`, or as `protocol.proofs.bundle.check`."""
    told = session.control(chart)
    genesis = _genesis(session, chain)
    near = _near_the_head(session, genesis)
    if not whole:
        # A grant's proof, whether there is one or not, shows the chart's leaf beside it and needs none of its events.
        proof = bundle.read_as(GrantProof, session.grant_proof(chart, 0, near.header.epoch))
        shown = grant.check(proof, genesis=genesis, checkpoint=near)
        _check_asked(shown.chart, chart, shown.final, near)
        return proven.shown(told, decode(Chart, proof.leaf), None, session.ledger_now())
    claims = []
    at, total = 0, 1
    while at < total:
        read = bundle.read_as(HistoryProof, session.history_proof(chart, at, near.header.epoch))
        claims.append(history.check(read, genesis=genesis, checkpoint=near))
        _check_asked(claims[-1].chart, chart, claims[-1].final, near)
        at, total = claims[-1].end, claims[-1].total
    leaf, stood = proven.whole(claims)
    return proven.shown(told, leaf, stood, session.ledger_now())


def _genesis(session: Session, chain: bytes) -> Genesis:
    """The genesis of the chain that the wallet's chart is on, whoever tells it: its digest is the chain's id."""
    try:
        genesis = decode(Genesis, session.genesis())
    except DecodeError:
        raise NodeContradicted("the node gives out what is no genesis") from None
    if chain_id(genesis) != chain:
        raise NodeContradicted("the node gives out the genesis of another chain than the chart's")
    return genesis


def _near_the_head(session: Session, genesis: Genesis) -> Checkpoint:
    """The head, or what is near it, however many epochs lie between it and the genesis."""
    shown = final.check(bundle.read_final(session.final_proof()), genesis=genesis)
    while len(shown.ends) == limits.HOPS_PER_PROOF:
        proof = bundle.read_final(session.final_proof(shown.header.epoch))
        shown = final.check(proof, genesis=genesis, checkpoint=shown.checkpoint)
    return shown.checkpoint


def _check_asked(shown: int, asked: int, at: Finality, near: Checkpoint) -> None:
    if shown != asked:
        raise NodeContradicted(f"the node shows chart {shown}, and was asked for chart {asked}")
    if at.header.height < near.header.height:
        raise NodeContradicted(f"the node shows how chart {asked} stood before the last block that it showed")
