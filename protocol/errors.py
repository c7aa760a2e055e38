"""Every way in which input can be refused, by name.

An error carries one sentence that says what is wrong; `code` is stable, travels in problem+json `type`, in exit
reports and in tests. No error ever carries record content, key material or a label.
"""

from __future__ import annotations


class ChartledgerError(Exception):
    """Root of all named errors. `code` is the stable kebab-case name, derived from the class name."""

    code: str = "chartledger-error"
    advice: str = "See docs/operators.md."

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            name = cls.__name__
            cls.code = "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")

    def __init__(self, sentence: str = "", *, advice: str | None = None) -> None:
        super().__init__(sentence or (self.__doc__ or self.code).strip().splitlines()[0])
        if advice is not None:
            self.advice = advice


# --- codec ---------------------------------------------------------------------------------------------------


class DecodeError(ChartledgerError):
    """The bytes are not a message of the expected type."""

    advice = "Encode with MessagePack arrays as docs/spec/encoding.md says."


class NonCanonical(DecodeError):
    """The bytes decode, but are not the one encoding that this value has."""


class Oversize(DecodeError):
    """The message is larger than its limit."""

    advice = "Split it: limits are in docs/spec/limits.md."


# --- crypto --------------------------------------------------------------------------------------------------


class CryptoError(ChartledgerError):
    """A cryptographic check failed."""


class BadSignature(CryptoError):
    """The signature does not verify under the key that it names."""

    advice = "Sign the canonical bytes with the key that stands on the ledger, for this chain."


class SealBroken(CryptoError):
    """A sealed thing does not open: wrong key, truncated or altered."""


class BadShares(CryptoError):
    """These key shares do not give a key: too few, or not of one split."""

    advice = "Ask more of the record's holders: docs/spec/records.md says how many must agree."


class CommitmentMismatch(CryptoError):
    """What was opened is not what was committed."""


class UnknownSuite(CryptoError):
    """The suite number is not one that this version knows."""


class BadPublicKey(CryptoError):
    """The bytes are no usable public key of their suite."""

    advice = "Send the public key as docs/spec/cryptography.md says, for the suite that stands beside it."


class WrongPassphrase(CryptoError):
    """The key file does not open: the passphrase is wrong, or the file was altered."""

    advice = "Try the passphrase again; if it is right, restore the file from a backup."


class BadWords(CryptoError):
    """The backup words are not a valid BIP39 phrase of 24 English words."""

    advice = "Check each word against the English BIP39 list and their order; the last word is a checksum."


# --- transactions: why one is refused ------------------------------------------------------------------------


class InvalidTransaction(ChartledgerError):
    """The transaction is not valid on this state, and none of it applies."""

    advice = "Correct the transaction, sign it anew and submit it again."


class ForeignChain(InvalidTransaction):
    """The transaction was signed for another chain."""

    advice = "Check which network's genesis file the client was given."


class Expired(InvalidTransaction):
    """valid_until (ledger time) has passed."""

    advice = "It can never become final: sign it anew with a later valid_until."


class ValidTooLong(InvalidTransaction):
    """valid_until lies further ahead than the parameters allow."""


class Replayed(InvalidTransaction):
    """This number was used before, or lies below the anti-replay window."""

    advice = "Numbers are used once: take a number above the highest one used."


class NumberTooFar(InvalidTransaction):
    """The number lies further above the highest one used than the window allows."""


class UnknownInstitution(InvalidTransaction):
    """No institution has this number."""


class NotAccredited(InvalidTransaction):
    """The institution may not submit: it is not accredited, or suspended."""


class UnknownKey(InvalidTransaction):
    """The institution has no operations key at this index."""


class WrongKey(InvalidTransaction):
    """The signature does not verify under the operations key that stands on the ledger at this index."""

    advice = "Sign with the key that is in force; it may have been rotated."


class Unauthorised(InvalidTransaction):
    """The signer may not do this."""


class MissingCosignature(Unauthorised):
    """The operation needs a co-signature that it does not carry."""


class BadCosignature(InvalidTransaction):
    """A co-signature does not verify under the key that stands on the ledger."""

    advice = "Sign the operation's digest with the key that stands on the ledger, for this chain, role and number."


class CosignatureExpired(InvalidTransaction):
    """A co-signature's expiry (ledger time) has passed."""

    advice = "Ask whoever signed it (owner, delegate, guardians) to sign again."


class CosignatureTooLong(InvalidTransaction):
    """A co-signature expires further ahead than the parameters allow: who kept it could use it long after."""

    advice = (
        "Sign it anew, to expire within cosign_ms (guardians: guardian_cosign_ms) of ledger time; if it was meant to, "
        "set the signer's clock."
    )


class MixedTransaction(InvalidTransaction):
    """Owners' operations ride in transactions of their own, not together with an institution's."""


class TooCostly(InvalidTransaction):
    """The transaction's operations cost more than one transaction may."""

    advice = "Split it: fewer operations, or fewer records to one disclosure."


class UnknownChart(InvalidTransaction):
    """No chart has this number."""


