"""All that is done about charts, by the name that a plan gives it, and how it is done at a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from node.simulation.dice import dice
from node.simulation.patients import care, consent, control
from node.simulation.patients.desk import Desk, Sending
from node.simulation.patients.wallet import Wallet
from node.simulation.schedule import Act

if TYPE_CHECKING:
    from node.simulation.host import Host

ACTS: Final[dict[str, Callable[[Desk], None]]] = {
    "open": consent.open_chart,
    "move": consent.move,
    "append": consent.append,
    "write": consent.write,
    "dispute": consent.dispute,
    "grant": consent.grant,
    "revoke": consent.revoke,
    "disclose": consent.disclose,
    "policy": control.policy,
    "bar": control.bar,
    "delegate": control.delegate,
    "end_delegate": control.end_delegate,
    "delegate_grants": control.delegate_grants,
    "delegate_revokes": control.delegate_revokes,
    "delegate_reads": control.delegate_reads,
    "guardians": control.guardians,
    "rotate": control.rotate,
    "recover": control.recover,
    "cancel": control.cancel,
    "complete": control.complete,
    "break_glass": care.break_glass,
    "confirm": care.confirm,
    "review": care.review,
    "erase": care.erase,
    "receipt": care.receipt,
    "hold": care.hold,
    "release": care.release,
}


def sendings(host: Host, wallet: Wallet, act: Act) -> list[Sending] | None:
    """What is sent for this act from this node, which is up; None while the node does not know the chart, or it makes
    no sense yet."""
    rng = dice(host.world.plan.seed, "act", act.at_ms, act.node, act.kind, act.patient, act.dice)
    desk = Desk(host, wallet, rng, act.dice)
    if act.kind != "open" and not desk.knows:
        return None
    ACTS[act.kind](desk)
    return None if desk.later else desk.sendings
