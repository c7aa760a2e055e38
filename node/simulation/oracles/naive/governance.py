"""The naive rules of motions, ballots, key rotation and evidence (docs/spec/operations.md).

Whether a set changed by rights is derived here from the transactions alone.
"""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace

from node.simulation.oracles.naive.state import Invalid, MotionOf, State, require
from protocol.codec.canonical import encode
from protocol.crypto.signing import application_message, possession_message, vote_message
from protocol.errors import BadTerms
from protocol.params import Params
from protocol.types.governance import (
    Accredit,
    AddNetworkCertificate,
    Application,
    Ballot,
    Change,
    GiveAuthority,
    Motion,
    Reinstate,
    Remove,
    ReplaceKeys,
    ReportEquivocation,
    RetireNetworkCertificate,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetEncryptionKey,
    SetOperationsKey,
    SetParameters,
    SetVoteKey,
    Suspend,
    TakeAuthority,
)
from protocol.types.institutions import (
    RETIRED_KEY,
    STATUS_ACCREDITED,
    STATUS_REMOVED,
    STATUS_SUSPENDED,
    Authority,
    AuthoritySet,
    Institution,
)
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Vote

Claims = set[tuple[str, bytes]]


def quorum_of(members: int) -> int:
    """docs/spec/consensus.md: n less the third, rounded down, of n - 1."""
    return members - (members - 1) // 3


# --- motions and ballots ---------------------------------------------------------------------------------------


def move(state: State, operation: Motion, carrier: int) -> None:
    """A motion is the mover's vote in favour."""
    require(carrier in _voters(state), f"institution {carrier} moved without authority")
    ahead = operation.expires_at - state.timestamp
    require(0 < ahead <= state.params.motion_ms, "a motion expires at a time that is not allowed")
    if isinstance(operation.change, Accredit | ReplaceKeys):
        _possessed(state, operation.change.application)
    _possible(state, operation.change)
    seated = {member.institution for member in state.sets[state.epoch].members}
    open_ones = [m for m in state.motions if m.proposer == carrier and not m.decided and m.proposer in seated]
    require(sum(m.expires_at >= state.timestamp for m in open_ones) < 8, "an institution has too many open motions")
    state.motions.append(MotionOf(carrier, operation.change, operation.expires_at, {(carrier, state.epoch)}))
    _count(state, state.motions[-1])


def ballot(state: State, operation: Ballot, carrier: int) -> None:
    """One vote an institution, on a motion that is open."""
    require(operation.motion < len(state.motions), f"there is no motion {operation.motion}")
    motion = state.motions[operation.motion]
    require(motion.change == operation.change, "a ballot names another change than its motion")
    require(carrier in _voters(state), f"institution {carrier} voted without authority")
    require(not motion.decided, "a ballot on a motion that is decided")
    require(state.timestamp <= motion.expires_at, "a ballot on a motion that has expired")
    voted = _counting(state, motion.favour) | _counting(state, motion.against)
    require(carrier not in voted, f"institution {carrier} voted twice on motion {operation.motion}")
    (motion.favour if operation.favour else motion.against).add((carrier, state.epoch))
    _count(state, motion)


def _voters(state: State) -> dict[int, Authority]:
    """This epoch's authorities that are not already to lose their seats by this very block."""
    staying = {member.institution for member in state.members()}
    return {m.institution: m for m in state.sets[state.epoch].members if m.institution in staying}


def _counting(state: State, casts: set[tuple[int, int]]) -> set[int]:
    """Whose votes count today: those cast since the voter has had, without a break, the authority it has."""
    voters = _voters(state)
    return {one for one, epoch in casts if one in voters and voters[one].since <= epoch}


def _count(state: State, motion: MotionOf) -> None:
    members = len(state.sets[state.epoch].members)
    if len(_counting(state, motion.favour)) >= quorum_of(members):
        _possible(state, motion.change)
        motion.decided = "passed"
        _do(state, motion.change)
    elif members - len(_counting(state, motion.against)) < quorum_of(members):
        motion.decided = "lost"


# --- what a motion does ----------------------------------------------------------------------------------------


