"""A permitted read succeeds while the custodian is dead, under a live grant and in an emergency, with real daemons."""

from __future__ import annotations

import secrets

import pytest

from node.cli.chart import open_with
from node.cli.grant import grant_with, revoke_with
from protocol.crypto.tags import GrantLabels
from protocol.errors import ChartledgerError

pytestmark = pytest.mark.processes

TEXT = b"what the custodian alone wrote"

REPAIR_S = 240.0


def test_reading_goes_on_when_the_custodian_was_killed(network) -> None:
    net = network.devnet
    hospital, reader, other = network.session(0), network.session(2), network.session(3)
    wallet = network.wallet("holders")
    chart = open_with(hospital, wallet)["chart"]
    large = secrets.token_bytes(3_000_000)  # fetched by its holders, and read from them, in pieces
    record = hospital.submit_record(chart, TEXT, "text/plain")["records"][0]
    big = hospital.submit_record(chart, large, "application/dicom", sensitivities="none")["records"][0]
    key = wallet.chart(hospital.chain(), chart)
    now = hospital.ledger_now()
    terms = {"labels": GrantLabels(), "purposes": ["TREAT"], "not_before": now - 1, "not_after": now + 10**9}
    grant = grant_with(hospital, wallet, key, grantees=[2], **terms)["grant"]
    network.same_height()
    # On a busy machine a holder may have been passed over: then it is made good in the background.
    network.eventually("all copies are there", lambda: hospital.status()["copies"]["lacking"] == 0, REPAIR_S)
    assert hospital.status()["copies"] == {"lacking": 0, "held": 0, "misfits": {}}
    network.eventually("the reader holds both", lambda: reader.status()["copies"]["held"] == 2)

    net.kill(0)
    answer = reader.disclose(chart, grant, "TREAT", [record, big])
    assert answer["outcome"] == "disclosed"
    assert reader.read(chart, answer["disclosure"], record) == TEXT
    assert reader.read(chart, answer["disclosure"], big) == large
    page = reader.read_page(chart, answer["disclosure"], 0, 10)
    assert len(page["records"]) == 1
    emergency = other.break_glass(
        {"chart": chart, "purpose": "ETREAT", "records": [record], "details": {"reason": "unconscious"}}
    )
    assert emergency["outcome"] == "disclosed"
    assert other.read(chart, emergency["disclosure"], record) == TEXT

    # With one more dead there are no two holders left besides the reader: its own share opens nothing alone.
    net.kill(1)
    net.kill(3)
    with pytest.raises(ChartledgerError, match="share"):
        reader.read(chart, answer["disclosure"], record)

    net.start([0, 1, 3])
    network.same_height()
    revoke_with(network.session(1), wallet, key, grant)
    network.same_height()
    net.kill(0)
    with pytest.raises(ChartledgerError, match="withdrawn"):
        reader.read(chart, answer["disclosure"], record)
