"""The demo's patient in control: what beats every grant, emergencies without the custodian, a lost wallet, erasure."""

from __future__ import annotations

import time
from collections.abc import Callable

from node.cli.client import Document, Session
from node.cli.grant import grant_with
from node.cli.recovery import complete_with, take_over
from node.cli.signing import submit_owned, submit_request
from node.demo.report import expect, refused
from node.demo.stage import WAIT_SECONDS, Chart, Stage
from node.genesis_file import read_genesis
from node.records.errors import RecordErased
from node.wallet import Wallet, WalletChart, recovery
from node.wallet import consent as making
from node.wallet.acting import guardian_public
from node.wallet.tagging import Forbidden
from protocol.crypto.tags import GrantLabels
from protocol.proofs import bundle
from protocol.proofs.erasure import ErasureProof
from protocol.proofs.erasure import check as check_erasure
from protocol.types.operations import Erase, Operation

READER, REVIEWER = 2, 3
GUARDIANS, THRESHOLD = 3, 2
RECOVERY_MS = 3_000
"""The waiting time of the demo's chain; a real one waits days."""
DAY_MS = 24 * 3600 * 1_000


class Control:
    """One patient's chart, and what its owner can do about it."""

    def __init__(self, stage: Stage, chart: Chart) -> None:
        self.stage = stage
        self.chart = chart
        self.grant = 0

    @property
    def session(self) -> Session:
        """The custodian's node."""
        return self.stage.sessions[self.chart.custodian]

    def forbid(self) -> str:
        """A grant of everything to two institutions, and a bar against one of them."""
        chart, reader, other = self.chart, self.stage.sessions[READER], self.stage.sessions[REVIEWER]
        now = reader.ledger_now()
        made = grant_with(
            self.session,
            chart.owner,
            chart.key,
            grantees=[READER, REVIEWER],
            labels=GrantLabels(),
            purposes=["TREAT"],
            not_before=now - 1,
            not_after=now + DAY_MS,
        )
        self.grant = int(made["grant"])

        def bar(current: WalletChart, control: Document) -> Operation:
            return making.policy(chart.owner, current, control, "allowed", [Forbidden(REVIEWER)])

        noted = submit_owned(self.session, chart.owner, chart.key, bar)
        self.stage.wait_for_height(noted["height"])
        covered = reader.disclose(chart.number, self.grant, "TREAT")
        expect(covered["outcome"] == "disclosed", f"the grant did not let {self.stage.name(READER)} read")
        denied = other.disclose(chart.number, self.grant, "TREAT", covered["records"][:1])
        expect(denied["reason"] == "barred", f"a barred institution was not denied for that: {denied['reason']}")
        return f"one grant names two institutions, and {self.stage.name(REVIEWER)} is denied: {denied['sentence']}"

    def emergency(self) -> str:
        """Read without a grant while the custodian is down, and reviewed by another institution."""
        chart, reader = self.chart, self.stage.sessions[READER]
        record = chart.records[-1]
        self.stage.devnet.kill(chart.custodian)
        try:
            asked = reader.break_glass(
                {
                    "chart": chart.number,
                    "purpose": "ETREAT",
                    "records": [record],
                    "details": {"staff": "e-17", "reason": "unconscious on arrival"},
                }
            )
            expect(asked["outcome"] == "disclosed", f"the emergency was not let through: {asked['reason']}")
            data = reader.read(chart.number, asked["disclosure"], record)
        finally:
            self.stage.devnet.start([chart.custodian])
        expect(data == chart.patient.resources[-1], "the holders gave out something else than the record")
        reviewer = self.stage.sessions[REVIEWER]
        reviewed = reviewer.review_emergency(chart.number, asked["disclosure"], True, None)
        self.stage.wait_until_healthy()
        self.stage.wait_for_height(reviewed["height"])
        who, dead, other = (self.stage.name(number) for number in (READER, chart.custodian, REVIEWER))
        return f"{who} read a record from its holders while {dead} was dead, and {other} found it justified"

    def recover(self) -> str:
        """The wallet is lost: two of three guardians move the chart to a new one, and old envelopes open with it."""
        chart, chain, session = self.chart, self.session.chain(), self.session
        guardians = [self.stage.wallet(f"guardian-{n}") for n in range(GUARDIANS)]
        keys = [guardian_public(one, chain, chart.number) for one in guardians]

        def name_them(current: WalletChart, control: Document) -> Operation:
            return recovery.guardians_set(chart.number, control, THRESHOLD, keys)

        submit_owned(session, chart.owner, chart.key, name_them)
        fresh = self.stage.wallet("recovered")
        _, request = recovery.begin(fresh, chain, session.control(chart.number), overrule=False)
        for one in guardians[:THRESHOLD]:
            control = session.control(chart.number)
            request = recovery.sign_request(one, chain, control, request, session.ledger_now())
        submit_request(session, request)
        _until(lambda: self._completed(fresh), "the recovery did not take effect")
        lost, chart.owner = chart.owner, fresh
        chart.key = fresh.chart(chain, chart.number)
        why = refused(lambda: self._grant(lost), "not-the-owner")
        made = self._grant(fresh)
        moved = f"{THRESHOLD} of {GUARDIANS} guardians moved it"
        return f"{moved}: the new wallet made grant {made}, and the lost one none: {why}"

    def _completed(self, wallet: Wallet) -> bool:
        control = self.session.control(self.chart.number)
        if control["pending"] is not None and control["pending"]["ready_at"] > self.session.ledger_now():
            return False
        complete_with(self.session, self.chart.number)
        return take_over(self.session, wallet, self.chart.number)

    def _grant(self, wallet: Wallet) -> int:
        now = self.session.ledger_now()
        made = grant_with(
            self.session,
            wallet,
            wallet.chart(self.session.chain(), self.chart.number),
            grantees=[READER],
            labels=GrantLabels(),
            purposes=["TREAT"],
            not_before=now - 1,
            not_after=now + DAY_MS,
        )
        return int(made["grant"])

    def erase(self) -> str:
        """Owner and custodian order a record erased; everybody who stored it deletes it and says so."""
        chart, session = self.chart, self.session
        record = chart.records[0]
        place = f"/v1/charts/{chart.number}"
        holders = session.client.get(f"{place}/erasure-holders", records=str(record))["holders"]

        def order(current: WalletChart, control: Document) -> Operation:
            return Erase(chart.number, (record,), tuple(holders))

        submit_owned(session, chart.owner, chart.key, order)
        _until(lambda: self._erasure()["complete"], "not every holder acknowledged the erasure")
        found = self._erasure()
        why = refused(lambda: session.read_own(chart.number, record), RecordErased.code)
        raw = session.client.read(f"/v1/proofs/charts/{chart.number}/erasures/{found['erasure']}")
        genesis = read_genesis(self.stage.devnet.genesis)
        shown = check_erasure(bundle.read_as(ErasureProof, raw), genesis=genesis)
        expect(shown.complete, "the proof says that somebody has not acknowledged")
        count = len(found["receipts"])
        return f"{count} institutions deleted it and said so on the ledger, proved offline; reading it now: {why}"

    def _erasure(self) -> Document:
        return self.session.client.get(f"/v1/charts/{self.chart.number}/erasures")[-1]


def _until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        expect(time.monotonic() < until, f"{what} in {WAIT_SECONDS} s")
        time.sleep(0.2)