def _possible(state: State, change: Change) -> None:
    """Raise unless the change makes sense now."""
    if isinstance(change, Accredit):
        applicant = change.application.institution
        _unclaimed(state, _claims(applicant) | {("name", applicant.name.encode())})
        return
    if isinstance(change, SetParameters):
        before = state.params_next or state.params
        require(_parameters(state, change) != before, "a motion sets parameters to what they are")
        return
    found = state.institution(change.institution)
    seated = any(member.institution == change.institution for member in state.members())
    only = seated and len(state.members()) == 1
    allowed = {
        Suspend: found.status == STATUS_ACCREDITED and not only,
        Reinstate: found.status == STATUS_SUSPENDED,
        Remove: found.status != STATUS_REMOVED and not only,
        GiveAuthority: found.status == STATUS_ACCREDITED and not seated and len(state.members()) < 256,
        TakeAuthority: seated and not only,
        ReplaceKeys: found.status != STATUS_REMOVED,
    }
    require(allowed[type(change)], f"{type(change).__name__} of institution {change.institution} is impossible")
    if isinstance(change, ReplaceKeys):
        applied = change.application.institution
        require(applied.name == found.name, "keys are replaced by another institution's application")
        _unclaimed(state, _claims(applied) - _claims(found))


def _do(state: State, change: Change) -> None:
    if isinstance(change, Accredit):
        applicant = change.application.institution
        state.claims |= _claims(applicant) | {("name", applicant.name.encode())}
        state.institutions.append(replace(applicant, vote_key_at=state.timestamp))
    elif isinstance(change, SetParameters):
        state.params_next = _parameters(state, change)
        state.seat(list(state.members()))
    else:
        number = change.institution
        found = state.institutions[number]
        if isinstance(change, Suspend | Remove):
            status = STATUS_SUSPENDED if isinstance(change, Suspend) else STATUS_REMOVED
            state.institutions[number] = replace(found, status=status)
            state.barred.add(number)
            _unseat(state, number)
        elif isinstance(change, Reinstate):
            state.institutions[number] = replace(found, status=STATUS_ACCREDITED)
        elif isinstance(change, TakeAuthority):
            _unseat(state, number)
        elif isinstance(change, GiveAuthority):
            _seat(state, number, found.vote_key)
        else:
            _rekey(state, number, change.application.institution)


def _unseat(state: State, number: int) -> None:
    if any(member.institution == number for member in state.members()):
        state.seat([member for member in state.members() if member.institution != number])


def _seat(state: State, number: int, vote_key: bytes) -> None:
    """`since` goes on for whoever has a seat in this epoch."""
    before = [member.since for member in state.sets[state.epoch].members if member.institution == number]
    since = before[0] if before else state.epoch + 1
    state.seat([*state.members(), Authority(number, vote_key, since)])


def _rekey(state: State, number: int, applied: Institution) -> None:
    found = state.institutions[number]
    state.claims |= _claims(applied)
    changed = applied.vote_key != found.vote_key
    at = state.timestamp if changed else found.vote_key_at
    state.institutions[number] = replace(applied, status=found.status, vote_key_at=at)
    if changed:
        _new_vote_key(state, number, applied.vote_key)


def _new_vote_key(state: State, number: int, vote_key: bytes) -> None:
    if any(member.institution == number for member in state.members()):
        state.seat([replace(m, vote_key=vote_key) if m.institution == number else m for m in state.members()])


def _parameters(state: State, change: SetParameters) -> Params:
    names = [parameter.name for parameter in change.parameters]
    require(all(a < b for a, b in pairwise(names)), "parameters do not ascend")
    require(set(names) <= set(Params.__struct_fields__), "a motion names a parameter that there is not")
    before = state.params_next or state.params
    after = replace(before, **{parameter.name: parameter.value for parameter in change.parameters})
    try:
        after.check()
    except BadTerms as error:
        raise Invalid(f"parameters out of bounds: {error}") from None
    return after


# --- claims and possession -------------------------------------------------------------------------------------


def _claims(institution: Institution) -> Claims:
    signing = {("signing", key) for key in (*institution.operation_keys, institution.vote_key) if key != RETIRED_KEY}
    certificates = {("certificate", der) for der in institution.network_certificates}
    return signing | certificates | {("encryption", institution.encryption_key)}


def _unclaimed(state: State, claims: Claims) -> None:
    require(not claims & state.claims, "a name, key or certificate is, or was, in use")


