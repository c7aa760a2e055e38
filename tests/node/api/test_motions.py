"""Motions, ballots, keys and evidence through the socket, on the real ledger rules of four authorities."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from node.api.problems import PROBLEM_JSON, TYPE_PREFIX
from protocol.codec.canonical import encode
from protocol.crypto.signing import SigningKey, apply_as, prove_possession, sign_vote
from protocol.ledger import keys
from protocol.ledger.leaves import EvidenceLeaf
from protocol.types.governance import USE_OPERATIONS, USE_VOTE, SetOperationsKey, SetVoteKey
from protocol.types.institutions import Institution
from protocol.types.votes import NOTARIZE, VoteSubject
from tests.node.api.conftest import Desk
from tests.node.records.fake_core import HOUR_MS, Chain, Network, seed
from tests.node.records.fake_ground import institution

DAY_MS = 24 * HOUR_MS


class Consortium:
    """Four authorities' sockets."""

    def __init__(self, network: Network, desks: list[Desk]) -> None:
        self.network = network
        self.desks = desks

    @property
    def chain(self) -> Chain:
        return self.network.chain

    async def move(self, change: dict[str, Any], desk: int = 0, **more: Any) -> httpx.Response:
        return await self.desks[desk].post("/v1/motions?wait=final", json={"change": change, **more})

    async def vote(self, motion: int, desk: int, favour: bool = True, **how: Any) -> httpx.Response:
        path = f"/v1/motions/{motion}/ballots?wait=final"
        return await self.desks[desk].post(path, json={"favour": favour}, **how)

    async def pass_(self, change: dict[str, Any]) -> dict[str, Any]:
        """Move it at 0; 1 and 2 vote for it."""
        answer = await self.move(change)
        assert answer.status_code == 200, answer.text
        number = answer.json()["motion"]
        for desk in (1, 2):
            answer = await self.vote(number, desk)
            assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "passed"
        return await self.motion(number)

    async def motion(self, number: int, desk: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = (await self.desks[desk].get(f"/v1/motions/{number}")).json()
        return document


@pytest.fixture
async def four(tmp_path: Path) -> AsyncIterator[Consortium]:
    network = Network(Chain(4), tmp_path)
    try:
        yield Consortium(network, [Desk(await network.start(number)) for number in range(4)])
    finally:
        await network.close()


def code(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == PROBLEM_JSON, answer.text
    document = answer.json()
    assert document["detail"]
    assert document["advice"]
    return str(document["type"].removeprefix(TYPE_PREFIX))


def application(chain: Chain, number: int = 9) -> tuple[Institution, str]:
    """A candidate and its application in hex, with keys of its own."""
    public = institution(number)
    signing = [SigningKey(seed(f"{use} {number}")) for use in ("operations", "vote")]
    return public, encode(apply_as(chain.id, public, signing[:1], signing[1])).hex()


async def test_a_motion_passes_with_the_third_of_four(four: Consortium) -> None:
    answer = await four.move({"kind": "set", "parameters": {"delta_ms": 700, "heartbeat_ms": 60_000}})
    document = answer.json()
    assert (document["motion"], document["state"]) == (0, "open")
    seen = await four.motion(0, desk=1)
    assert seen["change"] == {
        "kind": "set",
        "sentence": "set delta_ms = 700, heartbeat_ms = 60000",
        "parameters": {"delta_ms": 700, "heartbeat_ms": 60_000},
    }
    assert (seen["favour"], seen["counted"], seen["needed"], seen["awaits"]) == ([0], 1, 3, True)
    assert not (await four.motion(0, desk=0))["awaits"]
    assert (await four.vote(0, 1)).json()["state"] == "open"
    final = (await four.vote(0, 3)).json()
    assert final["state"] == "passed"
    assert four.desks[2].hospital.core.params.delta_ms == 700
    assert four.chain.header.ends_epoch
    seen = await four.motion(0, desk=2)
    assert (seen["state"], seen["decided_at"], seen["awaits"]) == ("passed", final["height"], False)


async def test_an_institution_is_accredited_given_authority_and_suspended(four: Consortium) -> None:
    public, applied = application(four.chain)
    seen = await four.pass_({"kind": "accredit", "application": applied})
    assert seen["assigned"] == 4
    assert seen["change"]["applicant"]["vote_key"] == public.vote_key.hex()
    assert seen["change"]["application"] == applied
    assert seen["change"]["sentence"] == "accredit hospital 9"
    seen = await four.pass_({"kind": "give-authority", "institution": 4})
    assert seen["change"]["sentence"] == "give authority to hospital 9 (institution 4)"
    listed = (await four.desks[0].get("/v1/institutions")).json()
    assert [one["authority"] for one in listed] == [True] * 5
    answer = await four.move({"kind": "suspend", "institution": 4})
    number = answer.json()["motion"]
    assert (await four.motion(number))["needed"] == 4  # of five
    for desk in (1, 2, 3):
        answer = await four.vote(number, desk)
    assert answer.json()["state"] == "passed"
    listed = (await four.desks[0].get("/v1/institutions")).json()
    assert (listed[4]["status"], listed[4]["authority"]) == ("suspended", False)


async def test_against_by_two_of_four_is_lost(four: Consortium) -> None:
    await four.move({"kind": "remove", "institution": 3})
    assert (await four.vote(0, 3, favour=False)).json()["state"] == "open"
    assert (await four.vote(0, 2, favour=False)).json()["state"] == "lost"
    seen = await four.motion(0)
    assert (seen["state"], seen["favour"], seen["against"]) == ("lost", [0], [2, 3])
    assert code(await four.vote(0, 1)) == "motion-closed"


async def test_what_is_wrong_with_a_motion_is_said(four: Consortium) -> None:
    soon = four.chain.clock.ms + DAY_MS
    for change, status, name in (
        ({"kind": "suspend", "institution": 77}, 422, "unknown-institution"),
        ({"kind": "reinstate", "institution": 1}, 409, "contradicted"),
        ({"kind": "give-authority", "institution": 1}, 409, "contradicted"),
        ({"kind": "set", "parameters": {"colour": 1}}, 422, "bad-terms"),
        ({"kind": "set", "parameters": {"freshness_ms": 1}}, 422, "bad-terms"),
        ({"kind": "accredit", "application": "00"}, 400, "decode-error"),
        ({"kind": "accredit", "application": "zz"}, 400, "bad-request"),
        ({"kind": "banish", "institution": 1}, 400, "bad-request"),
        ({"kind": "suspend"}, 400, "bad-request"),
        ({"kind": "suspend", "institution": 1, "why": "x"}, 400, "bad-request"),
    ):
        answer = await four.move(change, expires_at=soon)
        assert (answer.status_code, code(answer)) == (status, name), change
    for expires_at in (four.chain.header.timestamp, four.chain.clock.ms + 31 * DAY_MS):
        late = await four.move({"kind": "suspend", "institution": 1}, expires_at=expires_at)
        assert code(late) == "bad-terms"
    assert (await four.desks[0].get("/v1/motions?all=true")).json() == []


async def test_an_application_that_is_not_the_candidates_own_is_refused(four: Consortium) -> None:
    public, _ = application(four.chain)
    thief = SigningKey(seed("thief"))
    stolen = apply_as(four.chain.id, public, [thief], thief)
    assert code(await four.move({"kind": "accredit", "application": encode(stolen).hex()})) == "bad-possession"
    member, again = application(four.chain, 1)
    assert member.name == "hospital 1"
    assert code(await four.move({"kind": "accredit", "application": again})) == "claimed"


async def test_what_is_wrong_with_a_ballot_is_said(four: Consortium) -> None:
    await four.move({"kind": "suspend", "institution": 3}, expires_at=four.chain.clock.ms + HOUR_MS)
    assert code(await four.vote(0, 0)) == "already-voted"
    assert code(await four.vote(7, 1)) == "unknown-motion"
    assert code(await four.vote(1 << 40, 1)) == "bad-request"
    assert (await four.desks[1].get("/v1/motions/7")).status_code == 404
    four.chain.clock.ms += 2 * HOUR_MS
    assert (await four.motion(0, desk=1))["state"] == "expired"
    assert not (await four.motion(0, desk=1))["awaits"]
    late = await four.vote(0, 1)
    assert (late.status_code, code(late)) == (409, "motion-closed")


async def test_who_lost_authority_or_is_suspended_neither_moves_nor_votes(four: Consortium) -> None:
    await four.pass_({"kind": "take-authority", "institution": 3})
    refused = await four.move({"kind": "suspend", "institution": 0}, desk=3)
    assert (refused.status_code, code(refused)) == (403, "not-an-authority")
    await four.move({"kind": "set", "parameters": {"delta_ms": 600}})
    number = (await four.desks[3].get("/v1/motions")).json()[-1]["motion"]
    assert code(await four.vote(number, 3)) == "not-an-authority"
    assert not (await four.motion(number, desk=3))["awaits"]
    await four.pass_({"kind": "suspend", "institution": 3})
    assert code(await four.vote(number, 3)) == "not-accredited"


async def test_the_second_of_two_that_contradict_each_other_is_refused(four: Consortium) -> None:
    for _ in range(2):
        await four.move({"kind": "take-authority", "institution": 3})
    for desk in (1, 2):
        await four.vote(0, desk)
    assert (await four.vote(1, 1)).json()["state"] == "open"
    refused = await four.vote(1, 2)
    assert (refused.status_code, code(refused)) == (409, "contradicted")


async def test_a_repeat_with_its_key_neither_moves_nor_votes_twice(four: Consortium) -> None:
    asked = {"change": {"kind": "suspend", "institution": 3}}
    first, again = [await four.desks[0].post("/v1/motions?wait=final", "k", json=asked) for _ in range(2)]
    assert first.json() == again.json()
    votes = [await four.vote(0, 1, key="v") for _ in range(2)]
    assert votes[0].json() == votes[1].json()
    assert len((await four.desks[0].get("/v1/motions?all=true")).json()) == 1


async def test_open_motions_are_listed_and_all_are_paged(four: Consortium) -> None:
    four_changes = [{"kind": "set", "parameters": {"delta_ms": 600 + n}} for n in range(4)]
    for change in four_changes:
        await four.move(change)
    for desk in (1, 2):
        await four.vote(1, desk)
    four_open = (await four.desks[2].get("/v1/motions")).json()
    assert [one["motion"] for one in four_open] == [0, 2, 3]
    pages = [
        [one["motion"] for one in (await four.desks[2].get(f"/v1/motions?all=true&first={at}&count=3")).json()]
        for at in (0, 3, 4)
    ]
    assert pages == [[0, 1, 2], [3], []]
    assert [one["motion"] for one in (await four.desks[2].get("/v1/motions?first=2&count=1")).json()] == [2]
    assert code(await four.desks[2].get("/v1/motions?all=perhaps")) == "bad-request"


async def test_a_motion_of_a_proposer_without_authority_is_still_listed_while_it_can_pass(four: Consortium) -> None:
    await four.move({"kind": "set", "parameters": {"delta_ms": 600}}, desk=3)
    await four.pass_({"kind": "take-authority", "institution": 3})
    await four.move({"kind": "set", "parameters": {"delta_ms": 601}})  # the ledger forgets the former proposer's
    assert [one["motion"] for one in (await four.desks[0].get("/v1/motions")).json()] == [0, 2]
    seen = await four.motion(0, desk=3)
    assert (seen["favour"], seen["counted"], seen["awaits"]) == ([3], 0, False)
    await four.pass_({"kind": "give-authority", "institution": 3})
    seen = await four.motion(0, desk=3)
    assert (seen["counted"], seen["awaits"]) == (0, True), "what it said before its authority was taken is void"
    assert (await four.vote(0, 3)).json()["state"] == "open"
    assert (await four.motion(0, desk=3))["counted"] == 1


async def test_an_institution_rotates_its_own_keys(four: Consortium) -> None:
    fresh = SigningKey(seed("fresh"))
    name = "hospital 2"
    proof = prove_possession(fresh, four.chain.id, name, USE_OPERATIONS)
    path = "/v1/institution/keys?wait=final"
    answer = await four.desks[2].post(path, json={"change": encode(SetOperationsKey(1, fresh.public, proof)).hex()})
    assert answer.status_code == 200, answer.text
    listed = (await four.desks[0].get("/v1/institutions")).json()
    assert listed[2]["operation_keys"][1] == fresh.public.hex()
    stranger = SetVoteKey(SigningKey(seed("other")).public, proof)
    assert code(await four.desks[2].post(path, json={"change": encode(stranger).hex()})) == "bad-possession"
    assert code(await four.desks[2].post(path, json={"change": "ff"})) == "decode-error"
    vote = SigningKey(seed("new vote"))
    change = SetVoteKey(vote.public, prove_possession(vote, four.chain.id, name, USE_VOTE))
    assert (await four.desks[2].post(path, json={"change": encode(change).hex()})).status_code == 200
    assert (await four.desks[0].get("/v1/institutions")).json()[2]["vote_key"] == vote.public.hex()
    assert four.chain.header.ends_epoch


async def test_evidence_is_shown_newest_epoch_first(four: Consortium) -> None:
    assert (await four.desks[0].get("/v1/evidence")).json() == []
    leaves = {}
    for epoch in (0, 3):
        subject = VoteSubject(NOTARIZE, four.chain.id, epoch, 5, 4, bytes(32))
        first, second = (
            sign_vote(SigningKey(seed("vote 1")), replace(subject, block=bytes([n]) * 32), 1) for n in (1, 2)
        )
        leaves[keys.evidence(epoch, 1)] = encode(EvidenceLeaf(1, 2, 10 + epoch, first, second))
    ledger = four.desks[0].hospital.ledger
    await ledger.database.write(
        lambda connection: connection.executemany("INSERT INTO leaf VALUES (?, ?)", sorted(leaves.items()))
    )
    found = (await four.desks[0].get("/v1/evidence")).json()
    assert [(one["institution"], one["epoch"], one["view"], one["height"]) for one in found] == [
        (1, 3, 5, 13),
        (1, 0, 5, 10),
    ]
    assert len((await four.desks[0].get("/v1/evidence?count=1")).json()) == 1
