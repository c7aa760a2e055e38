"""Made-up patients as FHIR R4 transaction Bundles, the same for the same seed.

Nobody's data: names, dates and findings are drawn from small lists. What matters is that the files are as awkward as
real ones: accents and apostrophes in names, escapes, pretty and minified JSON, trailing zeros, sensitive resources
marked in `meta.security` (https://hl7.org/fhir/R4/security-labels.html), references between resources.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

Resource = dict[str, Any]

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
GIVEN = ("Zoë", "José", "Anaïs", "Søren", "Bríd", "Małgorzata", "Léonie", "Ömer", "Nguyệt", "Chloe", "Samuel", "Iñaki")
FAMILY = ("O'Hara", "Müller", "D'Ávila", "Nuñez", "Þórsdóttir", "N'Diaye", "Šimić", "Lefèvre", "Echevarría", "Smith")
CITIES = ("Nîmes", "Århus", "Gdańsk", "San José", "Zürich", "L'Aquila")

# code, display, sensitivity (or none)
CONDITIONS = (
    ("44054006", "Type 2 diabetes mellitus", None),
    ("38341003", "Hypertensive disorder", None),
    ("195662009", "Acute viral pharyngitis", None),
    ("195967001", "Asthma", None),
    ("370143000", "Major depressive disorder", "MH"),
    ("7200002", "Alcoholism", "ETHUD"),
    ("86406008", "Human immunodeficiency virus infection", "HIV"),
)
OBSERVATIONS = (
    ("8302-2", "Body height", "cm", 150, 195, 1),
    ("29463-7", "Body weight", "kg", 48, 120, 2),
    ("4548-4", "Hemoglobin A1c", "%", 4, 10, 1),
    ("8867-4", "Heart rate", "/min", 52, 110, 0),
    ("2339-0", "Glucose", "mg/dL", 70, 180, 2),
)
MEDICATIONS = (
    ("860975", "metformin hydrochloride 500 MG Oral Tablet", None),
    ("314076", "lisinopril 10 MG Oral Tablet", None),
    ("312938", "sertraline 50 MG Oral Tablet", "MH"),
)
VACCINES = (("140", "Influenza, seasonal, injectable"), ("113", "Td (adult)"), ("213", "SARS-COV-2"))
PROCEDURES = (("80146002", "Appendectomy"), ("73761001", "Colonoscopy"), ("430193006", "Medication reconciliation"))
ALLERGENS = (("91935009", "Allergy to peanuts"), ("300916003", "Latex allergy"), ("91936005", "Allergy to penicillin"))

STYLES: tuple[dict[str, Any], ...] = (
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 2, "ensure_ascii": False},
    {"indent": 4, "ensure_ascii": True},
    {"indent": "\t", "separators": (",", " : "), "ensure_ascii": False},
    {"separators": (", ", ": "), "ensure_ascii": True},
)


class GeneratedBundle(NamedTuple):
    """One patient's Bundle: `name` as a file would be called, `raw` the exact bytes."""

    name: str
    raw: bytes


def generate(patients: int, seed: int, encounters: int = 6) -> list[GeneratedBundle]:
    """`patients` Bundles, each of about four resources per encounter and as many again once."""
    bundles = []
    for number in range(patients):
        # A generator for each patient, so that asking for more leaves the first ones as they were.
        draw = random.Random(f"{seed}/{number}")  # noqa: S311 - sample data, nothing secret hangs on it
        resources = _Patient(draw).resources(encounters)
        bundle = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": f"urn:uuid:{one['id']}",
                    "resource": one,
                    "request": {"method": "POST", "url": one["resourceType"]},
                }
                for one in resources
            ],
        }
        text = json.dumps(bundle, **STYLES[number % len(STYLES)])
        bundles.append(GeneratedBundle(f"patient-{number + 1}.json", text.encode()))
    return bundles


