"""The built-in rules by code: sensitivities that there are, codes that mean one, and blocks of classifications.

Codes of sensitivity are HL7 v3 InformationSensitivityPolicy (v3-ActCode) without its abstract codes, R4 4.0.1, each
with a few words of our own. Clinical codes are of SNOMED CT, LOINC and RxNorm; blocks are of ICD-9, ICD-10, ICD-11,
ICPC-2 and ATC. Data alone: `node.records.sensitivity` applies it.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

DISPLAYS: Final = {
    "ADOL": "what concerns adolescents",
    "B": "business",
    "BH": "behavioural health",
    "CEL": "a person in the public eye",
    "COGN": "cognitive disability",
    "DEMO": "demographics",
    "DIA": "a diagnosis",
    "DOB": "the date of birth",
    "DRGIS": "a medicine",
    "DVD": "developmental disability",
    "EMOTDIS": "emotional disturbance",
    "EMP": "an employee's record",
    "EMPL": "the employer",
    "ETH": "substance abuse, as a whole",
    "ETHUD": "alcohol use disorder",
    "GDIS": "genetic disease",
    "GENDER": "gender and sexual orientation",
    "HIV": "HIV and AIDS",
    "LIVARG": "living arrangement",
    "LOCIS": "the place of service",
    "MARST": "marital status",
    "MH": "mental health",
    "MST": "military sexual trauma",
    "OPIOIDUD": "opioid use disorder",
    "PDS": "what patients keep to themselves by default",
    "PHY": "what a physician asked to keep apart",
    "PRS": "what the patient asked to keep apart",
    "PSY": "psychiatry",
    "PSYTHPN": "psychotherapy notes",
    "RACE": "race",
    "REL": "religion",
    "SCA": "sickle cell anaemia",
    "SDV": "sexual assault, abuse and domestic violence",
    "SEX": "sexuality and reproductive health",
    "SICKLE": "sickle cell disease",
    "SPI": "specially protected information",
    "SSP": "the social security number",
    "STD": "sexually transmitted disease",
    "SUD": "substance use disorder",
    "TBOO": "what is taboo",
    "VIO": "violence",
}
"""What each code means, said in our words: https://hl7.org/fhir/R4/v3/InformationSensitivityPolicy/vs.html"""
SENSITIVITIES: Final = frozenset(DISPLAYS)

UNEXAMINED: Final = "unexamined"
"""The label of what nobody looked into: neither this node nor, by a statement, its sender."""

_CODES_BY_SENSITIVITY: Final = {
    # mental health: disorders, suicidality, screening instruments and their scores
    "MH": """
        35489007 370143000 36923009 66344007 832007 197480006 48694002 21897009 371631005 80583007 13746004 58214004
        47505003 191736004 406506008 192127007 69322001 6471006 82313006 267073005 225444004 86849004 72366004 78004001
        17226007 25501002 386810004 74732009 171207006 454711000124102 715252007 710841007 413473000 385892002 75516001
        228557008 183382003 401174001 44249-1 44261-6 55758-7 89204-2 70274-6 69737-5 44250-9 44255-8 54635-8
    """,
    # alcohol and other substances: misuse, dependence, overdose, treatment, screening
    "SUD": """
        7200002 15167005 66590003 10939881000119105 55680006 5602001 75544000 26416006 191816009 361055000 66214007
        428211000124100 713106006 763302001 266707007 310653000 56876005 426928008 386450000 385989002 386449006
        82667-7 75626-2 75624-7 68518-0 68519-8 68520-6 82666-9 1010600
    """,
    "HIV": """
        86406008 62479008 165816005 91947003 91948008 31676001 171121004 111880001 40780007 402915006
        75622-1 56888-1 7917-8 29893-5 20447-9 25836-8 24467-3
    """,
    # infections that are passed on sexually, and tests for them
    "STD": """
        76272004 15628003 105629000 240589008 8098009 165829005 269828009 310861008 266133001 33839006 186946009
        50697-2 20507-0 5292-8 24111-7 21190-4 21613-5 43304-5 43305-2
    """,
    # reproductive health: pregnancy and its end, contraception
    "SEX": """
        72892002 386394001 714812005 10383002 19169002 79586000 65200003 46706006 169553002 301807007 252160004 66348005
        5880005 398254007 198992004 47200007 169560008 70317007 17382005 156073000 35999006 85116003 386639001
        287664005 22523008 408969000 446985000 83607001 169762003 424441002 424619006 15777000 82810-3 11996-6
        389221 748962 751905 749785 748879 749762 750244 757594 807283 831533 1359133
    """,
    "SDV": """
        706893006 866148006 371775004 397940009 95922009 413457006 243063003 225818000 76501-6 95618-5 95617-7 95616-9
        95615-1 76499-3
    """,
    "VIO": "424393004 287193009 225915006",
    # genetics: inherited disorders, carriers, variants and tests
    "GDIS": """
        190905008 127040003 36070007 254843006 716318002 80544005 414022008 385491009 405824009 69548-6 51969-4 48018-6
        55233-1 81247-9 51968-6 69547-8 53037-8 48004-6
    """,
    "COGN": "26929004 52448006 386805003 230265002 79032000 72106-8 72133-2",
}
CODES: Final = {code: label for label, codes in _CODES_BY_SENSITIVITY.items() for code in codes.split()}
"""Compared whatever their system: they are long enough to mean nothing else."""


