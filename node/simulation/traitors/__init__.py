"""Authorities that break the rules with their own keys, one kind a file. `KINDS` names them all."""

from __future__ import annotations

from typing import Final

from node.simulation.traitors.base import Conspiracy, HostFacade, Traitor
from node.simulation.traitors.double_voter import DoubleVoter
from node.simulation.traitors.equivocator import Equivocator
from node.simulation.traitors.false_header import FalseHeader
from node.simulation.traitors.flooder import Flooder
from node.simulation.traitors.forger import Forger
from node.simulation.traitors.invalid_proposer import InvalidProposer
from node.simulation.traitors.nuller import Nuller
from node.simulation.traitors.parent_liar import ParentLiar
from node.simulation.traitors.replayer import Replayer
from node.simulation.traitors.slanderer import Slanderer
from node.simulation.traitors.splitter import Splitter
from node.simulation.traitors.twins import Twins
from node.simulation.traitors.withholder import Withholder

__all__ = ["KINDS", "Conspiracy", "HostFacade", "Traitor"]

KINDS: Final[dict[str, type[Traitor]]] = {
    cls.kind: cls
    for cls in (
        Equivocator,
        DoubleVoter,
        Nuller,
        Withholder,
        Forger,
        Replayer,
        InvalidProposer,
        FalseHeader,
        ParentLiar,
        Flooder,
        Splitter,
        Slanderer,
        Twins,
    )
}
"""By the name that a plan draws. `twins` takes two hosts of one institution."""
