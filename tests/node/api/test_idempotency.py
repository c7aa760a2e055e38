"""A retry gives the first answer and never writes twice, whatever happened in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.api.writes import KEY_LIFE_MS
from tests.node.api.conftest import OTHER, Town

TEXT = {"content-type": "text/plain"}


async def events(town: Town) -> int:
    return int((await town.custodian.get(f"/v1/charts/{town.chart}")).json()["events"])


async def send(town: Town, key: str | None = "key", content: bytes = b"once", wait: bool = True) -> Any:
    path = f"/v1/charts/{town.chart}/records{'?wait=final' if wait else ''}"
    return await town.custodian.post(path, key=key, content=content, headers=dict(TEXT))


async def test_a_retry_gives_the_first_answer(town: Town) -> None:
    first = await send(town)
    for _ in range(3):
        again = await send(town)
        assert (again.status_code, again.json()) == (200, first.json())
    assert await events(town) == 2


async def test_without_a_key_a_repeat_is_another_record(town: Town) -> None:
    await send(town, key=None)
    await send(town, key=None)
    assert await events(town) == 3


async def test_a_retry_after_a_restart_gives_the_first_answer(town: Town) -> None:
    first = await send(town)
    await town.restart()
    assert (await send(town)).json() == first.json()
    assert await events(town) == 2


async def test_a_crash_between_finality_and_answer_writes_once(town: Town) -> None:
    town.network.chain.held = True
    pending = await send(town)
    assert (pending.status_code, pending.json()["type"].rpartition(":")[2]) == (504, "not-final-yet")
    await town.network.chain.make_block()  # final, and nobody was told
    await town.restart()
    answer = await send(town)
    assert answer.json()["records"] == [1]
    assert answer.json()["transactions"] == pending.json()["transactions"]
    assert await events(town) == 2


async def test_a_crash_before_finality_writes_once(town: Town) -> None:
    town.network.chain.held = True
    await send(town)
    await town.restart()
    town.network.chain.held = False
    await town.network.chain.make_block()
    assert (await send(town)).json()["records"] == [1]
    assert await events(town) == 2


async def test_a_crash_between_the_row_and_the_outbox_writes_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row stands, the transaction never left: the retry begins anew."""
    core = town.custodian.hospital.core

    async def crash(prepared: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(core, "submit", crash)
    assert (await send(town)).status_code == 500
    await town.restart()
    assert (await send(town)).json()["records"] == [1]
    assert (await send(town)).json()["records"] == [1]
    assert await events(town) == 2


async def test_the_row_is_durable_before_anything_leaves(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = town.custodian.hospital
    submit = hospital.core.submit
    rows: list[int] = []

    async def looking(prepared: Any) -> None:
        count = "SELECT count(*) FROM idempotency"
        rows.append(await hospital.ledger.database.read(lambda c: c.execute(count).fetchall()[0][0]))
        await submit(prepared)

    monkeypatch.setattr(hospital.core, "submit", looking)
    await send(town)
    assert rows == [1]


async def test_the_same_key_with_another_request_is_refused(town: Town) -> None:
    await send(town)
    for answer in (
        await send(town, content=b"twice"),
        await town.custodian.post("/v1/charts?wait=final", key="key", json=town.chart_in(town.patient)),
    ):
        assert answer.status_code == 422
        assert answer.json()["type"].endswith(":idempotency-key-reused")
    assert await events(town) == 2


async def test_retries_at_the_same_time_write_once(town: Town) -> None:
    answers = await asyncio.gather(*(send(town) for _ in range(8)))
    assert {str(answer.json()) for answer in answers} == {str(answers[0].json())}
    assert await events(town) == 2


async def test_a_key_is_a_users_own(town: Town) -> None:
    await send(town)
    path = f"/v1/charts/{town.chart}/records?wait=final"
    headers = {**TEXT, "Idempotency-Key": "key"}
    answer = await town.custodian.ask("POST", path, uid=OTHER, content=b"another user's", headers=headers)
    assert answer.json()["records"] == [2]


async def test_without_waiting_the_answer_is_202_and_the_retry_waits(town: Town) -> None:
    town.network.chain.held = True
    accepted = await send(town, wait=False)
    assert accepted.status_code == 202
    await town.network.chain.make_block()
    final = await send(town)
    assert final.json()["transactions"] == accepted.json()["transactions"]
    assert await events(town) == 2


async def test_what_expired_may_be_sent_again(town: Town) -> None:
    town.network.chain.held = True
    pending = (await send(town)).json()["transactions"]
    await town.custodian.hospital.core.expire([bytes.fromhex(one) for one in pending])
    town.network.chain.held = False
    assert (await send(town)).json()["records"] == [1]
    assert await events(town) == 2


async def test_a_large_upload_under_a_key_is_written_once(town: Town) -> None:
    content = bytes(9 * 1024 * 1024)
    first = await send(town, content=content)
    again = await send(town, content=content)
    assert again.json() == first.json()
    assert (await send(town, content=content[:-1] + b"x")).status_code == 422
    assert await events(town) == 2
    assert (await town.custodian.hospital.blobs.totals()).count == 1


async def test_a_key_is_forgotten_after_a_day(town: Town) -> None:
    await send(town)
    town.network.chain.clock.ms += KEY_LIFE_MS + 1
    assert (await send(town, content=b"another")).json()["records"] == [2]
