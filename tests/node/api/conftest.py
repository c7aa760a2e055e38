"""Two hospitals' sockets without sockets: the real application on a core without consensus or network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from node.api.app import make_app
from node.api.context import Context
from node.api.peercred import Peer, RoleMap
from node.api.server import ApiSettings
from node.api.writes import Writes
from node.records.labelling import Labelling
from node.records.sensitivity_table import Table
from protocol.crypto.tags import GrantLabels
from tests.node.records.fake_core import SUITE, Chain, Hospital, Network
from tests.node.records.patient import Patient

LETTERS = Labelling(table=Table(categories={"Letter": "letters of our own"}))
UID = 1000
OTHER = 1001
LOOKER = 2000
SECRET = b"secret of this node"


class Desk:
    """One hospital's socket, asked as user `uid`."""

    def __init__(self, hospital: Hospital, **settings: Any) -> None:
        self.hospital = hospital
        made = ApiSettings(
            socket=Path("unused"),
            roles=RoleMap(frozenset({UID, OTHER}), govern_uids=frozenset({UID})),
            wait_s=0.05,
            **{"labelling": LETTERS} | settings,
        )
        core = hospital.core
        self.closing = asyncio.Event()
        writes = Writes(core, hospital.ledger.idempotency, SECRET, made.wait_s)
        self.settings = made
        self.app = make_app(Context(made, core, hospital.records, writes, self.closing), SECRET)

    async def ask(self, method: str, path: str, uid: int = UID, **options: Any) -> httpx.Response:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = {"peer": Peer(1, uid, frozenset())}
            await self.app(scope, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.request(method, path, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        if key is not None:
            options["headers"] = {**options.get("headers", {}), "Idempotency-Key": key}
        return await self.ask("POST", path, **options)


@dataclass
class Town:
    """Two hospitals and a patient with a chart at the first."""

    network: Network
    custodian: Desk
    reader: Desk
    patient: Patient
    chart: int = 0

    def chart_in(self, patient: Patient) -> dict[str, Any]:
        signed = patient.open_chart().cosignatures[0]
        return {
            "owner_key": patient.key.public.hex(),
            "encryption_suite": SUITE,
            "encryption_public": patient.public.hex(),
            "chart_secret": patient.keys.chart_secret.hex(),
            "cosignature": {
                "number": signed.number,
                "expires_at": signed.expires_at,
                "signature": signed.signature.hex(),
            },
        }

    async def restart(self, number: int = 0) -> None:
        await self.network.stop(number)
        desk = Desk(await self.network.start(number))
        if number == 0:
            self.custodian = desk
        else:
            self.reader = desk

    async def granted(self, labels: GrantLabels | None = None) -> int:
        from base64 import b64encode

        from protocol.codec.canonical import encode

        signed = self.patient.grant(self.chart, 1, labels or GrantLabels())
        body = {"chart": self.chart, "operation": b64encode(encode(signed)).decode()}
        answer = await self.reader.post("/v1/operations?wait=final", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["grant"])


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    network = Network(Chain(2), tmp_path)
    try:
        desks = [Desk(await network.start(number)) for number in range(2)]
        made = Town(network, desks[0], desks[1], Patient(network.chain, 0))
        answer = await made.custodian.post("/v1/charts?wait=final", json=made.chart_in(made.patient))
        assert answer.status_code == 200, answer.text
        made.chart = answer.json()["chart"]
        yield made
    finally:
        await network.close()


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Any]:
    from tests.node.api.city import RECORD, City

    network = Network(Chain(4), tmp_path)
    try:
        desks = [Desk(await network.start(number)) for number in range(4)]
        made = City(network, desks[0], desks[1], Patient(network.chain, 0))
        made._others = {2: desks[2], 3: desks[3]}
        answer = await made.custodian.post("/v1/charts?wait=final", json=made.chart_in(made.patient))
        made.chart = answer.json()["chart"]
        headers = {"content-type": "text/plain", "category": "Letter", "year": "2024"}
        path = f"/v1/charts/{made.chart}/records?wait=final"
        answer = await made.custodian.post(path, content=RECORD, headers=headers)
        assert answer.json()["records"] == [1], answer.text
        yield made
    finally:
        await network.close()
