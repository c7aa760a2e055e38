"""What stands of one patient's chart in one node's final state, as a client of that node reads it."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

from node.simulation.chainstate import State
from protocol.ledger import keys
from protocol.ledger.events import Erased, Event, GlassBroken, Outcome, RecordAppended, decode_event
from protocol.ledger.leaves import (
    Chart,
    DelegateLeaf,
    Emergency,
    Erasure,
    GrantLeaf,
    Holds,
    Leaf,
    OwnerIndex,
    PolicyLeaf,
    Recovery,
    decode_leaf,
)
from protocol.types.institutions import STATUS_REMOVED, Institution
from protocol.types.operations import Policy

L = TypeVar("L", bound=Leaf)


class Standing:
    """One chart's. Reads what it is asked for, once."""

    def __init__(self, state: State, number: int) -> None:
        self._state = state
        self.number = number

    @classmethod
    def of_owner(cls, state: State, owner_key: bytes) -> Standing | None:
        """The chart that this owner key opened, if the state has it."""
        raw = state.leaves.get(keys.owner(owner_key))
        if raw is None:
            return None
        index = decode_leaf(keys.owner(owner_key), raw)
        assert isinstance(index, OwnerIndex)
        return cls(state, index.chart)

    @cached_property
    def chart(self) -> Chart:
        """Its leaf."""
        chart = self._leaf(keys.chart(self.number), Chart)
        assert chart is not None
        return chart

    @cached_property
    def policy(self) -> Policy:
        """Its policy; without a word, emergencies are allowed and nothing is barred."""
        leaf = self._leaf(keys.policy(self.number), PolicyLeaf)
        return Policy() if leaf is None else leaf.policy

    @cached_property
    def recovery(self) -> Recovery:
        """Its guardians, and what waits."""
        return self._leaf(keys.recovery(self.number), Recovery) or Recovery()

    @cached_property
    def grants(self) -> dict[int, GrantLeaf]:
        """All grants ever made."""
        found = {n: self._leaf(keys.grant(self.number, n), GrantLeaf) for n in range(self.chart.grants)}
        return {number: leaf for number, leaf in found.items() if leaf is not None}

    @property
    def live(self) -> list[int]:
        """Grants that nobody revoked."""
        return [number for number, leaf in self.grants.items() if leaf.revoked_at is None]

    @cached_property
    def delegates(self) -> dict[int, DelegateLeaf]:
        """All delegates ever named."""
        found = {n: self._leaf(keys.delegate(self.number, n), DelegateLeaf) for n in range(self.chart.delegates)}
        return {number: leaf for number, leaf in found.items() if leaf is not None}

    @cached_property
    def events(self) -> dict[int, Event]:
        """All that happened."""
        events = self._state.events
        return {n: decode_event(events[self.number, n]) for n in range(self.chart.events)}

    @cached_property
    def records(self) -> dict[int, RecordAppended]:
        """All records, erased ones too."""
        return {number: event for number, event in self.events.items() if isinstance(event, RecordAppended)}

    @cached_property
    def whole(self) -> list[int]:
        """Records that nobody erased."""
        gone = {record for event in self.events.values() if isinstance(event, Erased) for record in event.records}
        return [number for number in self.records if number not in gone]

    @cached_property
    def emergencies(self) -> dict[int, Emergency]:
        """All that were not denied."""
        opened = [
            number
            for number, event in self.events.items()
            if isinstance(event, GlassBroken) and event.outcome is not Outcome.DENIED
        ]
        found = {number: self._leaf(keys.emergency(self.number, number), Emergency) for number in opened}
        return {number: leaf for number, leaf in found.items() if leaf is not None}

    def asked_for(self, emergency: int) -> tuple[int, ...]:
        """The records of the emergency with this event number; of any other event, event 1."""
        event = self.events.get(emergency)
        return event.records if isinstance(event, GlassBroken) else (1,)

    @cached_property
    def erasures(self) -> dict[int, Erasure]:
        """All orders to erase."""
        ordered = [number for number, event in self.events.items() if isinstance(event, Erased)]
        found = {number: self._leaf(keys.erasure(self.number, number), Erasure) for number in ordered}
        return {number: leaf for number, leaf in found.items() if leaf is not None}

    @cached_property
    def holds(self) -> list[int]:
        """Those in force, by their events."""
        leaf = self._leaf(keys.holds(self.number), Holds)
        return [] if leaf is None else [number for number, _ in leaf.holds]

    def removed(self, institution: int) -> bool:
        """Whether it is gone from the consortium for good."""
        leaf = self._leaf(keys.institution(institution), Institution)
        return leaf is not None and leaf.status == STATUS_REMOVED

    def _leaf(self, key: bytes, kind: type[L]) -> L | None:
        raw = self._state.leaves.get(key)
        if raw is None:
            return None
        leaf = decode_leaf(key, raw)
        assert isinstance(leaf, kind)
        return leaf
