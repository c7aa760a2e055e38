"""The hospital that keeps the chart is gone: what its owner and a delegate still do, at another hospital's node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from protocol.codec.canonical import encode
from protocol.ledger import keys
from protocol.ledger.leaves import decode_leaf
from protocol.types.institutions import STATUS_REMOVED, Institution
from tests.node.cli.test_access import Desks, patient, staffed, wide
from tests.node.records.fake_core import Chain, Network

__all__ = ["wide"]
SAID = ("--practitioner", "s-9", "--family", "Okafor", "--reason", "follow-up")


@pytest.fixture
async def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desks]:
    """Five hospitals; each record of the first has three holders, so one of the others stores nothing."""
    async with staffed(Network(Chain(5), tmp_path, replicas=3), tmp_path, monkeypatch) as made:
        yield made


async def empty_handed(desks: Desks, chart: int) -> int:
    """The hospital that neither keeps the chart nor holds its first record."""
    (letter,) = await desks.json(1, "record", "list", chart)
    return next(number for number in range(1, 5) if number not in letter["holders"])


async def test_everything_but_the_custodians_own_acts(five: Desks) -> None:
    wallet, chart = await patient(five)
    helper = await five.wallet("helper.wallet")
    card = five.folder / "card"
    await five.run(0, "delegate", "key", chart, "--output", card, "--wallet", helper)
    await five.run(0, "grant", chart, "--to", 1, "--until", "30d", "--wallet", wallet)
    await five.run(1, "record", "read", chart, 1, "--grant", 0, *SAID)
    at = await empty_handed(five, chart)
    for hospital in five.network.hospitals.values():
        hospital.core.unreachable.add(0)

    # Reads all of it, sees who looked and why, though the custodian was never told.
    assert await five.run(at, "record", "read", chart, 1, "--wallet", wallet) == "the letter"
    told = await five.run(at, "disclosures", chart, "--wallet", wallet)
    assert "Okafor" in told
    assert '"follow-up"' in told
    without = await five.run(at, "disclosures", chart)
    assert "Okafor" not in without
    # Takes a copy of everything along, and proves.
    into = five.folder / "mine"
    done = await five.json(at, "record", "export", chart, "--into", into, "--wallet", wallet)
    assert (done["records"], done["here_before"], done["missing"]) == (1, 0, [])
    assert (into / "1.txt").read_text() == "the letter"
    assert (into / "1.txt").stat().st_mode & 0o777 == 0o600
    again = await five.json(at, "record", "export", chart, "--into", into, "--wallet", wallet)
    assert again["here_before"] == 1
    proof = five.folder / "record.proof"
    await five.run(at, "proof", "record", chart, 1, "--output", proof, "--wallet", wallet)
    assert proof.stat().st_size > 500
    # Grants, forbids, revokes, names and ends a delegate, who reads.
    await five.run(at, "grant", chart, "--to", 2, "--until", "30d", "--wallet", wallet)
    assert await five.run(2, "record", "read", chart, 1, "--grant", 1) == "the letter"
    await five.run(at, "revoke", chart, 0, "--wallet", wallet)
    assert "withdrawn" in await five.run(1, "record", "read", chart, 1, "--grant", 0, code=-1)
    words = ("delegate", "add", chart, "--card", card, "--act", "read", "--until", "30d", "--wallet", wallet)
    await five.run(at, *words)
    read = ("record", "read", chart, 1, "--as-delegate", "--wallet", helper)
    assert await five.run(at, *read) == "the letter"
    assert await five.run(2, *read) == "the letter"
    await five.run(at, "delegate", "end", chart, 0, "--wallet", wallet)
    assert "denied" in await five.run(at, *read, code=-1)
    await five.run(at, "policy", "bar", chart, "everybody", "--wallet", wallet)
    assert "denied" in await five.run(2, "record", "read", chart, 1, "--grant", 1, code=-1)
    # With two of the three holders gone as well, nobody puts a key together.
    (letter,) = await five.json(at, "record", "list", chart)
    for hospital in five.network.hospitals.values():
        hospital.core.unreachable.update(letter["holders"])
    elsewhere = five.folder / "elsewhere"
    left = await five.json(at, "record", "export", chart, "--into", elsewhere, "--wallet", wallet, code=3)
    assert [one["record"] for one in left["missing"]] == [1]
    assert list(elsewhere.iterdir()) == []
    assert "nobody gives a part" in await five.run(at, "record", "read", chart, 1, "--wallet", wallet, code=-1)


def removed(desks: Desks, number: int) -> None:
    """As the ledger would have it after a motion."""
    leaves, key = desks.network.chain.view.leaves, keys.institution(number)
    leaf = decode_leaf(key, leaves[key])
    assert isinstance(leaf, Institution)
    leaves[key] = encode(structs.replace(leaf, status=STATUS_REMOVED))


async def test_a_chart_moves_to_another_hospital_once_its_own_was_removed(five: Desks) -> None:
    wallet, chart = await patient(five)
    await five.run(0, "grant", chart, "--to", 1, "--until", "30d", "--wallet", wallet)
    await five.run(1, "record", "read", chart, 1, "--grant", 0, *SAID)
    await five.deliver(1)
    at = await empty_handed(five, chart)
    move = ("chart", "move", chart, "--wallet", wallet)
    assert "was not removed" in await five.run(at, *move, code=-1)
    removed(five, 0)
    for hospital in five.network.hospitals.values():
        hospital.core.unreachable.add(0)
    stranger = await five.wallet("stranger.wallet")
    assert "has no chart" in await five.run(at, "chart", "move", chart, "--wallet", stranger, code=-1)
    assert f"hospital {at} keeps chart {chart}" in await five.run(at, *move)
    assert f"hospital {at} keeps chart {chart}" in await five.run(at, *move), "again, as after a crash in between"
    assert f"the owner chose hospital {at}" in await five.run(at, "chart", "history", chart)
    # It writes, places what the owner disputes, and erases: what only a custodian can.
    letter = five.folder / "second.txt"
    letter.write_text("a second letter")
    await five.run(at, "record", "submit", chart, letter, "--category", "DocumentReference", "--sensitivity", "none")
    (_, second) = await five.json(at, "record", "list", chart)
    assert await five.run(at, "record", "read", chart, second["number"], "--wallet", wallet) == "a second letter"
    assert await five.run(1, "record", "read", chart, second["number"], "--grant", 0) == "a second letter"
    # Erased are copies at holders, too; the one that is gone answers for nothing any more.
    await five.run(at, "record", "erase", chart, 1, "--wallet", wallet, "--yes")
    (erasure,) = await five.json(at, "record", "erasures", chart)
    states = {one["institution"]: one["state"] for one in erasure["receipts"]}
    assert states.pop(0) == "gone"
    assert at in states
    # Nobody else takes it over, and no other secret.
    assert "was not removed" in await five.run(1, *move, code=-1)
