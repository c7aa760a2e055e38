"""What a FHIR resource is about that a patient may want kept apart, told by its codes and its words.

EHRs rarely label what is sensitive (`meta.security`), so a record that nobody labelled is looked into: clinical codes
of SNOMED CT, LOINC, RxNorm, ICD-9 and ICD-10, and English words of displays, narratives and notes, also in base64.
Codes are compared whatever their system and words wherever they stand: a label too many hides, one too few would open.
What no code and no word here knows is not found; a sender who knows better states sensitivities with the record.

Codes of sensitivity are HL7 v3 InformationSensitivityPolicy (v3-ActCode). Relies on regular expressions alone and runs
over each record once, so it costs tens of microseconds for one of median size.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

ATTACHMENT_BYTES: Final = 1024 * 1024
"""Of an attachment in base64, so much is looked into."""

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
_CODES: Final = {code: label for label, codes in _CODES_BY_SENSITIVITY.items() for code in codes.split()}

_WORDS_BY_SENSITIVITY: Final = {
    "MH": """
        depression depressive depressed antidepressant antidepressants anxiety panic bipolar schizophrenia psychosis
        psychotic psychiatric psychiatry psychiatrist psychotherapy suicide suicidal suicidality mental ptsd adhd
        anorexia bulimia mania manic fluoxetine sertraline escitalopram citalopram venlafaxine bupropion lithium
        quetiapine olanzapine risperidone aripiprazole clozapine methylphenidate phq gad
    """,
    "SUD": """
        alcohol alcoholism addiction addicted opioid opioids opiate heroin cocaine methamphetamine overdose
        detoxification methadone buprenorphine naloxone naltrexone disulfiram intoxication drunk dast
    """,
    "HIV": "hiv aids immunodeficiency antiretroviral emtricitabine tenofovir dolutegravir efavirenz bictegravir",
    "STD": "gonorrhea gonorrhoea chlamydia syphilis trichomoniasis venereal",
    "SEX": """
        pregnancy pregnant contraception contraceptive contraceptives miscarriage abortion childbirth obstetric
        obstetrical prenatal antenatal antepartum postpartum intrauterine vasectomy sterilization infertility fetus
        fetal levonorgestrel etonogestrel medroxyprogesterone norethindrone mestranol ethinyl estradiol drospirenone
        sexual sexually
    """,
    "SDV": "rape",
    "GDIS": "genetic genetics genomic brca brca1 brca2 huntington mutation hereditary karyotype genotype",
    "COGN": "dementia alzheimer",
    "VIO": "violence",
}
_WORDS: Final = {word: label for label, words in _WORDS_BY_SENSITIVITY.items() for word in words.split()}

_TOGETHER: Final = (
    (frozenset({"substance", "use"}), "SUD"),
    (frozenset({"substance", "abuse"}), "SUD"),
    (frozenset({"drug", "abuse"}), "SUD"),
    (frozenset({"drug", "dependence"}), "SUD"),
    (frozenset({"domestic", "abuse"}), "SDV"),
    (frozenset({"domestic", "violence"}), "SDV"),
    (frozenset({"partner", "abuse"}), "SDV"),
    (frozenset({"partner", "afraid"}), "SDV"),
    (frozenset({"sexual", "assault"}), "SDV"),
    (frozenset({"child", "abuse"}), "SDV"),
    (frozenset({"cystic", "fibrosis"}), "GDIS"),
    (frozenset({"birth", "control"}), "SEX"),
)
"""Words that say something only together, wherever in a record they stand."""

_ICD_SYSTEMS: Final = ("icd-10", "icd-9", "2.16.840.1.113883.6.90", "2.16.840.1.113883.6.103", "2.16.840.1.113883.6.3")
_ICD: Final = (
    (re.compile(r"F1[0-9](\.|$)|T4[0][0-6]|Z71\.[45]|30[345](\.|$)"), "SUD"),
    (re.compile(r"F(0[4-9]|[2-9][0-9])(\.|$)|R45\.8|X[67]\d|T14\.91|(29[5-9]|30[0126-9]|31[0-6])(\.|$)"), "MH"),
    (re.compile(r"F0[0-3](\.|$)|G30|(290|331\.0)"), "COGN"),
    (re.compile(r"B2[0-4](\.|$)|Z21$|R75$|O98\.7|(042|V08)(\.|$)"), "HIV"),
    (re.compile(r"A5[0-9](\.|$)|A6[0-4](\.|$)|(09[0-9])(\.|$)"), "STD"),
    (re.compile(r"O\d\d|Z3[0-9](\.|$)|N97|(6[3-7]\d|V2[2-8])(\.|$)"), "SEX"),
    (re.compile(r"T7[46](\.|$)|Z69|Y07|(995\.[58])"), "SDV"),
    (re.compile(r"Z1[45](\.|$)|Z84\.81|E84(\.|$)|G10$|Q9\d|(V8[34]|758)(\.|$)"), "GDIS"),
)
"""Chapters and blocks of ICD-10 and ICD-9, asked only of records that name such a system."""

_STRINGS: Final = re.compile(r'"([^"\\]{3,32})"')
_WORD: Final = re.compile(r"[a-z][a-z0-9]{2,}")
_DATA: Final = re.compile(r'"data"\s*:\s*"([A-Za-z0-9+/=]{16,})"')


def found_in(text: str) -> set[str]:
    """The sensitivities that a resource's own text (JSON) shows. Raises nothing, whatever it says."""
    strings = set(_STRINGS.findall(text))
    labels = {_CODES[code] for code in strings & _CODES.keys()}
    if any(system in text for system in _ICD_SYSTEMS):
        labels |= {label for one in strings for pattern, label in _ICD if pattern.match(one)}
    words = set(_WORD.findall(text.lower()))
    for note in _notes(text):
        words |= set(_WORD.findall(note.lower()))
    labels |= {_WORDS[word] for word in words & _WORDS.keys()}
    return labels | {label for together, label in _TOGETHER if together <= words}


def _notes(text: str) -> Iterator[str]:
    """Attachments that are text, decoded."""
    if '"data"' not in text:
        return
    for data in _DATA.findall(text):
        whole = data[: ATTACHMENT_BYTES // 4 * 4]
        try:
            decoded = base64.b64decode(whole)
        except (binascii.Error, ValueError):
            continue
        yield decoded.decode("utf-8", "replace")
