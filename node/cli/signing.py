"""Sign and submit: as a chart's owner, as a delegate, or with what guardians signed.

A wallet may live on two devices. Each notes its own numbers, so what one signs may come under a number that the other
used: then it is signed again above the highest that the ledger knows, over how things stand by then.
"""

from __future__ import annotations

from collections.abc import Callable

from node.cli.client import Document, Session
from node.cli.proven import proven_control
from node.wallet import Wallet, WalletChart
from node.wallet.acting import delegacy, sign_as_delegate
from node.wallet.recovery import RecoveryRequest
from protocol.chart_errors import Overtaken
from protocol.codec.canonical import encode
from protocol.errors import Replayed
from protocol.types.operations import Operation, SignedOperation

TRIES = 5
"""How often in a row another device may be faster."""

Build = Callable[[WalletChart, Document], Operation]
"""Makes an operation of the chart at its present keys, and of its control document."""


def submit_owned(
    session: Session, wallet: Wallet, chart: WalletChart, build: Build, *, whole: bool = False
) -> Document:
    """Have the owner sign what `build` makes, submit it, and wait until it is final. What it is made of is proven, with
    `whole` the grants, delegates and policy too. Raises `NotTheOwner`, and as `proven_control`."""
    assert chart.number is not None, "a chart found by its number has one"
    for left in range(TRIES, 0, -1):
        control = proven_control(session, chart.chain, chart.number, whole=whole)
        current = wallet.catch_up(chart, bytes.fromhex(control["owner_key"]))
        operation = build(current, control)
        signed = wallet.sign(current, operation, session.ledger_now(), control["owner_number"])
        try:
            return session.submit_operation(chart.number, signed)
        except (Replayed, Overtaken):
            if left == 1:
                raise
    raise AssertionError("the last try returns or raises")


def submit_delegated(
    session: Session,
    wallet: Wallet,
    chart: int,
    build: Callable[[Document, Document], Operation],
    act: str | None = None,
) -> Document:
    """The same as a delegate who may do `act`; `build` makes it of the delegate's own entry and the control document.
    Raises `NotADelegate`."""
    for left in range(TRIES, 0, -1):
        control = session.control(chart)
        mine = delegacy(wallet, session.chain(), control, act)
        operation = build(mine, control)
        signed = sign_as_delegate(wallet, session.chain(), mine, chart, operation, session.ledger_now())
        try:
            return session.submit_operation(chart, signed)
        except Replayed:
            if left == 1:
                raise
    raise AssertionError("the last try returns or raises")


def submit_request(session: Session, request: RecoveryRequest) -> Document:
    """Submit what guardians signed."""
    return session.submit_operation(request.chart, encode(request.operation))


def submit_unsigned(session: Session, chart: int, operation: Operation) -> Document:
    """Submit what takes nobody's signature."""
    return session.submit_operation(chart, encode(SignedOperation(operation)))
