"""Four hospitals and a patient with a record at the first: what askings and emergencies are played with."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from protocol.crypto.details import Details, details_info, open_details
from protocol.crypto.hashing import encryption_key_digest
from protocol.ledger.events import Disclosed, GlassBroken, decode_event
from protocol.types.operations import BreakGlassMode, Policy, SetPolicy
from tests.node.api.conftest import Desk, Town
from tests.node.records.conftest import settle
from tests.node.records.fake_core import SUITE

REASON = "found unconscious, Canary reason"
SAID = {"staff": "s-17", "family": "O'Neill", "given": "Zoë", "role": "registrar", "reason": REASON}
RECORD = b"what the record says"


class City(Town):
    """Four hospitals; the patient's chart is at the first, with one record."""

    def desk(self, number: int) -> Desk:
        return {0: self.custodian, 1: self.reader}.get(number) or self._others[number]

    _others: dict[int, Desk]

    async def set_policy(self, mode: BreakGlassMode) -> None:
        signed = self.patient.sign(SetPolicy(self.chart, Policy(mode)))
        await settle(self.custodian.hospital.core, await self.custodian.hospital.core.prepare([[signed]]))

    async def emergency(self, number: int = 1, **body: Any) -> dict[str, Any]:
        sent = {"chart": self.chart, "purpose": "ETREAT", "records": [1], "details": SAID} | body
        answer = await self.desk(number).post("/v1/emergencies?wait=final", json=sent)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def listed(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = (await self.desk(number).get("/v1/emergencies")).json()
        return found

    def opened(self, event: int, sealed: str) -> Details:
        """What the owner's wallet makes of it."""
        found = decode_event(self.network.chain.view.events[self.chart, event])
        assert isinstance(found, Disclosed | GlassBroken)
        commitment = found.details if isinstance(found, Disclosed) else found.justification
        assert commitment is not None
        recipient = encryption_key_digest(SUITE, self.patient.public)
        info = details_info(self.network.chain.id, self.chart, commitment, recipient)
        return open_details(SUITE, self.patient.private, info, commitment, b64decode(sealed))

    async def for_owner(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.custodian.get(f"/v1/charts/{self.chart}/details")).json()["details"]
        return found