def _possessed(state: State, application: Application) -> None:
    """Each signing key of the application signed all of it."""
    institution = application.institution
    signing = (*institution.operation_keys, institution.vote_key)
    message = application_message(state.chain, institution)
    require(len(signing) == len(application.possessions), "an application lacks proofs of possession")
    proofs = zip(signing, application.possessions, strict=True)
    require(all(state.verify(k, message, s) for k, s in proofs), "a proof of possession does not verify")


# --- keys and evidence -----------------------------------------------------------------------------------------


def rotate(state: State, operation: RotateInstitutionKey, carrier: int) -> None:
    """An institution changes its own keys, one at a time."""
    change = operation.change
    found = state.institutions[carrier]
    if isinstance(change, SetOperationsKey | SetVoteKey):
        use = 1 if isinstance(change, SetOperationsKey) else 2
        message = possession_message(state.chain, found.name, use, change.key)
        require(state.verify(change.key, message, change.possession), "a proof of possession does not verify")
        _unclaimed(state, {("signing", change.key)})
        state.claims.add(("signing", change.key))
    keys = list(found.operation_keys)
    ders = list(found.network_certificates)
    if isinstance(change, SetOperationsKey):
        require(change.index <= len(keys) and change.index < 8, "an operations key at an index that there is not")
        keys[change.index : change.index + 1] = [change.key]
    elif isinstance(change, RetireOperationsKey):
        require(change.index < len(keys), "an operations key is retired that there is not")
        require(keys[change.index] != RETIRED_KEY, "an operations key is retired twice")
        keys[change.index] = RETIRED_KEY
        require(any(key != RETIRED_KEY for key in keys), "the last operations key is retired")
    elif isinstance(change, AddNetworkCertificate):
        _unclaimed(state, {("certificate", change.certificate)})
        state.claims.add(("certificate", change.certificate))
        ders.append(change.certificate)
        require(len(ders) <= 2, "a third network certificate")
    elif isinstance(change, RetireNetworkCertificate):
        require(change.index < len(ders) and len(ders) > 1, "a network certificate is retired that must stay")
        del ders[change.index]
    found = replace(found, operation_keys=tuple(keys), network_certificates=tuple(ders))
    if isinstance(change, SetEncryptionKey):
        _unclaimed(state, {("encryption", change.key)})
        state.claims.add(("encryption", change.key))
        found = replace(found, encryption_suite=change.suite, encryption_key=change.key)
    elif isinstance(change, SetVoteKey):
        rested = state.timestamp - found.vote_key_at >= state.params.rotation_rest_ms
        require(rested, "a vote key is changed too soon")
        found = replace(found, vote_key=change.key, vote_key_at=state.timestamp)
        _new_vote_key(state, carrier, change.key)
    state.institutions[carrier] = found


def report(state: State, operation: ReportEquivocation, carrier: int) -> None:
    """Two votes convict their author, if both are its own and no honest authority signs both."""
    first, second = operation.first, operation.second
    epoch, index = first.subject.epoch, first.index
    require(encode(first) < encode(second), "evidence is not in its one order")
    require(first.subject.chain == second.subject.chain == state.chain, "evidence of another chain")
    require(contradict(first, second), "evidence of what may stand together")
    require(epoch in state.sets and epoch <= state.epoch, "evidence of an epoch that has not begun")
    authorities: AuthoritySet = state.sets[epoch]
    require(index < len(authorities.members), "evidence against nobody")
    convicted = authorities.members[index]
    for vote in (first, second):
        signed = state.verify(convicted.vote_key, vote_message(vote.subject), vote.signature)
        require(signed, f"evidence that institution {convicted.institution} did not sign")
    require((epoch, index) not in state.convicted, "evidence against a convicted authority")
    state.convicted.add((epoch, index))
    seats = [m for m in state.members() if m.institution == convicted.institution and m.since <= epoch]
    if seats and len(state.members()) > 1:
        _unseat(state, convicted.institution)


def contradict(one: Vote, other: Vote) -> bool:
    """Whether one authority's two votes are equivocation: docs/spec/consensus.md, rule 8."""
    a, b = one.subject, other.subject
    if one.index != other.index or (a.chain, a.epoch, a.view) != (b.chain, b.epoch, b.view) or a == b:
        return False
    return (a.kind == b.kind and a.kind in (NOTARIZE, FINALIZE)) or {a.kind, b.kind} == {NULLIFY, FINALIZE}