class _Patient:
    """Draws one patient's resources; every reference leads to a resource of the same Bundle."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.id = self._id()
        self.me = {"reference": f"urn:uuid:{self.id}"}
        self.born = draw.randint(1938, 2012)

    def resources(self, encounters: int) -> list[Resource]:
        """Patient, allergy and immunizations once, then what each encounter brought."""
        found = [self._patient(), self._allergy(), *(self._immunization() for _ in range(2))]
        for _ in range(encounters):
            encounter = self._encounter()
            visit = {"reference": f"urn:uuid:{encounter['id']}"}
            makers: list[Callable[[Resource, Resource], Resource]] = [
                self._condition,
                self._medication,
                self._procedure,
            ]
            measured = [self._observation(encounter, visit) for _ in range(self.draw.randint(1, 3))]
            found += [encounter, *measured, self.draw.choice(makers)(encounter, visit)]
            found.append(self._report(encounter, visit, measured))
            if self.draw.random() < 0.4:
                found.append(self._document(encounter, visit))
        return found

    def _id(self) -> str:
        raw = f"{self.draw.getrandbits(128):032x}"
        return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:]}"

    def _new(self, kind: str, sensitivity: str | None = None, **members: Any) -> Resource:
        resource: Resource = {"resourceType": kind, "id": self._id()}
        if sensitivity:
            resource["meta"] = {"security": [{"system": ACT_CODE, "code": sensitivity}]}
        return resource | members

    def _day(self) -> str:
        return f"{self.draw.randint(2015, 2025)}-{self.draw.randint(1, 12):02}-{self.draw.randint(1, 28):02}"

    def _patient(self) -> Resource:
        given, family = self.draw.choice(GIVEN), self.draw.choice(FAMILY)
        return {
            "resourceType": "Patient",
            "id": self.id,
            "text": {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p title="name">{given} {family}</p></div>',
            },
            "name": [{"use": "official", "family": family, "given": [given]}],
            "gender": self.draw.choice(("female", "male", "other")),
            "birthDate": f"{self.born}-{self.draw.randint(1, 12):02}-{self.draw.randint(1, 28):02}",
            "address": [{"city": self.draw.choice(CITIES), "line": [f'{self.draw.randint(1, 99)} "Old" Rd\\B']}],
        }

    def _encounter(self) -> Resource:
        day = self._day()
        return self._new(
            "Encounter",
            status="finished",
            subject=self.me,
            period={"start": f"{day}T09:00:00+00:00", "end": f"{day}T09:30:00.000+00:00"},
        ) | {"class": {"system": ACT_CODE, "code": self.draw.choice(("AMB", "EMER", "IMP"))}}

    def _condition(self, encounter: Resource, visit: Resource) -> Resource:
        code, display, sensitivity = self.draw.choice(CONDITIONS)
        return self._new(
            "Condition",
            sensitivity,
            code=_coded("http://snomed.info/sct", code, display),
            subject=self.me,
            encounter=visit,
            onsetDateTime=encounter["period"]["start"],
        )

    def _observation(self, encounter: Resource, visit: Resource) -> Resource:
        code, display, unit, low, high, digits = self.draw.choice(OBSERVATIONS)
        return self._new(
            "Observation",
            status="final",
            code=_coded("http://loinc.org", code, display),
            subject=self.me,
            encounter=visit,
            effectiveDateTime=encounter["period"]["start"],
            valueQuantity={"value": round(self.draw.uniform(low, high), digits), "unit": unit},
        )

    def _medication(self, encounter: Resource, visit: Resource) -> Resource:
        code, display, sensitivity = self.draw.choice(MEDICATIONS)
        return self._new(
            "MedicationRequest",
            sensitivity,
            status="active",
            intent="order",
            medicationCodeableConcept=_coded("http://www.nlm.nih.gov/research/umls/rxnorm", code, display),
            subject=self.me,
            encounter=visit,
            authoredOn=encounter["period"]["start"],
        )

    def _procedure(self, encounter: Resource, visit: Resource) -> Resource:
        code, display = self.draw.choice(PROCEDURES)
        return self._new(
            "Procedure",
            status="completed",
            code=_coded("http://snomed.info/sct", code, display),
            subject=self.me,
            encounter=visit,
            performedPeriod=encounter["period"],
        )

    def _report(self, encounter: Resource, visit: Resource, measured: list[Resource]) -> Resource:
        return self._new(
            "DiagnosticReport",
            status="final",
            code=_coded("http://loinc.org", "51990-0", "Basic Metabolic Panel"),
            subject=self.me,
            encounter=visit,
            effectiveDateTime=encounter["period"]["start"],
            result=[{"reference": f"urn:uuid:{one['id']}"} for one in measured],
        )

    def _document(self, encounter: Resource, visit: Resource) -> Resource:
        text = (
            f"Progress note of {encounter['period']['start'][:10]}: "
            + "the patient feels better. " * self.draw.randint(5, 60)
        )
        return self._new(
            "DocumentReference",
            status="current",
            subject=self.me,
            date=encounter["period"]["start"],
            content=[{"attachment": {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}}],
            context={"encounter": [visit]},
        )

    def _immunization(self) -> Resource:
        code, display = self.draw.choice(VACCINES)
        return self._new(
            "Immunization",
            status="completed",
            vaccineCode=_coded("http://hl7.org/fhir/sid/cvx", code, display),
            patient=self.me,
            occurrenceDateTime=self._day(),
            primarySource=True,
        )

    def _allergy(self) -> Resource:
        code, display = self.draw.choice(ALLERGENS)
        return self._new(
            "AllergyIntolerance",
            code=_coded("http://snomed.info/sct", code, display),
            patient=self.me,
            recordedDate=self._day(),
        )


def _coded(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}
