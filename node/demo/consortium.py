"""The demo's vote: the institutions take in a fifth and change a parameter, and go on in the next epoch."""

from __future__ import annotations

from functools import partial

from node.cli.client import Document
from node.demo.report import expect, refused
from node.demo.stage import Chart, Stage
from node.genesis_file import read_genesis
from node.institution_keys import new_institution
from protocol.codec.canonical import encode
from protocol.crypto.signing import SigningKey, apply_as
from protocol.errors import AlreadyVoted
from protocol.proofs import bundle, inclusion

NEWCOMER = "Northern Clinic"
MOVER = 0
OTHERS = (1, 2)
"""With the mover a quorum of four."""


class Consortium:
    """The step in which the institutions vote."""

    def __init__(self, stage: Stage, chart: Chart) -> None:
        self.stage = stage
        self.chart = chart

    def change(self) -> str:
        """Two motions pass; a second vote is refused; what was final before is proved from the same genesis file."""
        stage = self.stage
        made = new_institution(NEWCOMER)
        chain = stage.sessions[MOVER].chain()
        signing = [SigningKey(seed) for seed in made.keystore.operations]
        application = apply_as(chain, made.public, signing, SigningKey(made.keystore.votes[0]))
        before = stage.sessions[MOVER].status()["epoch"]
        self._pass({"kind": "set", "parameters": {"delta_ms": 600}})
        accredited = self._pass({"kind": "accredit", "application": encode(application).hex()})
        for session in stage.sessions:
            names = session.institutions()
            expect(names.get(accredited["assigned"]) == NEWCOMER, "a node does not know the new institution")
        stage.wait_until_healthy()
        for number, session in enumerate(stage.sessions):
            expect(session.status()["epoch"] == before + 1, f"node {number} did not go on to the next epoch")
        raw = stage.sessions[OTHERS[0]].proof(self.chart.number, self.chart.records[0])
        proof = bundle.read_inclusion(raw)
        expect(len(proof.hops) == before + 1, "the proof does not lead through the epochs")
        shown = inclusion.check(proof, read_genesis(stage.devnet.genesis))
        expect(shown.number == self.chart.records[0], "the proof shows another event")
        return (
            f"a parameter changed, so epoch {before + 1} began; {NEWCOMER} is institution {accredited['assigned']}; "
            "a proof made after that still leads back to the genesis file"
        )

    def _pass(self, change: Document) -> Document:
        """Move it at one institution, vote at others until it passes; the motion as all see it."""
        stage = self.stage
        mover = stage.sessions[MOVER]
        done = mover.propose(change)
        number = done["motion"]
        refused(partial(mover.vote, number, favour=True), AlreadyVoted.code)
        for other in OTHERS:
            stage.wait_for_height(done["height"], [other])
            done = stage.sessions[other].vote(number, favour=True)
        expect(done["state"] == "passed", f"motion {number} is {done['state']} with a quorum in favour")
        stage.wait_for_height(done["height"])
        return mover.motion(number)
