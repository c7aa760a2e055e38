"""How a chart's owner changes: rotations, and the request that guardians sign one after another.

A request is a file that travels among the guardians: the operation, and the signatures so far. Nothing in it is secret,
and nobody can change what was signed without breaking the signatures.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from node.wallet.acting import NotAGuardian
from node.wallet.file import GUARDIAN, WalletChart
from node.wallet.wallet import Wallet
from protocol.chart_errors import NoGuardians, TooFewGuardians, WrongChange
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import MLKEM768_X25519
from protocol.crypto.hashing import operation_digest
from protocol.crypto.signing import cosign, cosignature_message, owner_possession_message, verify
from protocol.crypto.wallet import guardian_key
from protocol.errors import ChartledgerError, DecodeError
from protocol.types.operations import (
    ROLE_GUARDIAN,
    BeginRecovery,
    CancelRecovery,
    Cosignature,
    Guardians,
    RotateOwnerKey,
    SetGuardians,
    SignedOperation,
)

REQUEST = "chartledger recovery request 1"
GUARDIAN_EXPIRY_MS = 14 * 24 * 60 * 60 * 1_000
"""How long a guardian's signature may be used: the others must have time to be found."""


class BadRequestFile(ChartledgerError):
    """The file is not a recovery request, or of another chain or chart."""

    advice = "Ask for the file that `chartledger recovery begin` or `recovery cancel --by-guardians` wrote."


class DifferentRequests(ChartledgerError):
    """The files ask for different things."""

    advice = "Give copies of one request, each signed by other guardians."


class RecoveryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `signed` is the canonical `SignedOperation` (base64); `encryption_public` the new owner's envelope key
    in hex, for the custodian."""

    what: str
    chain: str
    chart: int
    signed: str
    encryption_public: str | None = None

    @property
    def operation(self) -> SignedOperation:
        """What is asked, and who signed it."""
        return decode(SignedOperation, b64decode(self.signed))

    def with_signed(self, signed: SignedOperation) -> RecoveryRequest:
        """The same request with these signatures."""
        return replace(self, signed=b64encode(encode(signed)).decode())

    def file(self) -> bytes:
        """As it is written to disk."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def begin(
    wallet: Wallet, chain: bytes, control: dict[str, Any], *, overrule: bool
) -> tuple[WalletChart, RecoveryRequest]:
    """A request to move the chart to keys of this wallet. Raises `NoGuardians`."""
    number, change = control["chart"], control["next_change"]
    if control["guardians"] is None:
        raise NoGuardians(f"chart {number} has no guardians, so nobody can move it")
    chart = wallet.reserve_recovered(chain, control["custodian"], number)
    keys = wallet.owner_keys(chart)
    possession = wallet.keys(chart).signing_key().sign(owner_possession_message(chain, number, change, keys))
    operation = SignedOperation(BeginRecovery(number, change, keys, possession, overrule))
    request = RecoveryRequest(REQUEST, chain.hex(), number, "", wallet.encryption_public(chart).hex())
    return chart, request.with_signed(operation)


def cancellation(chain: bytes, control: dict[str, Any]) -> RecoveryRequest:
    """A request to the guardians to cancel what waits. Raises `WrongChange` if nothing does."""
    operation = SignedOperation(CancelRecovery(control["chart"], waiting(control)["change"]))
    return RecoveryRequest(REQUEST, chain.hex(), control["chart"], "").with_signed(operation)


def waiting(control: dict[str, Any]) -> dict[str, Any]:
    """The change that waits. Raises `WrongChange` if none does."""
    pending: dict[str, Any] | None = control["pending"]
    if pending is None:
        raise WrongChange(f"no change of chart {control['chart']} waits", advice="There is nothing to do.")
    return pending


def read_request(raw: bytes, chain: bytes) -> RecoveryRequest:
    """A request of this chain. Raises `BadRequestFile`."""
    try:
        request = msgspec.json.decode(raw, type=RecoveryRequest)
        signed = request.operation
        bytes.fromhex(request.encryption_public or "")
    except (msgspec.DecodeError, DecodeError, Base64Error, ValueError):
        raise BadRequestFile("the file is not a recovery request") from None
    operation = signed.operation
    if request.what != REQUEST or not isinstance(operation, BeginRecovery | CancelRecovery):
        raise BadRequestFile("the file is not a recovery request of a kind that this version knows")
    if request.chain != chain.hex() or operation.chart != request.chart:
        raise BadRequestFile("the request is about another chain or chart")
    return request


