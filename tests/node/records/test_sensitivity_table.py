"""An institution's own table: what it adds and takes away, and that nothing wrong in it goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.records.fhir_types import RESOURCE_TYPES
from node.records.sensitivity import DEFAULT
from node.records.sensitivity_codes import SENSITIVITIES
from node.records.sensitivity_table import (
    SensitivityTableInvalid,
    Table,
    load_table,
    parse_table,
)

OPS = "http://fhir.de/CodeSystem/bfarm/ops"
GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
OWN = "urn:oid:1.2.40.0.34.5.16"


def table(*lines: str) -> Table:
    found, wrong = parse_table("\n".join(lines).encode())
    assert wrong == []
    return found


def coded(system: str, code: str, display: str = "x") -> str:
    return json.dumps(
        {"resourceType": "Procedure", "code": {"coding": [{"system": system, "code": code, "display": display}]}}
    )


def marks(found: Table, text: str) -> set[str]:
    return found.marker().found_in(text)


def test_a_code_counts_in_its_own_system_alone() -> None:
    own = table(f"mark PSY code {OWN}|17")
    assert marks(own, coded(OWN, "17")) == {"PSY"}
    assert marks(own, coded(OWN, "170")) == set()
    assert marks(own, coded("urn:rooms", "17")) == set()
    both = {"a": {"system": OWN, "code": "3"}, "b": {"system": "urn:rooms", "code": "17"}}
    assert marks(own, json.dumps(both)) == set(), "system and code must stand in one coding"
    assert marks(own, coded(OWN, "17").replace(OWN, OWN.replace("/", "\\/"))) == {"PSY"}
    assert marks(own, f'{{"code": "17", "system": "urn:rooms", "system": "{OWN}"}}') == {"PSY"}, "of two, each counts"


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        (f"mark MH prefix {OPS}|9-6", ["9-6", "9-60", "9-649.10"], ["9-5", "19-6", "8-9-6"]),
        (f"mark CEL range {GM}|A15-A19", ["A15", "A17.0", "A19.9", "A150"], ["A14", "A20", "B15"]),
        (f"mark CEL range {GM}|I98-J02", ["I98.1", "I99", "J00", "J02.9"], ["I97", "J03"]),
        (f"mark CEL range {GM}|K70.1-K70.3", ["K70.1", "K70.30", "K702"], ["K70.0", "K70.4", "K70"]),
        ("mark CEL range http://hl7.org/fhir/sid/icd-9-cm|571-573", ["571", "572.8"], ["570", "574"]),
        (f"mark PSY system {OWN}", ["1", "a code"], []),
        (f"mark PSY code {OWN}|a code with blanks", ["a code with blanks"], ["a code"]),
    ],
)
def test_prefixes_ranges_and_whole_systems(line: str, inside: list[str], outside: list[str]) -> None:
    own, system = table(line), line.split()[3].partition("|")[0]
    label = line.split()[1]
    for code in inside:
        assert marks(own, coded(system, code)) == {label}, code
    for code in outside:
        assert marks(own, coded(system, code)) == set(), code
    assert marks(own, coded("urn:else", inside[0])) == set()


def test_words_of_any_language_and_of_any_script() -> None:
    own = table("mark SDV word pl przemoc* domow*", "mark MH word el κατάθλιψ*", "mark STD word en crab lice")
    assert marks(own, '{"text": "PRZEMOCY domowej"}') == {"SDV"}
    assert marks(own, '{"text": "przemoc"}') == set()
    assert marks(own, json.dumps({"text": "ΚΑΤΑΘΛΙΨΗ"})) == {"MH"}
    assert marks(own, '{"text": "lice of the crab"}') == {"STD"}


def test_it_adds_and_takes_nothing_away_unless_it_says_so() -> None:
    own = table("define ONC what concerns a cancer", f"mark ONC prefix {GM}|C")
    assert marks(own, coded(GM, "C50.1")) == {"ONC"}
    text = coded(GM, "F32.1", "depression; HIV")
    assert marks(own, text) == DEFAULT.found_in(text) == {"MH", "HIV"}


def test_what_it_takes_away_is_gone_and_nothing_else() -> None:
    own = table(
        "unmark SEX word fetal",
        "unmark SUD word use substance",
        "unmark MH code 44261-6",
        "unmark SEX block Z30",
    )
    assert [rule.source for rule in own.taken_away] == ["line 1", "line 2", "line 3", "line 4"]
    assert marks(own, '{"text": "fetal"}') == set()
    assert marks(own, '{"text": "substance use"}') == set()
    assert marks(own, '{"text": "substance abuse; fetus"}') == {"SUD", "SEX"}
    assert marks(own, coded("http://loinc.org", "44261-6")) == set()
    assert marks(own, coded("http://loinc.org", "55758-7")) == {"MH"}
    assert marks(own, coded(GM, "Z30.9")) == set()
    assert marks(own, coded(GM, "Z31.9")) == {"SEX"}


def test_labels_of_its_own_may_be_defined_below_and_comments_stand_anywhere() -> None:
    own = table(
        "\ufeff# ours",
        "",
        f"  mark ONC code {OWN}|1",
        "define\tONC\twhat concerns a cancer",
        "category Letter our letters",
    )
    assert own.sensitivities == {"ONC": "what concerns a cancer"}
    assert own.categories == {"Letter": "our letters"}
    assert marks(own, coded(OWN, "1")) == {"ONC"}
    assert table("mark MH word en worry", "").digest != table("mark MH word en worries").digest


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("frob MH", "begins with none of"),
        ("mark", "parts are missing"),
        ("mark MH code", "parts are missing"),
        ("mark MHH code urn:x|1", "'MHH' is no sensitivity"),
        ("mark mh code urn:x|1", "no sensitivity"),
        ("mark unexamined code urn:x|1", "no sensitivity"),
        ("mark MH frob urn:x|1", "none of code, prefix"),
        ("mark MH code 370143000", "the system is missing"),
        ("mark MH code snomed|370143000", "the system is missing"),
        ("mark MH code urn:x|", "nothing stands behind"),
        ("mark MH prefix urn:x|", "nothing stands behind"),
        ("mark MH system urn:x|", "without |"),
        ("mark MH system urn:x|1", "without |"),
        ("mark MH range urn:x|F10", "two blocks"),
        ("mark MH range urn:x|F10-F1", "two blocks"),
        ("mark MH range urn:x|F19-F10", "ends before it begins"),
        ("mark MH range urn:x|F10.3-F10.1", "ends before it begins"),
        ("mark MH range urn:x|F10.1-F11.3", "stays within one block"),
        ("mark MH range urn:x|F10-300", "of one form"),
        ("mark MH range urn:x|A00-Z99", "at most 1000 blocks"),
        ("mark MH word Trauer", "the language before"),
        ("mark MH word Trauer groß", "the language before"),
        ("mark MH word de xy", "at least 3 letters"),
        ("mark MH word de trau*", "at least 5"),
        ("mark MH word de HIV-positiv", "write what has a hyphen as two"),
        ("mark MH word de 12monat", "begins with a letter"),
        ("mark MH word de a*b*c", "letters and digits"),
        ("mark MH word de patient", "nearly every FHIR resource"),
        ("mark MH word de resource*", "nearly every FHIR resource"),
        ("mark MH word de eins zwei drei vier fuenf", "at most 4"),
        ("define MH mine", "HL7's own"),
        ("define ONC", "parts are missing"),
        ("define onc mine", "capitals"),
        ("define SEVERAL mine", "meaning of its own"),
        ("define UNEXAMINED mine", "meaning of its own"),
        ("category Observation mine", "resource type of FHIR"),
        ("category letter mine", "begins with a capital"),
        ("unmark MH word sadness", "no built-in rule"),
        ("unmark SUD word depressi*", "no built-in rule"),
        ("unmark MH code 1", "no built-in rule"),
        ("unmark SEX block F32", "no built-in rule"),
        ("unmark SEX frob F32", "none of code, block, word"),
        ("mark MH code urn:x|\u202e1", "not to be seen"),
        (f"mark MH code urn:x|{'1' * 1_000}", "longer than"),
    ],
)
def test_each_wrong_line_is_named_with_what_is_wrong(tmp_path: Path, line: str, words: str) -> None:
    _, wrong = parse_table(f"# first\nmark MH word en sadness\n{line}\n".encode())
    assert [one.line for one in wrong] == [3]
    assert words in wrong[0].sentence
    file = tmp_path / "own.table"
    file.write_text(f"\n{line}\n")
    with pytest.raises(SensitivityTableInvalid, match=r"own\.table, line 2: ") as caught:
        load_table(file)
    assert "labels check" in caught.value.advice
    assert caught.value.code == "sensitivity-table-invalid"


def test_a_repeated_line_is_a_slip_of_somebody(tmp_path: Path) -> None:
    _, wrong = parse_table(b"mark MH word en grief loss\nmark SUD word en grief loss\nmark MH word en loss grief\n")
    assert [(one.line, one.sentence) for one in wrong] == [(3, "it repeats line 1")]
    _, wrong = parse_table(b"unmark SEX word fetal\nmark SEX word en fetal\n")
    assert [one.line for one in wrong] == [2]


def test_all_wrong_lines_are_counted_in_the_refusal(tmp_path: Path) -> None:
    file = tmp_path / "own.table"
    file.write_text("frob\n" * 30)
    with pytest.raises(SensitivityTableInvalid, match=r"line 1: .*line 2, 3, 4.*…"):
        load_table(file)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "own.table"
    with pytest.raises(SensitivityTableInvalid, match="cannot read"):
        load_table(file)
    file.write_bytes("mark MH word de Trübsal\n".encode("latin-1"))
    with pytest.raises(SensitivityTableInvalid, match="line 1: it is not UTF-8"):
        load_table(file)
    file.write_bytes(b"# big\n" * 100_001)
    with pytest.raises(SensitivityTableInvalid, match="lines"):
        load_table(file)
    file.write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    with pytest.raises(SensitivityTableInvalid, match="larger"):
        load_table(file)
    file.write_bytes(b"")
    assert load_table(file).rules == ()
    file.chmod(0o666)
    with pytest.raises(SensitivityTableInvalid, match="every user"):
        load_table(file)


@given(st.binary(max_size=400))
def test_no_bytes_stop_the_parser(raw: bytes) -> None:
    found, wrong = parse_table(raw)
    assert all(0 <= one.line <= raw.count(b"\n") + 1 for one in wrong)
    assert {rule.label for rule in found.rules} <= SENSITIVITIES | found.sensitivities.keys()


PIECES = """
    mark unmark define category code prefix range system word block MH SEX ONC de any urn:x|F10-F19 urn:x|1 urn:x fetal
    trübs* Letter # | - * 44261-6
