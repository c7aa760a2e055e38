"""What the ledger has against operations on charts, by name: consent, recovery, emergencies, erasure.

As `protocol.errors`, of which this is the patients' part.
"""

from __future__ import annotations

from protocol.errors import BadTerms, InvalidTransaction, Unauthorised


class OwnerFrozen(Unauthorised):
    """The owner's key is said to be stolen, and a recovery waits: until then it can only withdraw."""

    advice = "Wait until the recovery is complete, or have the guardians cancel it."


class Overtaken(InvalidTransaction):
    """The owner signed something later that took its place."""

    advice = "Look at what stands; if this one is still wanted, sign it anew."


class CustodianRemains(Unauthorised):
    """The chart's custodian is another than is said, or was not removed from the consortium."""

    advice = "A chart moves only when its custodian was removed for good; GET /v1/charts/{chart} says which that is."


class UnknownDelegate(InvalidTransaction):
    """The chart has no delegate of this number."""


class DelegateNotInForce(Unauthorised):
    """The delegate may not act for the owner now: it was ended, its time has not come or is over."""

    advice = "Ask the owner to name the delegate anew."


class BeyondBounds(Unauthorised):
    """The owner did not let this delegate do this."""

    advice = "Stay within what the owner allowed: acts, tags, purposes and end."


class TooManyDelegates(InvalidTransaction):
    """The chart has had as many delegates as it may, those that ended counted."""

    advice = "Ending one frees no place: open another chart for this patient."


class WriteNotGranted(Unauthorised):
    """No grant in force lets this institution write these records to this chart."""

    advice = "Ask the patient for a grant that permits writing, and name it."


class WrongChange(InvalidTransaction):
    """The change that this names is not the one that would be next, or waits."""

    advice = "Ask for the chart's state again: another change was begun, cancelled or completed meanwhile."


class ChangePending(InvalidTransaction):
    """Another change of this chart waits."""

    advice = "Complete or cancel it first."


class NoGuardians(InvalidTransaction):
    """The chart has no guardians."""


class TooFewGuardians(Unauthorised):
    """Fewer guardians co-signed than the chart wants."""

    advice = "Have more of the guardians sign the same operation."


class VetoOverruled(Unauthorised):
    """The custodian and the guardians say that the owner's key is stolen: it cannot stop this recovery."""

    advice = "If it is not so, the guardians can cancel the recovery."


class TooEarly(InvalidTransaction):
    """The waiting time is not over."""

    advice = "Wait: the chart's state says when the change is ready."


class UnknownEmergency(InvalidTransaction):
    """No emergency of this institution has this event number on this chart, or it was denied."""


class ForbiddenMeanwhile(Unauthorised):
    """The owner forbids by now what this emergency asks for."""

    advice = "Nothing is released by it: ask the patient, or whoever acts for them, for a permission."


class NotWaiting(InvalidTransaction):
    """The emergency does not wait for a second institution."""


class AlreadyReviewed(InvalidTransaction):
    """The emergency was reviewed."""


class TooManyUnreviewed(InvalidTransaction):
    """The institution has as many emergencies without review as it may."""

    advice = "Have other institutions review some of them first."


class AlreadyErased(InvalidTransaction):
    """A record that this names was erased."""


class OnHold(InvalidTransaction):
    """A legal hold keeps one of these records from being erased."""

    advice = "Erase it once the custodian has released the hold."


class HolderMissing(BadTerms):
    """Not all who store these records are named."""

    advice = "Name every institution that the records' events name, and any that was added since."


class UnknownErasure(InvalidTransaction):
    """No erasure has this event number on this chart."""


class NothingOwed(Unauthorised):
    """This institution owes no receipt for this erasure."""


class AlreadyAcknowledged(InvalidTransaction):
    """This institution has given its receipt for this erasure."""


class UnknownHold(InvalidTransaction):
    """No hold in force has this event number on this chart."""


class TooManyHolds(InvalidTransaction):
    """The chart has as many holds in force as it may."""