def sign_request(
    wallet: Wallet, chain: bytes, control: dict[str, Any], request: RecoveryRequest, now_ms: int
) -> RecoveryRequest:
    """The request with this wallet's signature as a guardian. Raises `NotAGuardian`, or `WrongChange` for a request
    that can lead nowhere any more."""
    key = guardian_key(wallet.seed, chain, request.chart)
    guardians = control["guardians"]
    if guardians is None or key.public.hex() not in guardians["keys"]:
        raise NotAGuardian(f"the owner of chart {request.chart} has not named this wallet as a guardian")
    check_current(request, control)
    actor = guardians["keys"].index(key.public.hex())
    signed = request.operation
    mine = cosign(key, chain, signed.operation, ROLE_GUARDIAN, 0, now_ms + GUARDIAN_EXPIRY_MS, actor=actor)
    others = [one for one in counting(request, control, now_ms) if one.actor != actor]
    wallet.act_for(chain, request.chart, GUARDIAN)
    return request.with_signed(_signed_by(signed, [*others, mine]))


def stands(request: RecoveryRequest, control: dict[str, Any]) -> bool:
    """Whether the very change that the request asks for waits already: then it was submitted before."""
    operation, pending = request.operation.operation, control["pending"]
    return (
        isinstance(operation, BeginRecovery)
        and pending is not None
        and (pending["change"], pending["owner_key"]) == (operation.change, operation.keys.owner_key.hex())
        and pending["overrule"] == operation.overrule
    )


def check_current(request: RecoveryRequest, control: dict[str, Any]) -> None:
    """Raise `WrongChange` if the chart has moved on since the request was made."""
    operation = request.operation.operation
    assert isinstance(operation, BeginRecovery | CancelRecovery), "a request is one of these"
    pending = control["pending"]
    begins = isinstance(operation, BeginRecovery)
    current = control["next_change"] if begins else None if pending is None else pending["change"]
    if operation.change != current:
        raise WrongChange(
            "the request was made before another change of this chart", advice="Make a new request and have it signed."
        )


def counting(request: RecoveryRequest, control: dict[str, Any], now_ms: int) -> list[Cosignature]:
    """The signatures on a request that the ledger would take at `now_ms`, ledger time: by a guardian of today, good and
    not run out. One that is not good would have all of them refused, so nobody who passes the file on may spoil it."""
    signed = request.operation
    guardians = control["guardians"]
    keys = [] if guardians is None else [bytes.fromhex(key) for key in guardians["keys"]]
    chain, asked = bytes.fromhex(request.chain), operation_digest(signed.operation)

    def counts(one: Cosignature) -> bool:
        if (one.role, one.number) != (ROLE_GUARDIAN, 0) or one.actor >= len(keys) or one.expires_at < now_ms:
            return False
        message = cosignature_message(chain, asked, one.role, one.actor, one.number, one.expires_at)
        return verify(keys[one.actor], message, one.signature)

    return [one for one in signed.cosignatures if counts(one)]


def merged(requests: list[RecoveryRequest], control: dict[str, Any], now_ms: int) -> RecoveryRequest:
    """One request with all signatures of its copies that count. Raises `DifferentRequests`, `WrongChange`, or
    `TooFewGuardians`."""
    first = requests[0]
    signed = first.operation
    if any(one.operation.operation != signed.operation for one in requests):
        raise DifferentRequests
    check_current(first, control)
    by_actor = {cosignature.actor: cosignature for one in requests for cosignature in counting(one, control, now_ms)}
    guardians = control["guardians"]
    if guardians is None:
        raise NoGuardians(f"chart {first.chart} has no guardians")
    if len(by_actor) < guardians["threshold"]:
        worthless = sum(len(one.operation.cosignatures) - len(counting(one, control, now_ms)) for one in requests)
        rest = f" ({worthless} signatures in it do not count: run out, or no guardian's)" if worthless else ""
        raise TooFewGuardians(
            f"{len(by_actor)} of the guardians signed this request{rest}, and {guardians['threshold']} must",
            advice="Pass the file on to the next guardian, who adds a signature with `chartledger recovery sign`.",
        )
    return first.with_signed(_signed_by(signed, list(by_actor.values())))


def _signed_by(signed: SignedOperation, cosignatures: list[Any]) -> SignedOperation:
    return SignedOperation(signed.operation, tuple(sorted(cosignatures, key=lambda one: one.actor)))


def rotation(
    wallet: Wallet, chart: WalletChart, control: dict[str, Any], suite: int = MLKEM768_X25519
) -> RotateOwnerKey:
    """The chart's owner turns to the next version of its keys, with an envelope key of this suite."""
    assert chart.number is not None, "a chart is open before its keys rotate"
    version, change = chart.version + 1, control["next_change"]
    keys = wallet.owner_keys(chart, version, suite)
    message = owner_possession_message(chart.chain, chart.number, change, keys)
    return RotateOwnerKey(chart.number, change, keys, wallet.keys(chart, version).signing_key().sign(message))


def guardians_set(chart: int, control: dict[str, Any], threshold: int, keys: list[bytes]) -> SetGuardians:
    """These guardians from now on, or after the waiting time; no keys: none."""
    guardians = Guardians(threshold, tuple(sorted(set(keys)))) if keys else None
    return SetGuardians(chart, control["next_change"], guardians)