"""


@given(st.lists(st.lists(st.sampled_from([*PIECES.split(), "\t", "\u00a0"]), max_size=6).map(" ".join), max_size=8))
def test_whatever_is_taken_can_be_used_and_takes_away_only_what_it_names(lines: list[str]) -> None:
    """From the verbs and words themselves, so that many lines are nearly right, and some are."""
    found, wrong = parse_table("\n".join(lines).encode())
    lines_in_use = {int(rule.source.split()[1]) for rule in (*found.rules, *found.taken_away)}
    assert not lines_in_use & {one.line for one in wrong}
    text = coded(GM, "F32.1", "depression, HIV, fetal, substance use")
    lost = DEFAULT.found_in(text) - marks(found, text)
    assert lost <= {rule.label for rule in found.taken_away}
    assert set(RESOURCE_TYPES).isdisjoint(found.categories)


@given(st.sampled_from(sorted(SENSITIVITIES)), st.from_regex(r"[A-Za-z0-9.\-]{1,20}", fullmatch=True))
def test_any_code_that_a_table_names_is_found(label: str, code: str) -> None:
    own = table(f"mark {label} code {OWN}|{code}")
    assert label in marks(own, coded(OWN, code))


def test_the_table_in_the_manual_is_right() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    own = table(*manual.split("**The table**")[1].split("```")[1].split("\n"))
    assert (len(own.taken_away), own.sensitivities.keys(), own.categories.keys()) == (3, {"ONC"}, {"Letter"})
    assert marks(own, coded(GM, "C50.1")) == {"ONC"}
    assert f"the {len(SENSITIVITIES)} codes of HL7" in manual
