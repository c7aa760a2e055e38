"""Nothing of a record is ever in the open: not on the ledger, in files, logs, metrics or status.

Plants names, texts and labels, lets everything happen to them that can, and then searches every byte that every node
keeps and says for them, and for every string of six bytes and more that stands in a record.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from node.cli.chart import open_with
from node.cli.grant import grant_with, revoke_with
from node.demo.generator import generate
from node.records.fhir import bundle_slices
from protocol.crypto.tags import GrantLabels
from protocol.errors import ChartledgerError

pytestmark = pytest.mark.processes

CANARIES = ("Zoë-Canary O'Tweety", "canary-finding-4711", "CanaryCategory", "1742-CANARY")
STRING = re.compile(rb"[\x20-\x7e\x80-\xff]{6,}")


def strings_of(value: object) -> Iterator[str]:
    """Every string in a JSON document, names of members included."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)
    elif isinstance(value, str):
        yield value


def planted() -> bytes:
    return msgspec.json.encode(
        {
            "resourceType": "Condition",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}]},
            "code": {"text": CANARIES[1]},
            "subject": {"display": CANARIES[0]},
            "onsetDateTime": "1987-06-05",
            "identifier": [{"value": CANARIES[3]}],
        }
    )


def everything_a_node_keeps(home: Path) -> dict[str, bytes]:
    """File by file: the bytes as they lie there, and for databases what SQLite reads from them besides."""
    kept = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    for path in home.rglob("*.db"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = (row for name in names for row in connection.execute(f'SELECT * FROM "{name}"'))
        text = (v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row if v is not None)
        kept[f"{path.name} as read"] = b"\0".join(text)
        connection.close()
    return kept


def everything_nodes_keep(network) -> dict[str, bytes]:
    net = network.devnet
    return {
        f"node {number} {name}": content
        for number in net.numbers
        for name, content in everything_a_node_keeps(net.home(number)).items()
    }


def everything_nodes_say(network, chart: int) -> dict[str, bytes]:
    """What anybody may ask who may only look."""
    chart_path = f"/v1/charts/{chart}"
    paths = (
        "/metrics",
        "/v1/status",
        "/v1/peers",
        "/v1/blocks",
        chart_path,
        f"{chart_path}/events",
        f"{chart_path}/disclosures",
    )
    return {
        f"node {number} {path}": network.session(number).client.read(path)
        for number in network.devnet.numbers
        for path in paths
    }


def test_no_name_text_or_category_is_anywhere_in_the_open(network) -> None:
    net = network.devnet
    hospital, reader = network.session(0), network.session(2)
    wallet = network.wallet("canary")
    chart = open_with(hospital, wallet)["chart"]
    network.same_height()
    before = everything_nodes_keep(network) | everything_nodes_say(network, chart)
    bundle = generate(1, seed=11)[0].raw
    hospital.submit_bundle(chart, bundle)
    record = hospital.submit_record(chart, planted(), "application/fhir+json")["records"][0]
    labelled = hospital.submit_record(
        chart, CANARIES[1].encode(), "text/x-canary", custom=True, category=CANARIES[2], sensitivities="PSYTHPN"
    )["records"][0]
    large = CANARIES[0].encode() * 400_000  # sealed as it comes in, and kept outside the database
    streamed = hospital.submit_record(chart, large, "application/octet-stream", sensitivities="none")["records"][0]
    assert hospital.read_own(chart, streamed) == large
    key = wallet.chart(hospital.chain(), chart)
    now = hospital.ledger_now()
    labels = GrantLabels(("Condition", CANARIES[2]), sensitivities=("PSYTHPN",))
    grant = grant_with(
        hospital,
        wallet,
        key,
        grantees=[2],
        labels=labels,
        purposes=["TREAT"],
        not_before=now - 1,
        not_after=now + 10**9,
    )["grant"]
    network.same_height()
    answer = reader.disclose(chart, grant, "TREAT", [record, labelled])
    assert answer["outcome"] == "disclosed"
    assert reader.read(chart, answer["disclosure"], record) == planted()
    assert reader.disclose(chart, grant, "HMARKT", [record])["outcome"] == "denied"
    revoke_with(hospital, wallet, key, grant)
    # What is refused must not be quoted either: a broken Bundle, and one whose member has an odd type.
    for body in (bundle[:-9], b'{"resourceType": "Bundle", "entry": [{"resource": "' + CANARIES[1].encode() + b'"}]}'):
        with pytest.raises(ChartledgerError) as caught:
            hospital.submit_bundle(chart, body)
        assert CANARIES[1] not in str(caught.value)
    network.same_height()

    spoken = everything_nodes_say(network, chart)
    net.stop()
    kept = everything_nodes_keep(network)
    assert any("ledger.db" in name for name in kept)
    assert any("node.log" in name for name in kept)
    resources = [planted(), *bundle_slices(bundle)]
    texts = {text for raw in resources for text in strings_of(msgspec.json.decode(raw))}
    wanted = {part for text in texts for part in STRING.findall(text.encode())} | {c.encode() for c in CANARIES}
    wanted |= {b"PSYTHPN", b"Condition", b"x-canary"}
    known = {word for word in wanted if any(word in content for content in before.values())}
    assert known <= {b"address", b"status"}, "only names of members that the node uses for itself"
    found = [(place, word) for place, content in (kept | spoken).items() for word in wanted - known if word in content]
    assert not found, found[:10]


def test_the_search_finds_what_is_planted_in_the_open(network) -> None:
    """The test above must be able to fail: the same words, put where they must not be, are found."""
    home = network.devnet.home(0)
    (home / "data" / "leak").write_bytes(b"x" * 100 + CANARIES[1].encode())
    kept = everything_a_node_keeps(home)
    assert [name for name, content in kept.items() if CANARIES[1].encode() in content] == ["data/leak"]
