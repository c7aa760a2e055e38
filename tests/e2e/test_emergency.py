"""An emergency with real daemons: the custodian is down, care goes on, and the patient learns all of it."""

from __future__ import annotations

import pytest

from node.accounting.looks import outcome_words, who_words
from node.cli.chart import open_with
from node.cli.disclosures import read_chart
from tests.e2e.conftest import Network

pytestmark = pytest.mark.processes

REASON = "found unconscious in the street, nobody at the hospital answers"


def test_an_emergency_while_the_custodian_is_down(network: Network) -> None:
    custodian, reader, other = (network.session(number) for number in range(3))
    wallet = network.wallet("patient")
    chart = open_with(custodian, wallet)["chart"]
    record = custodian.submit_record(chart, b"allergic to penicillin", "text/plain", sensitivities="none")["records"][0]
    network.same_height()
    network.devnet.kill(0)
    details = {"staff": "s-17", "family": "Okafor", "role": "registrar", "reason": REASON}
    asked = {"chart": chart, "purpose": "ETREAT", "records": [record], "details": details}
    answer = reader.break_glass(asked)
    event = answer["disclosure"]
    assert answer["outcome"] == "disclosed"
    assert reader.read(chart, event, record) == b"allergic to penicillin", "the holders release it together"
    network.same_height()
    review = other.client.get("/v1/emergencies")["emergencies"]
    assert [(one["emergency"], one["state"]) for one in review] == [(event, "unreviewed")]

    network.devnet.start([0])
    custodian = network.session(0)
    network.eventually("the details are at the custodian", lambda: bool(custodian.sealed_details(chart)))
    (look,) = read_chart(custodian, chart, wallet).found
    assert look.said is not None
    assert (look.said.reason, who_words(look), outcome_words(look)) == (
        REASON,
        "Okafor (registrar)",
        "read; review owed",
    )
    other.review_emergency(chart, event, True, {"role": "privacy officer", "reason": "the patient was unconscious"})
    network.same_height()
    (look,) = read_chart(custodian, chart, wallet).found
    assert outcome_words(look) == "read; found justified"
    counts = custodian.status()["emergencies"]
    assert [(one["institution"], one["opened"], one["unreviewed"]) for one in counts] == [(1, 1, 0)]
    assert 'chartledger_emergencies_opened_total{institution="1"} 1' in custodian.client.read("/metrics").decode()
    assert [one["kind"] for one in custodian.client.get("/v1/alerts")] == ["stranger"]
    for number in range(4):
        for path in network.devnet.home(number).rglob("*"):
            if path.is_file():
                assert b"unconscious" not in path.read_bytes(), path
