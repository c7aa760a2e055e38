"""Allowing and forbidding at the command line: what was meant is what stands, and what is wrong is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.wallet.tagging import Forbidden
from tests.node.wallet.conftest import DAY_MS, City, Person

KINDS = (
    ("Observation", "2020", None),
    ("Observation", "2021", None),
    ("Condition", "2020", None),
    ("Condition", "2021", ["MH"]),
    ("Condition", "2021", ["HIV", "MH", "PSY"]),
)


@pytest.fixture
def patient(city: City, person: Callable[..., Person]) -> Person:
    """A patient whose chart 0 at the first hospital holds one record of each kind."""
    made = person()
    assert made.does("chart", "open")["chart"] == 0
    for category, year, marks in KINDS:
        submit(city, category, year, marks)
    return made


def submit(city: City, category: str, year: str, marks: list[str] | None = None, chart: int = 0) -> int:
    labels = {"category": category, "year": year, "sensitivities": ",".join(marks or ["none"])}
    answer = city.sessions[0].submit_record(chart, b"%PDF " + category.encode(), "application/pdf", **labels)
    return int(answer["records"][0])


def reads(city: City, reader: int, grant: int, record: int, **asked: Any) -> str:
    """What the rules say when a hospital asks: "disclosed", or why not."""
    answer = city.sessions[reader].disclose(0, grant, asked.get("purpose", "TREAT"), [record])
    return str(answer["outcome"] if answer["outcome"] == "disclosed" else answer["reason"])


def test_several_institutions_by_name_number_and_group(city: City, patient: Person) -> None:
    patient.does("group", "add", "my doctors", "hospital 2", "3")
    assert patient.does("group", "list") == [{"group": "my doctors", "institutions": [2, 3]}]
    made = patient.does("grant", 0, "--to", "hospital 1", "--group", "my doctors", "--until", "30d")
    assert city.sessions[0].control(0)["grants"][made["grant"]]["grantees"] == [1, 2, 3]
    patient.does("group", "remove", "my doctors")
    assert "[no-such-group]" in patient.does("grant", 0, "--group", "my doctors", "--until", "30d", code=1)
    assert "[no-such-group]" in patient.does("group", "remove", "my doctors", code=1)
    # A name in a wallet changed nothing of what was granted.
    assert reads(city, 3, made["grant"], 1) == "disclosed"


def test_a_dry_run_says_exactly_what_would_open_and_signs_nothing(city: City, patient: Person) -> None:
    patient.does("policy", "bar", 0, "2", "--category", "Observation")
    before = city.sessions[0].chart(0)["events"]
    asked = ("grant", 0, "--to", 1, "--to", 2, "--category", "Observation", "--category", "Condition", "--year", "2021",
             "--until", "30d")  # fmt: skip
    dry = patient.does(*asked, "--dry-run")
    assert city.sessions[0].chart(0)["events"] == before
    assert dry["opens"] == [2]
    by_record = {line["record"]: line for line in dry["records"]}
    assert by_record[1]["why"] == ["the year 2020 is not named"]
    assert by_record[2]["closed_for"] == [2]
    assert by_record[4]["why"] == ["it is marked sensitive (MH), and that is not named"]
    assert by_record[4]["sensitivities"] == ["MH"]
    assert "more than two ways" in by_record[5]["why"][-1]
    assert "this would open 1 of 5 records" in patient.says(*asked, "--dry-run")
    # What it said is what the ledger does.
    grant = patient.does(*asked)["grant"]
    for record in range(1, 6):
        assert (reads(city, 1, grant, record) == "disclosed") is (record in dry["opens"]), record
    assert reads(city, 2, grant, 2) == "barred"


def test_a_dry_run_with_sensitivities_named(city: City, patient: Person) -> None:
    asked = ("grant", 0, "--to", 1, "--sensitivity", "MH", "--until", "30d")
    assert patient.does(*asked, "--dry-run")["opens"] == [1, 2, 3, 4]


def test_practitioners_and_writing_are_granted_as_named(city: City, patient: Person, run: Callable[..., Any]) -> None:
    told = run("access", "pseudonym", 0, "--staff", "4711", "--socket", city.socket(1), "--json").json()
    made = patient.does("grant", 0, "--to", 1, "--practitioner", told["practitioner"], "--write", "--until", "1d")
    (one,) = patient.asks("grants", 0)
    assert one["practitioners"] == [told["practitioner"]]
    assert one["access"] == ["read", "write"]
    assert reads(city, 1, made["grant"], 1) == "practitioner"


def test_purposes_are_told_with_what_they_include(patient: Person) -> None:
    said = patient.says("grant", 0, "--to", 1, "--until", "1d")
    assert "TREAT (and what lies below it: CLINTRL, COC, POPHLTH)" in said
    assert "ETREAT" not in said


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--purpose", "NONSENSE"), "unknown-purpose"),
        (("--purpose", "BTG"), "emergency-purpose"),
        (("--year", "24"), "bad-argument"),
        (("--practitioner", "4711"), "bad-argument"),
        (("--from", "2d"), "bad-argument"),
        (("--group", "nobody"), "no-such-group"),
        (("--as-delegate",), "not-a-delegate"),
        (("--as-delegate", "--category", "Observation"), "bad-argument"),
    ],
)
def test_what_is_wrong_with_a_grant_is_refused_by_name(patient: Person, words: tuple[str, ...], name: str) -> None:
    said = patient.does("grant", 0, "--to", 1, "--until", "1d", *words, code=1)
    assert f"[{name}]" in said
    assert said.count("\n") == 1


def test_who_is_not_the_owner_grants_nothing(city: City, patient: Person, person: Callable[..., Person]) -> None:
    stranger = person("stranger")
    assert "[no-such-chart]" in stranger.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    # A wallet that merely says that the chart is its own is told by the ledger's owner key.
    stranger.wallet.found(city.chain.id, 0, 0, 0)
    assert "[not-the-owner]" in stranger.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    assert "[no-such-chart]" in patient.does("grant", 9, "--to", 1, "--until", "1d", code=1)


def test_an_erased_record_is_listed_as_erased_and_what_is_left_is_read(city: City, patient: Person) -> None:
    grant = patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"]
    numbers = [one["record"] for one in patient.asks("record", "list", 0, "--held")]
    patient.does("record", "erase", 0, numbers[0], "--yes")
    assert [one["record"] for one in patient.asks("record", "list", 0, "--held")] == numbers[1:]
    listed = patient.asks("record", "list", 0)
    assert [one["number"] for one in listed if one["erased"]] == [numbers[0]]
    into = city.folder / "all"
    read = patient.asks("record", "read-all", 0, "--grant", grant, "--into", into, at=1)["records"]
    assert 0 < read < len(numbers)
    assert not list(into.glob(f"record-{numbers[0]}*"))


def test_a_narrow_bar_leaves_the_rest_of_a_grant_readable(city: City, patient: Person) -> None:
    grant = patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"]
    patient.does("policy", "bar", 0, 1, "--category", "Condition")
    opens = patient.does("grant", 0, "--to", 1, "--until", "1d", "--dry-run")["opens"]
    into = city.folder / "all"
    assert patient.asks("record", "read-all", 0, "--grant", grant, "--into", into, at=1)["records"] == len(opens) > 0
    patient.does("policy", "bar", 0, 1)
    into = city.folder / "none"
    refused = patient.asks("record", "read-all", 0, "--grant", grant, "--into", into, at=1, code=1)
    assert "You had forbidden it" in refused


def test_grants_are_listed_as_they_stand(city: City, patient: Person) -> None:
    for words in (("--until", "1d"), ("--until", "30d"), ("--from", "10d", "--until", "30d"), ("--until", "30d")):
        patient.does("grant", 0, "--to", 1, *words)
    patient.does("revoke", 0, 3)
    city.later(2 * DAY_MS)
    assert [one["state"] for one in patient.asks("grants", 0, "--all")] == ["expired", "live", "not-yet", "revoked"]
    assert [one["grant"] for one in patient.asks("grants", 0)] == [1, 2]


def test_a_revocation_says_who_read_what_and_from_which_block_on(city: City, patient: Person) -> None:
    grant = patient.does("grant", 0, "--to", 1, "--to", 2, "--until", "30d")["grant"]
    assert reads(city, 1, grant, 1) == "disclosed"
    assert reads(city, 1, grant, 1) == "disclosed"
    assert reads(city, 1, grant, 3) == "disclosed"
    assert reads(city, 2, grant, 4) == "outside"
    done = patient.does("revoke", 0, grant)
    (read,) = done["read_before"]
    assert (read["institution"], read["records"]) == (1, [1, 3])
    assert done["records_disclosed_before"] == 2
    assert done["height"] == city.sessions[0].control(0)["grants"][grant]["revoked_at"]
    assert reads(city, 1, grant, 1) == "revoked"
    said = patient.says("revoke", 0, grant)
    assert "was revoked before" in said
    assert "what was read stays read" in said


def test_a_revocation_renews_grants_to_come_delegates_and_what_is_forbidden(
    city: City, patient: Person, person: Callable[..., Person]
) -> None:
    carer = person("carer")
    card = city.folder / "card"
    carer.does("delegate", "key", 0, "-o", card)
    patient.does("delegate", "add", 0, "--card", card, "--act", "grant", "--category", "Observation", "--until", "90d")
    first = patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"]
    coming = patient.does("grant", 0, "--to", 2, "--from", "5d", "--until", "30d")["grant"]
    wide = patient.does("grant", 0, "--to", 3, "--until", "30d")["grant"]
    patient.does("policy", "bar", 0, "3", "--category", "Condition")
    done = patient.does("revoke", 0, first)
    assert (done["not_reissued"], done["delegates_not_renewed"], done["bars_not_renewed"]) == ([], [], False)
    observation, condition = submit(city, "Observation", "2022"), submit(city, "Condition", "2022")
    assert reads(city, 3, wide, observation) == "disclosed"
    assert reads(city, 3, wide, condition) == "barred"
    delegated = carer.does("grant", 0, "--to", 2, "--until", "10d", "--as-delegate")["grant"]
    assert reads(city, 2, delegated, observation) == "disclosed"
    assert reads(city, 2, delegated, condition) == "outside"
    city.later(6 * DAY_MS)
    assert reads(city, 2, coming, observation) == "disclosed"


def test_labels_that_a_restored_wallet_does_not_know_are_reported(
    city: City, patient: Person, person: Callable[..., Person]
) -> None:
    patient.does("grant", 0, "--to", 1, "--category", "made-up", "--custom", "--until", "30d")
    patient.does("grant", 0, "--to", 2, "--until", "30d")
    patient.does("policy", "bar", 0, "3", "--category", "made-up")
    restored = person("again", patient.wallet.seed)
    restored.wallet.found(city.chain.id, 0, 0, 0)
    assert "[unknown-labels]" in restored.does("policy", "show", 0, code=1)
    done = restored.does("revoke", 0, 1)
    assert (done["not_reissued"], done["bars_not_renewed"]) == ([0], True)
    # What cannot be renewed stays closed, never open.
    late = submit(city, "Observation", "2022")
    third = restored.does("grant", 0, "--to", 3, "--until", "30d")["grant"]
    assert reads(city, 3, third, late) == "barred"
    restored.does("policy", "set", 0, "--forbid-nothing")
    assert reads(city, 3, third, late) == "disclosed"


@pytest.mark.parametrize(
    "words",
    [
        ("grant", 0, "--to", 1, "--until", "30d"),
        ("grant", 0, "--to", 1, "--until", "30d", "--dry-run"),
        ("policy", "bar", 0, "everybody"),
    ],
)
def test_a_label_that_is_not_known_is_refused_before_anything_is_signed(
    city: City, patient: Person, words: tuple[object, ...]
) -> None:
    """A slip in a prohibition would forbid nothing, and nobody would notice."""
    before = city.sessions[0].chart(0)["events"]
    told = patient.does(*words, "--sensitivity", "MHH", code=1)
    assert "'MHH' is no sensitivity" in told
    assert "HIV, " in told
    assert "--custom" in told
    assert "[unknown-sensitivity]" in told
    told = patient.does(*words, "--category", "Observatoin", code=1)
    assert "such as Observation" in told
    assert "[unknown-category]" in told
    assert city.sessions[0].chart(0)["events"] == before
    patient.does(*words, "--sensitivity", "MHH", "--category", "Observatoin", "--custom")
    patient.does(
        *words, "--category", "Letter", "--sensitivity", "unexamined"
    )  # the node defines the one, all the other


def test_what_was_forbidden_by_a_label_of_ones_own_can_be_taken_back(city: City, patient: Person) -> None:
    patient.does("policy", "bar", 0, 1, "--sensitivity", "MHH", "--custom")
    assert "[not-forbidden]" in patient.does("policy", "unbar", 0, 1, "--sensitivity", "MHX", code=1)
    assert patient.does("policy", "unbar", 0, 1, "--sensitivity", "MHH")["forbidden"] == []


def test_what_nobody_looked_into_opens_by_name_alone(city: City, patient: Person) -> None:
    done = city.sessions[0].submit_record(0, b"%PDF-1.7", "application/pdf")["records"]
    plain = patient.does("grant", 0, "--to", 1, "--until", "30d")["grant"]
    assert reads(city, 1, plain, done[0]) == "outside"
    named = patient.does("grant", 0, "--to", 1, "--until", "30d", "--sensitivity", "unexamined")["grant"]
    assert reads(city, 1, named, done[0]) == "disclosed"
    judged = patient.wallet.path.with_name("letter.pdf")
    judged.write_bytes(b"%PDF-1.7 the same")
    amended = patient.asks("record", "amend", 0, done[0], judged, "--sensitivity", "none", "--category", "Letter")
    assert reads(city, 1, plain, amended["records"][0]) == "disclosed"
    told = patient.asks("record", "amend", 0, done[0], judged, "--sensitivity", "MHH", code=1)
    assert "[unknown-sensitivity]" in told
    assert "--custom" in told
    patient.asks("record", "amend", 0, done[0], judged, "--sensitivity", "MHH", "--custom")


def test_the_policy_is_set_shown_and_taken_back(city: City, patient: Person) -> None:
    assert patient.does("policy", "show", 0)["break_glass"] == "allowed"
    assert patient.does("policy", "set", 0, "--break-glass", "two-institutions")["break_glass"] == "two-institutions"
    patient.does("policy", "bar", 0, "1", "--sensitivity", "MH", "--emergencies")
    patient.does("policy", "bar", 0, "everybody", "--category", "Condition", "--year", "2020")
    shown = patient.does("policy", "show", 0)
    assert shown["break_glass"] == "two-institutions"
    rules = {Forbidden(**{k: tuple(v) if isinstance(v, list) else v for k, v in rule.items()})
             for rule in shown["forbidden"]}  # fmt: skip
    assert rules == {
        Forbidden(1, None, None, ("MH",), emergencies=True),
        Forbidden(None, ("Condition",), ("2020",), None),
    }
    grant = patient.does("grant", 0, "--to", 1, "--to", 2, "--sensitivity", "MH", "--sensitivity", "HIV",
                         "--sensitivity", "several", "--until", "30d")["grant"]  # fmt: skip
    # Record 5 bears MH as its third mark, which its tags do not show: it counts as marked so.
    assert [reads(city, 1, grant, n) for n in (1, 3, 4, 5)] == ["disclosed", "barred", "barred", "barred"]
    assert [reads(city, 2, grant, n) for n in (1, 3, 4, 5)] == ["disclosed", "barred", "disclosed", "disclosed"]
    patient.does("policy", "unbar", 0, "1")
    assert reads(city, 1, grant, 4) == "disclosed"
    assert "[not-forbidden]" in patient.does("policy", "unbar", 0, "1", code=1)
    assert "[bad-argument]" in patient.does("policy", "set", 0, "--break-glass", "sometimes", code=1)
    assert "[bad-argument]" in patient.does("policy", "set", 0, code=1)


def test_two_devices_with_one_seed(city: City, patient: Person, person: Callable[..., Person]) -> None:
    """In turns, and both at once: whoever comes second signs again above what the ledger knows."""
    phone = person("phone", patient.wallet.seed)
    phone.wallet.found(city.chain.id, 0, 0, 0)
    for turn in range(3):
        who = (patient, phone)[turn % 2]
        assert who.does("grant", 0, "--to", 1, "--until", "30d")["grant"] == turn
    both = [patient.reopen(), phone.reopen()]
    chart = both[0].chart(city.chain.id, 0)
    _at_once(city, both, chart)
    stands = city.sessions[0].control(0)
    assert [one["state"] for one in stands["grants"]] == ["live"] * 7
    assert patient.does("policy", "bar", 0, "2")["event"] is not None
    assert phone.does("policy", "set", 0, "--break-glass", "forbidden")["event"] is not None
    # Neither device undid what the other had set.
    assert [rule["institution"] for rule in patient.does("policy", "show", 0)["forbidden"]] == [2]


def _at_once(city: City, wallets: list[Any], chart: Any) -> None:
    """Two granted at the same number: one wins, the other is told `replayed`, and signs again."""
    from concurrent.futures import ThreadPoolExecutor

    from node.cli.client import Session
    from node.cli.grant import grant_with
    from node.client import Client
    from protocol.crypto.tags import GrantLabels

    now = city.sessions[0].ledger_now()

    def go(wallet: Any) -> None:
        with Client(city.socket(0)) as client:
            for _ in range(2):
                grant_with(
                    Session(client), wallet, chart, grantees=[1], labels=GrantLabels(), purposes=["TREAT"],
                    not_before=now, not_after=now + DAY_MS,
                )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(go, wallets))
