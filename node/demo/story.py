"""The demo's story, step by step: each method is a step, checks what it shows, and returns it in one sentence."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from node.cli.exits import BadArgument
from node.cli.grant import grant_with, revoke_with
from node.cli.output import progress
from node.cli.parts import read_as_owner
from node.demo.input import Patient
from node.demo.report import Report, expect, refused
from node.demo.stage import Chart, Stage
from node.genesis_file import read_genesis
from node.wallet import Wallet
from protocol.crypto.tags import NONE, GrantLabels
from protocol.errors import BadProof
from protocol.proofs import bundle, inclusion

HOSPITALS = (0, 1)
READER = 2
STRANGER = 3
STORY_RECORDS = 1_000
MONTH_MS = 30 * 24 * 3_600 * 1_000


class Story:
    """The steps, in the order in which they build on one another."""

    def __init__(self, stage: Stage, patients: list[Patient], report: Report, quiet: bool) -> None:
        self.stage = stage
        self.patients = patients
        self.report = report
        self.quiet = quiet
        self.categories = categories_to_grant(patients[0])
        self.granted: list[int] = []
        self.grant = 0
        self.disclosure = 0

    @property
    def chart(self) -> Chart:
        """The chart that the story is about: the first patient's, at the first hospital."""
        return self.stage.charts[0]

    def open_charts(self) -> str:
        """Every patient opens a chart with one hospital, the first patient with both."""
        stage = self.stage
        for number, patient in enumerate(self.patients):
            stage.open_chart(stage.wallet(f"patient-{number + 1}"), HOSPITALS[number % 2], patient)
        first = self.chart
        second = stage.open_chart(first.owner, HOSPITALS[1], Patient("", b"", [], []))
        here, there = (self.stage.same_everywhere(chart.number) for chart in (first, second))
        expect(here["owner_key"] != there["owner_key"], "two charts of one wallet have the same owner key")
        reopened = Wallet.create(stage.wallets / "from-words", secrets.token_bytes(16), seed=first.owner.content.seed)
        expect(
            reopened.keys(first.key).signing_seed == first.owner.keys(first.key).signing_seed,
            "a wallet made again from its seed has other keys",
        )
        return (
            f"{len(stage.charts)} charts are open; the first patient's two, at {stage.name(0)} and {stage.name(1)}, "
            "share nothing on the ledger"
        )

    def ingest(self) -> str:
        """The hospitals submit every Bundle, both at once, and each answer is final."""
        charts = [chart for chart in self.stage.charts if chart.patient.resources]
        total = sum(len(chart.patient.resources) for chart in charts)
        began = time.monotonic()
        with progress("records final", total, self.quiet) as step, ThreadPoolExecutor() as pool:
            for _ in pool.map(partial(self._ingest_at, charts, step), HOSPITALS):
                pass
        seconds = time.monotonic() - began
        self.report.records = total
        self.report.bytes = sum(len(one) for chart in charts for one in chart.patient.resources)
        self.report.records_per_second = round(total / seconds, 1)
        return f"{total} records are final, {self.report.records_per_second:.0f} a second, sealing included"

    def _ingest_at(self, charts: list[Chart], step: Callable[[int], None], hospital: int) -> None:
        session = self.stage.sessions[hospital]
        for chart in charts:
            if chart.custodian == hospital:
                chart.records = session.submit_bundle(chart.number, chart.patient.raw)["records"]
                step(len(chart.records))

    def final_everywhere(self) -> str:
        """Every record stands in its chart's history on all four nodes, under the same history and state roots."""
        final = 0
        self.stage.wait_for_height(max(self.stage.heights()))
        for chart in self.stage.charts:
            wanted = len(chart.patient.resources)
            expect(
                len(chart.records) == wanted, f"chart {chart.number}: {wanted} resources, {len(chart.records)} records"
            )
            self.stage.same_everywhere(chart.number)
            listed = [{e["number"] for e in session.events(chart.number, "records")} for session in self.stage.sessions]
            expect(all(set(chart.records) == one for one in listed), f"a node lacks records of chart {chart.number}")
            final += len(chart.records)
        self.report.final = final
        height = self.stage.same_state()
        return f"all {len(self.stage.sessions)} nodes have all {final} records and agree at block {height}"

    def read_back(self) -> str:
        """Every record comes back byte for byte."""
        identical = 0
        with progress("records read back", self.report.records, self.quiet) as step, ThreadPoolExecutor() as pool:
            for count in pool.map(partial(self._read_back_at, step), HOSPITALS):
                identical += count
        self.report.read_back_identical = identical
        expect(identical == self.report.records, f"{self.report.records - identical} records came back altered")
        return f"{identical} of {self.report.records} records are byte for byte what went in"

    def _read_back_at(self, step: Callable[[int], None], hospital: int) -> int:
        session = self.stage.sessions[hospital]
        identical = 0
        for chart in self.stage.charts:
            if chart.custodian == hospital:
                for number, original in zip(chart.records, chart.patient.resources, strict=True):
                    identical += session.read_own(chart.number, number) == original
                    step(1)
        return identical

    def give_permission(self) -> str:
        """The patient grants one institution some categories for treatment until a date."""
        chart = self.chart
        now = self.stage.sessions[READER].ledger_now()
        # Carried by the reader's own institution: any of them may carry what an owner has signed.
        answer = grant_with(
            self.stage.sessions[READER],
            chart.owner,
            chart.key,
            grantees=[READER],
            labels=GrantLabels(self.categories),
            purposes=["TREAT"],
            not_before=now - 1,
            not_after=now + MONTH_MS,
        )
        self.grant = answer["grant"]
        self.granted = [
            number
            for number, labels in zip(chart.records, chart.patient.labels, strict=True)
            if labels.category in self.categories and labels.sensitivity_1 == NONE
        ]
        self.stage.wait_for_height(answer["height"])
        return f"{self.stage.name(READER)} may read {len(self.granted)} of {len(chart.records)} records for 30 days"

    def read_under_grant(self) -> str:
        """Nothing without a final disclosure; with it, exactly what was granted, byte for byte."""
        chart, session = self.chart, self.stage.sessions[READER]
        refused(
            lambda: session.read(chart.number, 10**6, self.granted[0]),
            "not-disclosed",
            "nothing-there",
            "unknown-record",
        )
        answer = session.disclose(chart.number, self.grant, "TREAT")
        expect(answer["outcome"] == "disclosed", f"the disclosure was denied: {answer['sentence']}")
        expect(answer["records"] == self.granted, "the grant covers other records than the patient named")
        self.disclosure = answer["disclosure"]
        originals = dict(zip(chart.records, chart.patient.resources, strict=True))
        for number in self.granted:
            read = session.read(chart.number, self.disclosure, number)
            expect(read == originals[number], f"record {number} reached the reader altered")
        count, who = len(self.granted), self.stage.name(READER)
        return f"{count} records reached {who}, byte for byte, once disclosure {self.disclosure} was final"

    def refuse_the_rest(self) -> str:
        """Outside category, sensitivity, purpose, date or institution: denied, and the denial is on the ledger."""
        chart = self.chart
        outside = next(number for number in chart.records if number not in self.granted)
        early = self._later_grant(chart)
        asked = [
            ("outside", READER, self.grant, "TREAT", outside),
            ("purpose", READER, self.grant, "HMARKT", self.granted[0]),
            ("emergency-purpose", READER, self.grant, "ETREAT", self.granted[0]),
            ("wrong-institution", STRANGER, self.grant, "TREAT", self.granted[0]),
            ("no-grant", STRANGER, None, "TREAT", self.granted[0]),
            ("not-yet", READER, early, "TREAT", self.granted[0]),
        ]
        for reason, who, grant, purpose, record in asked:
            session = self.stage.sessions[who]
            answer = session.disclose(chart.number, grant, purpose, [record])
            expect(answer["outcome"] == "denied", f"{reason}: it was disclosed")
            expect(answer["reason"] == reason, f"denied for {answer['reason']} instead of {reason}")
            refused(partial(session.read, chart.number, answer["disclosure"], record), "release-denied")
        return f"{len(asked)} requests outside the grant were denied, each for its own reason: " + ", ".join(
            reason for reason, *_ in asked
        )

    def _later_grant(self, chart: Chart) -> int:
        session = self.stage.sessions[READER]
        now = session.ledger_now()
        answer = grant_with(
            session,
            chart.owner,
            chart.key,
            grantees=[READER],
            labels=GrantLabels(self.categories),
            purposes=["TREAT"],
            not_before=now + MONTH_MS,
            not_after=now + 2 * MONTH_MS,
        )
        number: int = answer["grant"]
        self.stage.wait_for_height(answer["height"])
        return number

    def take_it_back(self) -> str:
        """After the revocation neither a new disclosure nor the old one opens anything."""
        chart, session = self.chart, self.stage.sessions[READER]
        hospital = self.stage.sessions[chart.custodian]
        answer = revoke_with(hospital, chart.owner, chart.key, self.grant)
        self.stage.wait_for_height(answer["height"])
        again = session.disclose(chart.number, self.grant, "TREAT", self.granted[:1])
        expect((again["outcome"], again["reason"]) == ("denied", "revoked"), "a revoked grant still opens records")
        refused(lambda: session.read(chart.number, self.disclosure, self.granted[0]), "grant-ended")
        ledger = self.stage.same_everywhere(chart.number)
        expect(ledger["generation"] == 1, "the chart did not move to new tags")
        return "the next read was denied, and the custodian no longer releases under the old disclosure either"

    def who_looked(self) -> str:
        """The patient reads who asked, when, why, and what was refused; and reads a record with the wallet alone."""
        chart = self.chart
        session = self.stage.sessions[chart.custodian]
        asked = list(session.events(chart.number, "disclosures"))
        outcomes = [one["outcome"] for one in asked]
        expect(outcomes.count("disclosed") == 1, f"{outcomes.count('disclosed')} disclosures instead of one")
        expect(outcomes.count("denied") == 7, f"{outcomes.count('denied')} denials instead of seven")
        expect(all(one["sentence"] for one in asked if one["outcome"] == "denied"), "a denial has no reason to read")
        own = read_as_owner(session, chart.owner, chart.number, chart.records[0])
        expect(own.data == chart.patient.resources[0], "the owner's wallet opened something else")
        return f"the patient sees 1 disclosure and 7 denials with their reasons, the last: {asked[-1]['sentence']}"

    def another(self) -> Chart:
        """A chart with records besides the story's own, if there is one."""
        return next((one for one in reversed(self.stage.charts) if one.records and one is not self.chart), self.chart)

    def prove(self) -> str:
        """A proof of one record checks offline against the genesis file, and a falsified one does not."""
        chart = self.chart
        raw = self.stage.sessions[chart.custodian].proof(chart.number, chart.records[0])
        genesis = read_genesis(self.stage.devnet.genesis)
        shown = inclusion.check(bundle.read_inclusion(raw), genesis)
        expect(shown.number == chart.records[0], "the proof shows another event")
        middle = len(raw) // 2
        false = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]

        def check_false() -> None:
            inclusion.check(bundle.read_inclusion(false), genesis)

        why = refused(check_false, BadProof.code)
        return f"{len(raw)} bytes prove the record offline; with one bit changed: {why}"


def categories_to_grant(patient: Patient) -> tuple[str, ...]:
    """All kinds of records that the patient has but one, so that something stays outside; empty if that leaves none.

    What stays outside is the Patient resource, which says who it is about, where there is one.
    """
    open_kinds = {one.category for one in patient.labels if one.sensitivity_1 == NONE}
    kinds = sorted({one.category for one in patient.labels}, key=lambda kind: (kind != "Patient", kind))
    return tuple(sorted(set(kinds[1:]) & open_kinds))


def best_first(patients: list[Patient]) -> list[Patient]:
    """The patients, first one with whom the whole story can be played: several kinds of records, and not so many
    that reading them all under one disclosure takes minutes."""
    suited = [one for one in patients if categories_to_grant(one) and len(one.resources) <= STORY_RECORDS]
    suited = suited or [one for one in patients if categories_to_grant(one)]
    if not suited:
        raise BadArgument(
            "no Bundle holds records of two kinds",
            advice="The story needs one patient with, say, Patient and Observation.",
        )
    return [suited[0], *(one for one in patients if one is not suited[0])]
