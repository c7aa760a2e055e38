"""The naive rules of co-signatures (docs/spec/operations.md)."""

from __future__ import annotations

from node.simulation.oracles.naive.state import Chart, DelegateOf, Numbers, State, require
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import cosignature_message
from protocol.types.operations import ROLE_DELEGATE, ROLE_GUARDIAN, ROLE_OWNER, Cosignature, SignedOperation


def nobody(signed: SignedOperation) -> None:
    """No co-signature stands beside the operation."""
    require(not signed.cosignatures, "the operation takes no co-signature")


def owner(state: State, signed: SignedOperation, owner_key: bytes, numbers: Numbers) -> None:
    """Exactly the owner's stands beside it, and its number is used up."""
    given = _only(signed)
    require(given.role == ROLE_OWNER and given.actor == 0, "the co-signature is not the owner's")
    _good(state, signed, given, owner_key)
    numbers.use(given.number)


def delegate(state: State, signed: SignedOperation, held: Chart) -> tuple[int, DelegateOf]:
    """Exactly one delegate's stands beside it, in force or not; its number is used up."""
    given = _only(signed)
    require(given.role == ROLE_DELEGATE and given.actor < len(held.delegates), "the co-signature is no delegate's")
    who = held.delegates[given.actor]
    _good(state, signed, given, who.terms.key)
    who.numbers.use(given.number)
    return given.actor, who


def by_delegate(signed: SignedOperation) -> bool:
    """Whether a delegate claims to have signed."""
    return bool(signed.cosignatures) and signed.cosignatures[0].role == ROLE_DELEGATE


def by_guardians(signed: SignedOperation) -> bool:
    """Whether guardians claim to have signed."""
    return bool(signed.cosignatures) and signed.cosignatures[0].role == ROLE_GUARDIAN


def guardians(state: State, signed: SignedOperation, held: Chart) -> None:
    """Enough guardians' stand beside it, and nobody else's."""
    who = held.guardians
    require(who is not None, "the chart has no guardians")
    assert who is not None
    places = [given.actor for given in signed.cosignatures]
    require(places == sorted(set(places)) and len(places) >= who.threshold, "too few guardians signed")
    for given in signed.cosignatures:
        known = given.role == ROLE_GUARDIAN and given.actor < len(who.keys) and given.number == 0
        require(known, "a co-signature is no guardian's")
        _good(state, signed, given, who.keys[given.actor])


def _only(signed: SignedOperation) -> Cosignature:
    require(len(signed.cosignatures) == 1, "the operation needs one co-signature and no other")
    return signed.cosignatures[0]


def _good(state: State, signed: SignedOperation, given: Cosignature, key: bytes) -> None:
    require(state.timestamp <= given.expires_at, "a co-signature has expired")
    longest = state.params.guardian_cosign_ms if given.role == ROLE_GUARDIAN else state.params.cosign_ms
    require(given.expires_at <= state.timestamp + longest, "a co-signature counts for too long")
    named = operation_digest(signed.operation)
    message = cosignature_message(state.chain, named, given.role, given.actor, given.number, given.expires_at)
    require(state.verify(key, message, given.signature), "a co-signature does not verify")