class ChartExists(InvalidTransaction):
    """This owner key already opened a chart."""


class ChartFull(InvalidTransaction):
    """The chart has as many events as a chart may have."""

    advice = "Open another chart for this patient; what stands in this one stays, and grants on it can be revoked."


class UnknownGrant(InvalidTransaction):
    """The chart has no grant of this number."""


class UnknownRecord(InvalidTransaction):
    """The chart has no record at this event number."""


class UnknownPurpose(InvalidTransaction):
    """The purpose is not a code of HL7 v3 PurposeOfUse."""


class BadTerms(InvalidTransaction):
    """The terms (a grant's, a motion's, the parameters') contradict themselves or are out of bounds."""


class NotAscending(InvalidTransaction):
    """A list that stands for a set is not strictly ascending."""


class TooManyGrants(InvalidTransaction):
    """The chart has had as many grants as it may, those that ended counted."""

    advice = "Revoking frees none, since none is ever forgotten: open another chart for this patient."


class DenialCapReached(InvalidTransaction):
    """This institution was denied on this chart as often today as the parameters allow."""

    advice = "Ask the patient for a grant; the cap is per asker, chart and day of ledger time."


class NotAnAuthority(InvalidTransaction):
    """Only an authority of this epoch may do this."""

    advice = "GET /v1/institutions says who has authority; ask one of them to move or vote."


class UnknownMotion(InvalidTransaction):
    """There is no motion of this number."""

    advice = "`chartledger motion list --all` lists them."


class MotionClosed(InvalidTransaction):
    """The motion was decided, or has expired (ledger time)."""

    advice = "See `chartledger motion show`; move it again if it is still wanted."


class OtherMotion(InvalidTransaction):
    """The ballot names a change that is not the motion's."""

    advice = "Look at the motion again, and vote for the change that it names."


class AlreadyVoted(InvalidTransaction):
    """This institution has voted on this motion."""

    advice = "A vote cannot be taken back; moving a motion is a vote for it."


class TooManyMotions(InvalidTransaction):
    """As many motions are open as may be."""

    advice = "Wait until some are decided or expire."


class Contradicted(InvalidTransaction):
    """What the motion wants contradicts how things stand, perhaps by a motion that passed before."""

    advice = "Look at how things stand with `chartledger motion list --all`; what is still wanted, move anew."


class LastAuthority(InvalidTransaction):
    """This would leave the chain without an authority."""

    advice = "Give authority to another institution first."


class SetFull(InvalidTransaction):
    """There are as many institutions, or authorities, as there may be."""

    advice = "Take authority from another institution first; docs/spec/limits.md says how many there may be."


class BadPossession(InvalidTransaction):
    """A key's proof of possession does not verify."""

    advice = "Sign chain, institution name, use and public key with the very key that is to be used."


class Claimed(InvalidTransaction):
    """A name, key or certificate is, or was, in use on this chain."""

    advice = "Make a fresh one: none is ever used twice."


class RotatedTooSoon(InvalidTransaction):
    """The vote key was changed a short while ago."""

    advice = "Wait for as long as the parameter rotation_rest_ms says."


class BadEvidence(InvalidTransaction):
    """The two votes do not show that an authority contradicted itself."""

    advice = "Report two votes of one authority, epoch and view that contradict each other, each with its signature."


class AlreadyReported(InvalidTransaction):
    """Evidence against this authority of this epoch stands on the ledger."""

    advice = "Nothing is left to do: GET /v1/evidence shows it."


class UnknownOperation(InvalidTransaction):
    """The operation is of a kind that this version does not know."""


# --- blocks and consensus ------------------------------------------------------------------------------------


class InvalidBlock(ChartledgerError):
    """The block breaks a rule for good: no honest authority votes for it."""


class BadCertificate(ChartledgerError):
    """The certificate does not prove what it says."""


class BadVote(ChartledgerError):
    """The vote is malformed, or not signed by the authority that it names."""


class JournalBroken(ChartledgerError):
    """The journal cannot be trusted: this node must not vote."""


# --- proofs --------------------------------------------------------------------------------------------------


class BadProof(ChartledgerError):
    """The proof does not show what it claims."""


class ForkShown(BadProof):
    """Two final blocks contradict each other: more than a third of the authorities conspired."""

    advice = "Keep both files, they are the evidence, and show them to every institution; docs/auditors.md says how."


class TooManyEpochs(BadProof):
    """More epochs lie in between than one proof may carry."""

    advice = "Take a checkpoint with `chartledger checkpoint`, and ask for the proof from there."


class GenesisInvalid(ChartledgerError):
    """The genesis contradicts itself: no chain can start from it."""


class GenesisMismatch(ChartledgerError):
    """The genesis file is not the one that this chain started from."""

    advice = "Get that chain's genesis file, and compare its chain id with one that you got by another way."


# --- the daemon's face ---------------------------------------------------------------------------------------


class Busy(ChartledgerError):
    """The node holds as much waiting work as it may."""

    advice = "Nothing was taken: wait a moment and send the same request again."
