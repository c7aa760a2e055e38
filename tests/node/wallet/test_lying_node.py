"""A node that tells an owner's wallet of other things than stand on the ledger, so that the owner signs them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from node.cli.client import Session
from node.wallet import proven
from node.wallet.proven import NodeContradicted
from protocol.codec.canonical import decode, encode
from protocol.crypto.tags import GrantLabels, grant_tags
from protocol.proofs import bundle, history
from protocol.proofs.history import HistoryProof
from protocol.types.institutions import Genesis
from tests.node.wallet.conftest import City, Person
from tests.node.wallet.test_grants import patient, reads

__all__ = ["patient"]

Lie = Callable[[dict[str, Any]], None]
MH = 4
"""The record that is marked MH."""


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Callable[[Lie], None]:
    """Have every node lie about who controls a chart from now on."""
    honest = Session.control

    def lie(how: Lie) -> None:
        def control(self: Session, chart: int) -> Any:
            told = copy.deepcopy(honest(self, chart))
            how(told)
            return told

        monkeypatch.setattr(Session, "control", control)

    return lie


def everything(patient: Person, city: City, generation: int = 0) -> Any:
    """Tags of a grant that covers what is marked MH, too: what whoever was granted it once has seen on the ledger."""
    secret = patient.wallet.chart_secret(patient.reopen().chart(city.chain.id, 0))
    tags = grant_tags(secret, generation, GrantLabels(sensitivities=("MH",)))
    return [None if listed is None else [one.hex() for one in listed] for listed in tags]


def test_a_withdrawal_widens_no_other_grant(city: City, patient: Person, lies: Callable[[Lie], None]) -> None:
    kept = patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"]
    ended = patient.does("grant", 0, "--to", 2, "--until", "30d")["grant"]
    wider = everything(patient, city)
    lies(lambda told: told["grants"][kept].update(tags=wider))
    patient.does("revoke", 0, ended, at=1)
    assert reads(city, 1, kept, 1) == "disclosed"
    assert reads(city, 1, kept, MH) == "outside"


def test_a_withdrawal_widens_no_delegates_bounds(city: City, patient: Person, lies: Callable[[Lie], None]) -> None:
    helper = Person(city, "helper", patient._run)
    card = city.folder / "card"
    helper.does("delegate", "key", 0, "-o", card)
    patient.does("delegate", "add", 0, "--card", card, "--act", "read", "--until", "30d")
    ended = patient.does("grant", 0, "--to", 2, "--until", "30d")["grant"]
    bounds = city.sessions[0].control(0)["delegates"][0]["tags"]
    wider = everything(patient, city)
    lies(lambda told: told["delegates"][0].update(tags=wider))
    patient.does("revoke", 0, ended)
    now = proven.whole(claims(city))[1].delegates[0].terms.tags
    assert all(one.hex() not in {t for listed in wider if listed for t in listed} - {t for b in bounds if b for t in b}
               for listed in now if listed for one in listed)  # fmt: skip


@pytest.mark.parametrize("lie", ["no bars", "another mode"])
def test_a_change_of_policy_drops_nothing(city: City, patient: Person, lies: Callable[[Lie], None], lie: str) -> None:
    patient.does("policy", "bar", 0, 1, "--category", "Condition")
    patient.does("policy", "set", 0, "--break-glass", "forbidden")
    what = {"bars": []} if lie == "no bars" else {"break_glass": "allowed"}
    lies(lambda told: told["policy"].update(what))
    patient.does("policy", "bar", 0, 2)
    stood = proven.whole(claims(city))[1].policy
    assert {bar.institution for bar in stood.bars} == {1, 2}
    assert proven.MODES[stood.break_glass] == "forbidden"


def test_a_permit_tells_no_more_tags_than_the_grant_lists(
    city: City, patient: Person, lies: Callable[[Lie], None]
) -> None:
    grant = patient.does("grant", 0, "--to", 1, "--write", "--until", "30d")["grant"]
    honest, lied = city.folder / "honest", city.folder / "lied"
    patient.does("permit", 0, grant, "-o", honest)
    wider = everything(patient, city)
    lies(lambda told: told["grants"][grant].update(tags=wider))
    patient.does("permit", 0, grant, "-o", lied)
    assert lied.read_bytes() == honest.read_bytes()


@pytest.mark.parametrize(
    "lie",
    [
        lambda told: told.update(generation=told["generation"] + 1),
        lambda told: told["grants"].append(told["grants"][0]),
        lambda told: told["delegates"].append({"delegate": 0, "number": 0}),
    ],
)
def test_what_a_node_cannot_show_is_not_signed_over(
    city: City, patient: Person, lies: Callable[[Lie], None], lie: Lie
) -> None:
    patient.does("grant", 0, "--to", 1, "--until", "30d")
    lies(lie)
    before = city.sessions[0].chart(0)["events"]
    assert "[node-contradicted]" in patient.does("grant", 0, "--to", 2, "--until", "30d", code=1)
    assert "[node-contradicted]" in patient.does("revoke", 0, 0, code=1)
    assert city.sessions[0].chart(0)["events"] == before


def test_a_lower_generation_is_not_believed(city: City, patient: Person, lies: Callable[[Lie], None]) -> None:
    """A bar made for one generation less would close everything; a grant would miss what is new."""
    patient.does("revoke", 0, patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"])
    lies(lambda told: told.update(generation=0))
    patient.does("policy", "bar", 0, 2, "--category", "Condition")
    (bar,) = proven.whole(claims(city))[1].policy.bars
    assert bar.generation == 1


@pytest.mark.parametrize("lie", ["it keeps the chart already", "the move is final"])
def test_the_secret_of_a_chart_goes_to_nobody_who_only_says_that_it_keeps_it(
    patient: Person, lies: Callable[[Lie], None], monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(Session, "take_over", lambda _self, _chart, _suite, _public, secret: given.append(secret))
    honest = Session.chart
    monkeypatch.setattr(Session, "chart", lambda self, chart: honest(self, chart) | {"custodian": 1})
    lies(lambda told: told.update(custodian=1))
    if lie == "it keeps the chart already":
        assert "[custodian-remains]" in patient.does("chart", "move", 0, at=1, code=1)
    else:
        monkeypatch.setattr(Session, "submit_operation", lambda *_: {})
        assert "[node-contradicted]" in patient.does("chart", "move", 0, at=1, code=1)
    assert given == []


def claims(city: City) -> list[history.HistoryClaim]:
    session = city.sessions[0]
    proof = bundle.read_as(HistoryProof, session.history_proof(0, 0))
    return [history.check(proof, genesis=city.chain.genesis)]


@pytest.mark.parametrize("where", ["genesis", "rubbish", "chart", "older", "part"])
def test_proofs_that_are_of_something_else(
    city: City, patient: Person, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    session = city.sessions[0]
    other = Person(city, "other", patient._run)
    other.does("chart", "open")
    old, old_part = session.grant_proof(0, 0), session.history_proof(0, 0)
    patient.does("grant", 0, "--to", 1, "--until", "30d")
    patient.does("policy", "bar", 0, 2)
    if where == "genesis":
        genesis = decode(Genesis, Session.genesis(session))
        foreign = type(genesis)(genesis.name + "x", genesis.created_at, genesis.params, genesis.institutions,
                                genesis.authorities)  # fmt: skip
        monkeypatch.setattr(Session, "genesis", lambda _self: encode(foreign))
    elif where == "rubbish":
        monkeypatch.setattr(Session, "genesis", lambda _self: b"\x00")
    elif where == "chart":
        proof, part = Session.grant_proof, Session.history_proof
        monkeypatch.setattr(Session, "grant_proof", lambda self, _chart, n, epoch=0: proof(self, 1, n, epoch))
        monkeypatch.setattr(Session, "history_proof", lambda self, _chart, at, epoch=0: part(self, 1, at, epoch))
    elif where == "older":
        monkeypatch.setattr(Session, "grant_proof", lambda *_, **__: old)
        monkeypatch.setattr(Session, "history_proof", lambda *_, **__: old_part)
    else:
        part = Session.history_proof
        monkeypatch.setattr(Session, "history_proof", lambda self, chart, _at, epoch=0: part(self, chart, 1, epoch))
    before = session.chart(0)["events"]
    words = ("policy", "bar", 0, 3)
    assert "[node-contradicted]" in patient.does(*words, code=1)
    if where != "part":
        assert "[node-contradicted]" in patient.does("grant", 0, "--to", 2, "--until", "30d", code=1)
    assert session.chart(0)["events"] == before


def test_a_history_without_one_of_the_grants_is_not_all_of_it(city: City, patient: Person) -> None:
    patient.does("grant", 0, "--to", 1, "--until", "30d")
    leaf, stood = proven.whole(claims(city))
    with pytest.raises(NodeContradicted, match="not all grants"):
        proven.shown(city.sessions[0].control(0), leaf, replace(stood, grants={}), 0)
    with pytest.raises(NodeContradicted, match="ends before"):
        proven.whole([])
