"""The hospital that keeps a chart dies and is removed for good; its patient goes on at the others. Real daemons."""

from __future__ import annotations

import secrets

import pytest

from node.cli import parts
from node.cli.chart import move_with, open_with
from node.cli.delegate_reading import read_as_delegate
from node.cli.disclosures import read_chart
from node.cli.grant import grant_with, revoke_with
from node.cli.parts import read_as_owner
from node.cli.signing import submit_owned
from node.client import Problem
from node.wallet import consent as making
from node.wallet.acting import delegate_card
from node.wallet.consent import ACTS, DelegateWish
from protocol.crypto.tags import GrantLabels
from protocol.errors import ChartledgerError

pytestmark = pytest.mark.processes

TEXT = b"what the hospital wrote before it closed"


def test_a_patient_goes_on_without_the_hospital_that_kept_the_chart(network, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital, other, third = network.session(0), network.session(1), network.session(3)
    wallet, helper = network.wallet("gone"), network.wallet("helper")
    chart = open_with(hospital, wallet)["chart"]
    large = secrets.token_bytes(2_500_000)
    record = hospital.submit_record(chart, TEXT, "text/plain")["records"][0]
    big = hospital.submit_record(chart, large, "application/dicom", sensitivities="none")["records"][0]
    key, now = wallet.chart(hospital.chain(), chart), hospital.ledger_now()
    terms = {"labels": GrantLabels(), "purposes": ["TREAT"], "not_before": now - 1, "not_after": now + 10**9}
    grant = grant_with(hospital, wallet, key, grantees=[2], **terms)["grant"]
    network.same_height()
    network.eventually("all copies are there", lambda: hospital.status()["copies"]["lacking"] == 0, 240.0)
    network.devnet.kill(0)

    # Others ask, and say why; the hospital was never told.
    said = {"reason": "follow-up", "family": "Okafor"}
    assert network.session(2).disclose(chart, grant, "TREAT", [record], said)["outcome"] == "disclosed"
    network.same_height()
    looked = read_chart(third, chart, wallet).found
    assert [one.said.reason for one in looked if one.said is not None] == ["follow-up"]

    # This node holds copies; what it says to owners who come with a pass is what any would say.
    def lies_elsewhere(*_: object) -> None:
        found = Problem("not here")
        found.code = "record-unknown-here"
        raise found

    assert read_as_owner(third, wallet, chart, record).data == TEXT
    monkeypatch.setattr(parts, "_from_here", lies_elsewhere)
    assert read_as_owner(third, wallet, chart, record).data == TEXT
    assert read_as_owner(third, wallet, chart, big).data == large

    card = delegate_card(helper, third.chain(), chart)
    wish = DelegateWish(
        bytes.fromhex(card.key), card.encryption_suite, card.encryption_key, ACTS["read"], GrantLabels(), ("PATRQT",),
        now - 1, now + 10**9,
    )  # fmt: skip
    submit_owned(third, wallet, key, lambda mine, control: making.delegation(wallet, mine, control["generation"], wish))
    for number in (record, big):
        asking, data = read_as_delegate(third, helper, chart, number, "PATRQT", None)
        assert data in (TEXT, large)
    network.same_height()
    assert read_as_delegate(other, helper, chart, big, "PATRQT", asking) == (asking, large)

    # Removed for good, it has a successor of the patient's choice.
    with pytest.raises(ChartledgerError, match="was not removed"):
        move_with(other, wallet, key)
    network.pass_change({"kind": "remove", "institution": 0}, voters=(1, 2, 3))
    move_with(other, wallet, key)
    later = other.submit_record(chart, b"what the next hospital wrote", "text/plain")["records"][0]
    revoke_with(other, wallet, key, grant)
    network.same_height()
    assert third.chart(chart)["custodian"] == 1
    for number, data in ((record, TEXT), (big, large), (later, b"what the next hospital wrote")):
        assert read_as_owner(third, wallet, chart, number).data == data
