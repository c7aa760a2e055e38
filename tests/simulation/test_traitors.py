"""Each traitor acts: its lies are seen, they are what its kind says, and no promise breaks by them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from node.simulation.oracles import Watch
from node.simulation.oracles.base import Oracle
from node.simulation.oracles.evidence import Evidence
from node.simulation.oracles.records import Record, Scene, Sent
from node.simulation.plan import Plan, Submit
from node.simulation.profiles import KINDS as DRAWN
from node.simulation.traitors import KINDS
from node.simulation.world import World
from protocol.types.votes import FINALIZE, NOTARIZE, NULLIFY, Body, Certificate, Fetch, Proposal, Vote

HEAL_MS = 8_000
SEEDS = 3


class Ear(Oracle):
    """Hears what every host sends."""

    name = "ear"
    wants = (Sent,)

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.failure = None
        self.sent: list[Sent] = []

    def event(self, record: Record) -> None:
        assert isinstance(record, Sent)
        self.sent.append(record)

    def of_traitors(self) -> Iterator[Sent]:
        return (sent for sent in self.sent if sent.host not in self.scene.honest)


def plan(seed: int, kind: str, authorities: int = 4, traitors: int = 1) -> Plan:
    load = tuple(Submit(400 * step, step % (authorities - traitors)) for step in range(HEAL_MS // 400))
    liars = tuple((authorities - 1 - number, kind) for number in range(traitors))
    return Plan(seed, authorities=authorities, delay_ms=(5, 60), heal_ms=HEAL_MS, actions=load, traitors=liars)


@cache
def played(kind: str, authorities: int = 4, traitors: int = 1) -> list[World]:
    """Three histories, played once for all tests that look at them."""
    worlds = []
    for seed in range(SEEDS):
        world = World(plan(seed, kind, authorities, traitors), observers=(Watch, Ear))
        history = world.run()
        assert history.failure is None, f"seed {seed}: {history.failure}"
        worlds.append(world)
    return worlds


def heard(world: World) -> list[Sent]:
    ear = world.oracles[1]
    assert isinstance(ear, Ear)
    return list(ear.of_traitors())


def owed(world: World) -> int:
    watch = world.oracles[0]
    assert isinstance(watch, Watch)
    return next(oracle.owed for oracle in watch.oracles if isinstance(oracle, Evidence))


def messages(kind: str) -> list[object]:
    return [sent.message for world in played(kind) for sent in heard(world)]


def test_every_kind_is_drawn() -> None:
    assert sorted(KINDS) == sorted(DRAWN)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_lies_and_breaks_nothing(kind: str) -> None:
    worlds = played(kind)
    lies = [host.traitor.lies for world in worlds for host in world.hosts if host.traitor is not None]
    assert sum(lies) > 0


@pytest.mark.parametrize("kind", ["equivocator", "double_voter", "splitter", "twins"])
def test_two_of_a_kind_of_seven_act_in_concert(kind: str) -> None:
    worlds = played(kind, authorities=7, traitors=2)
    lies = [host.traitor.lies for world in worlds for host in world.hosts if host.traitor is not None]
    assert sum(lies) > 0


@pytest.mark.parametrize("kind", ["equivocator", "double_voter", "splitter"])
def test_those_who_contradict_themselves_convict_themselves(kind: str) -> None:
    assert sum(owed(world) for world in played(kind)) > 0


def test_an_equivocator_proposes_two_blocks_in_one_view() -> None:
    for world in played("equivocator"):
        blocks: dict[tuple[int, int], set[bytes]] = {}
        for sent in heard(world):
            if isinstance(sent.message, Proposal):
                subject = sent.message.vote.subject
                blocks.setdefault((subject.epoch, subject.view), set()).add(subject.block)
        if any(len(digests) > 1 for digests in blocks.values()):
            return
    pytest.fail("no view has two proposals")


def test_a_double_voter_signs_all_three_kinds_in_one_view() -> None:
    kinds: dict[object, set[int]] = {}
    for message in messages("double_voter"):
        if isinstance(message, Vote):
            kinds.setdefault((message.subject.epoch, message.subject.view), set()).add(message.subject.kind)
    assert {NOTARIZE, NULLIFY, FINALIZE} in kinds.values()


def test_a_nuller_never_finalizes() -> None:
    """While it lies: afterwards it may have become honest."""
    lied = [sent for world in played("nuller") for sent in heard(world) if sent.at_ms < HEAL_MS]
    assert not [sent for sent in lied if isinstance(sent.message, Vote) and sent.message.subject.kind == FINALIZE]


def test_a_forger_names_others_and_makes_certificates_of_nothing() -> None:
    said = messages("forger")
    assert len({message.index for message in said if isinstance(message, Vote)}) > 1
    signers = [[index for index, _ in message.signatures] for message in said if isinstance(message, Certificate)]
    assert any(len(set(indexes)) < len(indexes) for indexes in signers)
    assert any(max(indexes) >= 4 for indexes in signers)


def test_an_invalid_proposer_and_a_liar_about_headers_propose_what_nobody_votes_for() -> None:
    for kind in ("invalid_proposer", "false_header", "parent_liar"):
        proposed = [message for message in messages(kind) if isinstance(message, Proposal)]
        assert proposed
        assert not [message for message in proposed if message.vote.subject.kind != NOTARIZE]


def test_a_flooder_asks_and_tells_more_than_anybody() -> None:
    said = messages("flooder")
    assert {Vote, Certificate, Fetch} <= {type(message) for message in said}


def test_a_replayer_repeats_others() -> None:
    said = messages("replayer")
    assert len({message.index for message in said if isinstance(message, Vote)}) > 1


def test_a_withholder_is_silent_about_something() -> None:
    for world in played("withholder"):
        traitor = world.hosts[3].traitor
        assert traitor is not None
        silent = [sent for sent in heard(world) if isinstance(sent.message, Vote | Body | Proposal | Certificate)]
        honest = world.oracles[1].sent  # type: ignore[attr-defined]  # an Ear's
        assert traitor.lies == 0 or len(silent) < len(honest)
