"""Ed25519 signatures, and the messages that are signed: one label per use.

A message is its label, one zero byte and canonical bytes. Labels name the use, so a signature given for one thing says
nothing about another; the chain stands inside the bytes. Which signatures count is what libsodium accepts: it refuses
a non-canonical S, a non-canonical or small-order public key and a small-order R, and checks the equation without the
cofactor (tests/vectors/crypto/ed25519.json). Relies on PyNaCl, whose calls release the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from protocol.codec.canonical import encode
from protocol.crypto.hashing import operation_digest
from protocol.types.base import U16, Digest, Name, Number, PublicKey, Tag, TimeMs, Wire
from protocol.types.governance import Application
from protocol.types.institutions import Institution
from protocol.types.operations import Cosignature, Operation, OwnerKeys
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import Vote, VoteSubject

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

TRANSACTION_LABEL = b"chartledger transaction v1\0"
COSIGNATURE_LABEL = b"chartledger cosignature v1\0"
VOTE_LABEL = b"chartledger vote v1\0"
POSSESSION_LABEL = b"chartledger possession v1\0"
OWNER_POSSESSION_LABEL = b"chartledger owner possession v1\0"
APPLICATION_LABEL = b"chartledger application v1\0"
READING_PASS_LABEL = b"chartledger reading pass v1\0"
WRITE_PERMIT_LABEL = b"chartledger write permit v1\0"

Verifier = Callable[[bytes, bytes, bytes], bool]
"""(public key, message, signature) -> whether it verifies. `verify`, or a caller's cache in front of it."""


class CosignatureSubject(Wire, frozen=True):
    """What an owner (or another co-signer, by role) signs: one operation, once, until a ledger time."""

    chain: Digest
    operation: Digest
    role: U16
    actor: Number
    number: Number
    expires_at: TimeMs


class OwnerPossessionSubject(Wire, frozen=True):
    """What a chart's next owner key signs: this chart, this change of it, these keys."""

    chain: Digest
    chart: Number
    change: Number
    keys: OwnerKeys


class ReadingPassSubject(Wire, frozen=True):
    """What a chart's owner signs to read it through an institution's node: this chart, that institution, whose key (its
    digest) things are to be sealed to, the least final height to judge by, and until when (ms)."""

    chain: Digest
    chart: Number
    institution: Number
    encryption_key: Digest
    height: Number
    expires_at: TimeMs


class WritePermitSubject(Wire, frozen=True):
    """What a chart's owner signs to let an institution write: under this grant, in this generation, to an owner whose
    envelope key has this digest, with these tags for these labels by position."""

    chain: Digest
    chart: Number
    grant: Number
    generation: Number
    encryption_key: Digest
    tags: tuple[tuple[tuple[str, Tag], ...], ...]


class PossessionSubject(Wire, frozen=True):
    """What a key signs so that an institution may claim it: copying another's public key is of no use."""

    chain: Digest
    institution: Name
    use: U16
    key: PublicKey


class ApplicationSubject(Wire, frozen=True):
    """What each signing key of an application signs: the whole of it, so that nobody can move it with other parts."""

    chain: Digest
    institution: Institution


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether libsodium accepts this 64-byte signature of `message` under the 32-byte key. Wrong lengths: False."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


class SigningKey:
    """An Ed25519 key from its 32-byte seed (RFC 8032). Never prints its secret; cannot be pickled or copied out."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("an Ed25519 seed is 32 bytes")
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not serialised")


def transaction_message(body: TransactionBody) -> bytes:
    """What the institution signs of a transaction."""
    return TRANSACTION_LABEL + encode(body)


def transaction_message_of(raw: bytes) -> bytes:
    """The same from a transaction's canonical bytes, which the caller has decoded: spares encoding the body again.

    A transaction is the array of its body and a 64-byte string, so the body lies between the first byte and the last
    66 (docs/spec/encoding.md).
    """
    return TRANSACTION_LABEL + raw[1 : -(2 + SIGNATURE_BYTES)]


def sign_transaction(key: SigningKey, body: TransactionBody) -> Transaction:
    """The transaction of this body, signed."""
    return Transaction(body, key.sign(transaction_message(body)))


def cosignature_message(chain: bytes, op_digest: bytes, role: int, actor: int, number: int, expires_at: int) -> bytes:
    """What a co-signer signs of an operation: `number` is used up in its anti-replay window, `expires_at` is ms."""
    return COSIGNATURE_LABEL + encode(CosignatureSubject(chain, op_digest, role, actor, number, expires_at))


def cosign(
    key: SigningKey, chain: bytes, operation: Operation, role: int, number: int, expires_at: int, *, actor: int = 0
) -> Cosignature:
    """A co-signature of `operation` on this chain; `actor` as in `Cosignature`."""
    message = cosignature_message(chain, operation_digest(operation), role, actor, number, expires_at)
    return Cosignature(role, actor, number, expires_at, key.sign(message))


def owner_possession_message(chain: bytes, chart: int, change: int, keys: OwnerKeys) -> bytes:
    """What a new owner key signs to show that whoever has it wants it for this chart, by this change."""
    return OWNER_POSSESSION_LABEL + encode(OwnerPossessionSubject(chain, chart, change, keys))


def reading_pass_message(subject: ReadingPassSubject) -> bytes:
    """What a chart's owner signs to read it."""
    return READING_PASS_LABEL + encode(subject)


def write_permit_message(subject: WritePermitSubject) -> bytes:
    """What a chart's owner signs to let an institution write."""
    return WRITE_PERMIT_LABEL + encode(subject)


def vote_message(subject: VoteSubject) -> bytes:
    """What an authority signs to vote."""
    return VOTE_LABEL + encode(subject)


def sign_vote(key: SigningKey, subject: VoteSubject, index: int) -> Vote:
    """The vote of the authority with this index in the epoch's set."""
    return Vote(subject, index, key.sign(vote_message(subject)))


def possession_message(chain: bytes, institution: str, use: int, public: bytes) -> bytes:
    """What a key that an institution rotates to signs: that the institution of this name uses it for this
    (`governance.USE_*`) on this chain."""
    return POSSESSION_LABEL + encode(PossessionSubject(chain, institution, use, public))


def application_message(chain: bytes, institution: Institution) -> bytes:
    """What each operations key and the vote key of an applicant sign."""
    return APPLICATION_LABEL + encode(ApplicationSubject(chain, institution))


def apply_as(
    chain: bytes, institution: Institution, operation_keys: Sequence[SigningKey], vote_key: SigningKey
) -> Application:
    """The application of `institution`, whose public keys are those of these signing keys, in order."""
    message = application_message(chain, institution)
    return Application(institution, tuple(key.sign(message) for key in (*operation_keys, vote_key)))


def prove_possession(key: SigningKey, chain: bytes, institution: str, use: int) -> bytes:
    """The 64-byte proof that the institution of this name holds `key`."""
    return key.sign(possession_message(chain, institution, use, key.public))
