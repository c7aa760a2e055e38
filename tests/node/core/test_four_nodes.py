"""Four whole nodes in one process: transactions become final, nodes restart, catch up, and go on with one dead."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.app import Node
from node.genesis_file import write_genesis
from node.own_keys import KeysMismatch
from node.services import Final, Prepared, Waiting
from node.storage.errors import FolderInUse
from protocol.codec.canonical import decode, encode
from protocol.crypto.signing import SigningKey, cosign, sign_transaction
from protocol.errors import (
    BadSignature,
    DecodeError,
    Expired,
    ForeignChain,
    GenesisMismatch,
    JournalBroken,
    Unauthorised,
    UnknownChart,
    UnknownRecord,
)
from protocol.ledger import keys
from protocol.ledger.leaves import Counters
from protocol.proofs import bundle
from protocol.proofs.inclusion import check
from protocol.types.operations import ROLE_OWNER, AppendRecords, OpenChart, RecordEntry, SignedOperation
from protocol.types.transaction import TransactionBody

Devnet = Any  # the fixture's type stands in conftest.py, which tests do not import


def entries(count: int, salt: int = 0) -> tuple[RecordEntry, ...]:
    tag = bytes(16)
    return tuple(RecordEntry((salt * 1_000 + n).to_bytes(32, "big"), (tag, tag, tag, tag)) for n in range(count))


def append(chart: int, count: int = 1, salt: int = 0) -> list[SignedOperation]:
    return [SignedOperation(AppendRecords(chart, entries(count, salt)))]


async def same_roots(devnet: Devnet, *numbers: int) -> None:
    height = max(devnet.services(n).head().height for n in numbers)
    for number in numbers:
        await devnet.height(number, height)
    blocks = [[b.digest for b in await devnet.services(n).blocks(0, height + 1)] for n in numbers]
    assert all(len(one) == height + 1 for one in blocks)
    assert all(one == blocks[0] for one in blocks)


async def test_what_one_submits_becomes_final_on_all(devnet: Devnet) -> None:
    opened = await devnet.open_charts(0, 0, 3)
    charts = [one.receipt.operations[0].chart for one in opened]
    assert charts == [0, 1, 2]
    final = await devnet.submit(0, [append(chart, 5) for chart in charts])
    assert {one.receipt.operations[0].events for one in final} == {5}
    await same_roots(devnet, 0, 1, 2, 3)
    for number in range(4):
        chart = await devnet.services(number).chart(1)
        assert chart is not None
        assert chart.events == 6


async def test_the_chain_goes_on_with_one_dead_which_catches_up(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    await devnet.stop(3)
    for salt in range(12):
        await devnet.submit(0, [append(0, 2, salt)])
    status = await devnet.services(0).status()
    assert status["healthy"]
    assert "Hospital 3" in status["summary"]
    assert status["authorities"][3]["state"] == "silent"
    assert status["authorities"][3]["since_ms"]
    await devnet.start(3)
    await devnet.height(3, devnet.services(0).head().height)
    await same_roots(devnet, 0, 1, 2, 3)
    # and it takes part again
    await devnet.stop(2)
    final = await devnet.submit(0, [append(0, 2, 77)])
    assert final[0].receipt.operations[0].chart == 0
    await devnet.start(2)
    await same_roots(devnet, 0, 1, 2, 3)


async def test_with_two_dead_it_stops_says_so_and_resumes(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    await devnet.stop(2, 3)
    services = devnet.services(0)
    prepared = await services.prepare([append(0, 3)])
    await services.submit(prepared)
    status = await services.status()
    assert not status["healthy"]
    assert status["summary"].startswith("stalled: 2 of 4 authorities are silent (Hospital 2 since ")
    assert "3 are needed" in status["summary"]
    assert await services.outcomes([prepared[0].id], 0.5) == [Waiting.PENDING]
    await devnet.start(2, 3)
    (outcome,) = await services.outcomes([prepared[0].id], 60)
    assert isinstance(outcome, Final)
    await same_roots(devnet, 0, 1, 2, 3)


async def test_a_submission_outlives_its_node(devnet: Devnet) -> None:
    """What is in the outbox becomes final although the node stopped before anybody could."""
    await devnet.open_charts(0, 0, 1)
    await devnet.stop(1, 2, 3)
    prepared = await devnet.services(0).prepare([append(0, 3)])
    await devnet.services(0).submit(prepared)
    await devnet.stop(0)
    await devnet.start(0, 1, 2, 3)
    (outcome,) = await devnet.services(0).outcomes([prepared[0].id], 60)
    assert isinstance(outcome, Final)
    # answered again after another restart, from the receipt; and the number is not handed out again
    await devnet.stop(0)
    await devnet.start(0)
    assert await devnet.services(0).outcomes([prepared[0].id], 0) == [outcome]
    fresh = await devnet.services(0).prepare([append(0, 1, 5)])
    assert fresh[0].number > prepared[0].number


async def test_all_restart_and_go_on(devnet: Devnet) -> None:
    await devnet.open_charts(1, 0, 2)
    before = devnet.services(0).head().height
    await devnet.stop(0, 1, 2, 3)
    await devnet.start(0, 1, 2, 3)
    assert devnet.services(0).head().height >= before
    await devnet.submit(1, [append(0, 3), append(1, 3)])
    await same_roots(devnet, 0, 1, 2, 3)


async def test_batches_from_every_side_at_once(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    batches = [
        [
            sign(n, number, devnet.outside[n], [OpenChart(n, owner.public, 1, bytes(32))], devnet.chain, owner)
            for number in range(60)
            for owner in [SigningKey(seed("batch", n * 1_000 + number))]
        ]
        for n in range(4)
    ]

    async def load(n: int) -> None:
        services = devnet.services(n)
        adopted = await services.adopt(batches[n])
        assert all(isinstance(one, Prepared) for one in adopted), adopted
        await services.submit(adopted)
        outcomes = await services.outcomes([one.id for one in adopted], 60)
        assert all(isinstance(one, Final) for one in outcomes)
        # a client's retry finds the same, and nothing is written twice
        again = await services.adopt(batches[n])
        assert [one.id for one in again] == [one.id for one in adopted]
        await services.submit(again)
        assert await services.outcomes([one.id for one in again], 5) == outcomes

    await asyncio.gather(*(load(n) for n in range(4)))
    await same_roots(devnet, 0, 1, 2, 3)
    leaf = await devnet.services(0).leaves([keys.COUNTERS])
    assert decode(Counters, leaf[keys.COUNTERS]).charts == 241


async def test_refusals_have_names_and_write_nothing(devnet: Devnet) -> None:
    services = devnet.services(0)
    with pytest.raises(UnknownChart):
        await services.prepare([append(7)])
    owner = SigningKey(seed("batch", 1))
    key = devnet.outside[0]
    opening = [OpenChart(0, owner.public, 1, bytes(32))]
    good = sign(0, 5, key, opening, devnet.chain, owner)
    results = await services.adopt(
        [
            b"\x93garbage",
            good[:-1] + bytes([good[-1] ^ 1]),
            sign(0, 5, key, opening, bytes(32), owner),
            sign(0, 5, key, opening, devnet.chain, owner, valid_until=1),
            sign(1, 5, devnet.outside[1], opening, devnet.chain, owner),
            sign(0, 5, devnet.outside[1], opening, devnet.chain, owner),
            good,
        ]
    )
    assert [type(one) for one in results] == [
        DecodeError,
        BadSignature,
        ForeignChain,
        Expired,
        Unauthorised,
        BadSignature,
        Prepared,
    ]
    assert services.head().height == 0
    assert services.submission.pending == 0


async def test_a_proof_at_the_head_checks_offline(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    await devnet.submit(0, [append(0, 9)])
    await devnet.height(2, devnet.services(0).head().height)
    raw = await devnet.services(2).proofs.inclusion(0, 4)
    claim = check(bundle.read(raw), devnet.genesis)
    assert (claim.chart, claim.number) == (0, 4)
    with pytest.raises(UnknownRecord):
        await devnet.services(2).proofs.inclusion(0, 99)
    with pytest.raises(UnknownChart):
        await devnet.services(2).proofs.inclusion(5, 0)


async def test_a_block_becomes_known_to_subscribers_with_its_events(devnet: Devnet) -> None:
    async with devnet.services(2).subscribe() as blocks:
        await devnet.open_charts(0, 0, 1)
        block = await anext(blocks)
        while not block.transactions:
            block = await anext(blocks)
        assert [(chart, number) for chart, number, _ in block.events] == [(0, 0)]
    async with devnet.services(2).subscribe() as blocks:
        await devnet.stop(2)
        assert [block async for block in blocks] == []


@pytest.mark.parametrize("gone", ["journal", "all"], ids=["the journal", "the whole data folder"])
async def test_a_node_whose_journal_is_gone_follows_and_says_so(devnet: Devnet, gone: str) -> None:
    """Also with the mark gone beside it: a wiped folder must not look like a node that never voted."""
    await devnet.open_charts(0, 0, 1)
    await devnet.height(3, devnet.services(0).head().height)
    await devnet.stop(3)
    lost = devnet.journal(3) if gone == "journal" else devnet.config(3).data
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    await devnet.start(3)
    status = await devnet.services(3).status()
    assert not status["healthy"]
    assert "is missing, and votes may have been cast from it" in status["summary"]
    await devnet.submit(0, [append(0, 2)])
    await devnet.height(3, devnet.services(0).head().height)


async def test_a_journal_that_cannot_be_written_stops_the_node(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    node = devnet.nodes[3]
    devnet.services(3).driver.term.voting_key.close()
    await devnet.submit(0, [append(0, 2)])
    with pytest.raises(JournalBroken):
        await node.failed()
    await devnet.stop(3)
    await devnet.submit(0, [append(0, 2, 1)])


async def test_metrics_and_status_tell_numbers_and_no_content(devnet: Devnet) -> None:
    await devnet.met(0)
    await devnet.open_charts(0, 0, 2)
    services = devnet.services(0)
    while not services.finality_times.count:  # a block that sync was faster to fetch tells no time
        await devnet.open_charts(0, services.head().height + 10, 1)
    text = services.metrics_text()
    assert f"chartledger_height {services.head().height}\n" in text
    assert 'chartledger_peer_bytes_in_total{institution="1"}' in text
    status = await services.status()
    assert status["healthy"], status["summary"]
    assert status["chain"] == devnet.chain.hex()
    assert status["finality_ms"]["p50"] is not None
    assert [one["state"] for one in status["authorities"]] == ["voting"] * 4
    msgspec.json.encode(status)


async def test_foreign_genesis_or_keys_are_refused_at_the_start(devnet: Devnet, tmp_path: Path) -> None:
    await devnet.stop(3)
    with pytest.raises(KeysMismatch):
        await Node(devnet.config(3), devnet.keys(2)).start()
    other = msgspec.structs.replace(devnet.genesis, created_at=1)
    write_genesis(tmp_path / "other.json", other)
    config = msgspec.structs.replace(devnet.config(3), genesis=tmp_path / "other.json")
    with pytest.raises(GenesisMismatch):
        await Node(config, devnet.keys(3)).start()
    with pytest.raises(FolderInUse):
        await Node(msgspec.structs.replace(devnet.config(3), data=devnet.config(0).data), devnet.keys(3)).start()
    await devnet.start(3)


def sign(
    institution: int,
    number: int,
    key: SigningKey,
    operations: list[OpenChart],
    chain: bytes,
    owner: SigningKey,
    valid_until: int | None = None,
) -> bytes:
    now = int(time.time() * 1_000)
    expires = now + 3_600_000
    signed = tuple(SignedOperation(one, (cosign(owner, chain, one, ROLE_OWNER, 0, expires),)) for one in operations)
    until = valid_until or now + 600_000
    return encode(sign_transaction(key, TransactionBody(chain, institution, 1, number, until, signed)))


def seed(label: str, number: int) -> bytes:
    return hashlib.blake2b(f"{label} {number}".encode(), digest_size=32).digest()
