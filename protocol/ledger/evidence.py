"""Evidence: two votes by which an authority convicts itself. They stand on the ledger for good and cost it its seat."""

from __future__ import annotations

from typing import Final

from protocol import limits
from protocol.codec.canonical import encode
from protocol.crypto.signing import vote_message
from protocol.errors import AlreadyReported, BadEvidence
from protocol.ledger import cosigning, keys, seats
from protocol.ledger.leaves import EvidenceLeaf
from protocol.ledger.rules import Call, Family, OperationReceipt, Rule
from protocol.ledger.view import ReadSet
from protocol.ledger.working import Working
from protocol.types.governance import ReportEquivocation
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, VoteSubject

_ONCE_A_VIEW: Final = (NOTARIZE, FINALIZE)
_EITHER: Final = {NULLIFY, FINALIZE}


def contradicts(first: VoteSubject, second: VoteSubject) -> bool:
    """Whether no honest authority signs both: two notarizes or two finalizes of one view that differ, or a nullify
    and a finalize of it. Notarizing a view and nullifying it is honest."""
    if (first.chain, first.epoch, first.view) != (second.chain, second.epoch, second.view):
        return False
    if first.kind == second.kind:
        return first.kind in _ONCE_A_VIEW and first != second
    return {first.kind, second.kind} == _EITHER


def _reads(operation: ReportEquivocation, call: Call, read: ReadSet) -> None:
    epoch = operation.first.subject.epoch
    read.keys.add(keys.authorities(epoch))
    read.keys.add(keys.evidence(epoch, operation.first.index))


def _report(working: Working, operation: ReportEquivocation, call: Call) -> OperationReceipt:
    """The seat is lost only to what was done in the stretch of authority that it belongs to: whom a quorum took in
    again, knowing or not, is not thrown out by what is older. The last authority keeps its seat."""
    cosigning.none_needed(call)
    first, second = operation.first, operation.second
    if first.index != second.index or encode(first) >= encode(second):
        raise BadEvidence("the two votes are not of one authority, in ascending order")
    if first.subject.chain != working.chain:
        raise BadEvidence("the votes are of another chain")
    if not contradicts(first.subject, second.subject):
        raise BadEvidence("an honest authority may sign both")
    epoch = first.subject.epoch
    convicted = _seat(working, epoch, first.index)
    for vote in (first, second):
        if not working.check_cosignature(convicted.vote_key, vote_message(vote.subject), vote.signature):
            raise BadEvidence(f"a vote is not signed with the vote key of authority {first.index} of epoch {epoch}")
    key = keys.evidence(epoch, first.index)
    if working.get(key, EvidenceLeaf) is not None:
        raise AlreadyReported(f"authority {first.index} of epoch {epoch} is convicted already")
    working.put(key, EvidenceLeaf(convicted.institution, call.institution, working.height, first, second))
    following = seats.upcoming(working)
    seat = following.seat(convicted.institution)
    if seat is not None and seat.since <= epoch and len(following.members) > 1:
        seats.take(working, convicted.institution)
    return OperationReceipt(None)


def _seat(working: Working, epoch: int, index: int) -> Authority:
    authorities = working.get(keys.authorities(epoch), AuthoritySet) if epoch <= working.epoch else None
    if authorities is None:
        raise BadEvidence(f"epoch {epoch} has not begun")
    if index >= len(authorities.members):
        raise BadEvidence(f"epoch {epoch} has no authority {index}")
    return authorities.members[index]


def _cost(operation: ReportEquivocation) -> int:
    return limits.EVIDENCE_COST


RULES: Final[dict[type, Rule]] = {ReportEquivocation: Rule(Family.INSTITUTION, _reads, _report, _cost)}