class Classification(Struct, frozen=True):
    """A classification by its blocks, which are asked only of records that name it; `named` are parts of systems' names
    in lower case."""

    name: str
    named: tuple[str, ...]
    blocks: tuple[tuple[re.Pattern[str], str], ...]


def _blocks(**patterns: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), label) for label, pattern in patterns.items())


_END: Final = r"(\.|$|(?=\d[0-9A-Z]{0,3}$))"
"""After a block of ICD-10: codes with their dot, and as invoices write them, without."""

CLASSIFICATIONS: Final = (
    Classification(
        "ICD",
        (
            *("icd-10", "icd-9", "icd10", "icd9", "cim-10", "cie-10"),
            *("2.16.840.1.113883.6.90", "2.16.840.1.113883.6.103", "2.16.840.1.113883.6.3", "1.2.276.0.76.5."),
        ),
        _blocks(
            SUD=rf"F1[0-9]{_END}|T40\.?[0-6]|Z71\.?[45]|30[345](\.|$)",
            MH=rf"F(0[4-9]|[2-9][0-9]){_END}|R45\.?8|X[67]\d|T14\.?91|(29[5-9]|30[0126-9]|31[0-6])(\.|$)",
            COGN=rf"F0[0-3]{_END}|G30|(290|331\.0)",
            HIV=rf"B2[0-4]{_END}|Z21$|R75$|O98\.?7|(042|V08)(\.|$)",
            STD=rf"A5[0-9]{_END}|A6[0-4]{_END}|(09[0-9])(\.|$)",
            SEX=rf"O\d\d|Z3[0-9]{_END}|N97|(6[3-7]\d|V2[2-8])(\.|$)",
            SDV=rf"T7[46]{_END}|Z69|Y07|(995\.[58])",
            GDIS=rf"Z1[45]{_END}|Z84\.?81|E84{_END}|G10$|Q9\d|(V8[34]|758)(\.|$)",
        ),
    ),
    Classification(
        "ICD-11",
        ("icd-11", "icd11", "id.who.int/icd/release/11"),
        _blocks(
            SUD=r"6C4[0-9A-HZ]",
            MH=r"6[AE]\d|6B\d|6C[0-35-9]\d",
            COGN=r"6D[78]\d",
            HIV=r"1C6[0-2]",
            STD=r"1A[6-9]",
            SEX=r"J(A\d|B[0-6])",
            GDIS=r"LD[45]",
        ),
    ),
    Classification(
        "ICPC",
        ("icpc",),
        _blocks(
            SUD=r"P1[5689](\.|$)",
            MH=r"P(0[1-4689]|7[2-9]|8[0-256]|9[89])(\.|$)",
            COGN=r"P70(\.|$)",
            HIV=r"B90(\.|$)",
            STD=r"X(7[013]|9[0-2])(\.|$)|Y7[0126](\.|$)",
            SEX=r"W\d\d(\.|$)",
            SDV=r"Z(12|25)(\.|$)",
        ),
    ),
    Classification(
        "ATC",
        ("whocc.no/atc", "2.16.840.1.113883.6.73", "bfarm/atc", "dimdi/atc"),
        _blocks(
            MH=r"N05A|N06A|N06BA",
            SUD=r"N07B[BC]",
            HIV=r"J05A[EGJR]|J05AF",
            SEX=r"G02B|G03A",
            COGN=r"N06D",
        ),
    ),
)
