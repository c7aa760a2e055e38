"""Delegates, guardians and recovery at the command line: within bounds, after the waiting time, and never alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from node.cli.choose import birthday
from node.cli.recovery import complete_with
from node.wallet.backup import make_shares
from protocol.crypto.envelopes import MLKEM768_X25519, X25519
from protocol.crypto.wallet import words_from_entropy
from tests.node.wallet.conftest import DAY_MS, City, Ended, Person
from tests.node.wallet.test_grants import reads, submit

People = Callable[..., Person]


@pytest.fixture
def patient(city: City, person: People) -> Person:
    made = person()
    made.does("chart", "open")
    submit(city, "Observation", "2020")
    return made


def guarded(patient: Person, person: People, threshold: int = 2) -> list[Person]:
    """Three guardians of the patient's chart."""
    guardians = [person(f"guardian{n}") for n in range(3)]
    keys = [part for one in guardians for part in ("--key", one.does("guardian", "key", 0)["key"])]
    patient.does("guardian", "set", 0, "--threshold", threshold, *keys)
    return guardians


def carer_of(city: City, patient: Person, carer: Person, *words: object) -> dict[str, Any]:
    card = city.folder / f"card of {carer.file.name}"
    carer.does("delegate", "key", 0, "-o", card)
    named: dict[str, Any] = patient.does("delegate", "add", 0, "--card", card, *words)
    return named


def test_a_delegate_grants_and_revokes_within_its_bounds(city: City, patient: Person, person: People) -> None:
    carer = person("carer")
    named = carer_of(city, patient, carer, "--act", "grant", "--act", "revoke", "--until", "60d")
    assert named["delegate"] == 0
    made = carer.does("grant", 0, "--to", 1, "--until", "30d", "--as-delegate", at=2)["grant"]
    assert reads(city, 1, made, 1) == "disclosed"
    for words in (("--until", "90d"), ("--until", "1d", "--purpose", "HRESCH"), ("--until", "1d", "--write")):
        assert "[beyond-bounds]" in carer.does("grant", 0, "--to", 1, *words, "--as-delegate", code=1), words
    done = carer.does("revoke", 0, made, "--as-delegate")
    assert done["read_before"][0]["records"] == [1]
    assert reads(city, 1, made, 1) == "revoked"
    assert city.sessions[0].chart(0)["generation"] == 0
    (listed,) = patient.asks("delegate", "list", 0)
    assert (listed["state"], listed["acts"]) == ("live", ["grant", "revoke"])


def test_who_is_a_delegate_twice_acts_as_the_one_that_may(city: City, patient: Person, person: People) -> None:
    carer = person("carer")
    carer_of(city, patient, carer, "--act", "grant", "--until", "60d")
    carer_of(city, patient, carer, "--act", "read", "--until", "60d")
    made = carer.does("grant", 0, "--to", 1, "--until", "30d", "--as-delegate")["grant"]
    assert reads(city, 1, made, 1) == "disclosed"


def test_a_delegate_that_may_not_or_no_more_is_refused_by_name(city: City, patient: Person, person: People) -> None:
    carer, reader = person("carer"), person("reader")
    assert "[not-a-delegate]" in carer.does("grant", 0, "--to", 1, "--until", "1d", "--as-delegate", code=1)
    carer_of(city, patient, reader, "--act", "read", "--until", "60d")
    carer_of(city, patient, carer, "--act", "grant", "--until", "5d")
    assert "[beyond-bounds]" in reader.does("grant", 0, "--to", 1, "--until", "1d", "--as-delegate", code=1)
    assert "[unauthorised]" in reader.does("delegate", "end", 0, 1, "--as-delegate", code=1)
    reader.does("delegate", "end", 0, 0, "--as-delegate")
    city.later(6 * DAY_MS)
    assert "[delegate-not-in-force]" in carer.does("revoke", 0, 0, "--as-delegate", code=1)
    assert [one["state"] for one in patient.asks("delegate", "list", 0)] == ["ended", "expired"]
    assert "[unknown-delegate]" in patient.does("delegate", "end", 0, 7, code=1)
    assert "[bad-argument]" in carer_wrong(city, patient, carer, "--act", "everything", "--until", "1d")


def carer_wrong(city: City, patient: Person, carer: Person, *words: object) -> str:
    card = city.folder / "card"
    carer.does("delegate", "key", 0, "-o", card)
    return str(patient.does("delegate", "add", 0, "--card", card, *words, code=1))


def test_acting_for_a_child_ends_when_it_comes_of_age(city: City, patient: Person, person: People) -> None:
    born = datetime.fromtimestamp(city.chain.clock.ms / 1_000, UTC).date().replace(day=7)
    born = born.replace(year=born.year - 12)
    named = carer_of(city, patient, person("mother"), "--act", "grant", "--until-age", 18, "--born", born.isoformat())
    ends = datetime.fromtimestamp(named["until_ms"] / 1_000, UTC)
    assert (ends.date(), ends.hour) == (born.replace(year=born.year + 18), 0)
    assert birthday(date(2008, 2, 29), 18) == date(2026, 3, 1)
    assert birthday(date(2008, 2, 29), 20) == date(2028, 2, 29)
    carer = person("carer")
    for words, name in (
        (("--until-age", 18, "--born", "1950-01-01"), "bad-age"),
        (("--until-age", 18, "--born", "2008-02-30"), "bad-age"),
        (("--until-age", 0, "--born", "2008-02-28"), "bad-age"),
        (("--until-age", 18), "bad-argument"),
        (("--until", "1d", "--until-age", 18, "--born", "2020-01-01"), "bad-argument"),
        ((), "bad-argument"),
    ):
        assert f"[{name}]" in carer_wrong(city, patient, carer, "--act", "grant", *words), words


def test_a_card_that_is_none_or_for_another_chart_is_refused(city: City, patient: Person, person: People) -> None:
    patient.does("chart", "open", at=1)
    carer, card = person("carer"), city.folder / "card"
    carer.does("delegate", "key", 1, "-o", card)
    bad = [card.read_text(), "{}", "nonsense", json.dumps(json.loads(card.read_text()) | {"key": "zz"})]
    for text in bad:
        card.write_text(text)
        refused = patient.does("delegate", "add", 0, "--card", card, "--act", "grant", "--until", "1d", code=1)
        assert "[bad-card]" in refused
    assert "hospital" not in refused


def test_guardians_bring_a_lost_chart_back_to_a_new_wallet(city: City, patient: Person, person: People) -> None:
    guardians = guarded(patient, person)
    grant = patient.does("grant", 0, "--to", 1, "--until", "60d")["grant"]
    new, request = person("new"), city.folder / "request"
    begun = new.does("recovery", "begin", 0, "-o", request)
    assert request.stat().st_mode & 0o777 == 0o600
    assert begun["threshold"] == 2
    assert "[too-few-guardians]" in new.asks("recovery", "submit", request, code=1)
    assert guardians[0].does("recovery", "sign", request)["signatures"] == 1
    assert "Pass the file on to the next guardian" in new.asks("recovery", "submit", request, code=1)
    assert "[not-a-guardian]" in person("stranger").does("recovery", "sign", request, code=1)
    assert guardians[0].does("recovery", "sign", request)["signatures"] == 1
    assert guardians[2].does("recovery", "sign", request)["signatures"] == 2
    done = new.asks("recovery", "submit", request)
    assert (done["key_handed_in"], done["pending"]["kind"]) == (True, "recovery")
    again = new.asks("recovery", "submit", request)
    assert (again["height"], again["key_handed_in"], again["pending"]) == (None, True, done["pending"])
    assert new.asks("recovery", "status", 0)["pending"]["owner_key"] == begun["owner_key"]
    assert "[too-early]" in new.does("recovery", "complete", 0, code=1)
    assert "[not-the-owner]" in new.does("grant", 0, "--to", 1, "--until", "1d", code=1)

    city.wait_out()
    assert new.asks("recovery", "status", 0)["pending"] is None
    assert "[no-chart-secret]" in new.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    assert new.does("recovery", "complete", 0) == {
        "chart": 0, "completed": False, "taken_over": True, "grants_in_force": [grant],
    }  # fmt: skip
    assert new.reopen().chart_secret(new.reopen().chart(city.chain.id, 0)) == patient.wallet.chart_secret(
        patient.reopen().chart(city.chain.id, 0)
    )
    assert "[not-the-owner]" in patient.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    # The new wallet knows what the old one granted, ends it, and reads every record.
    new.does("revoke", 0, grant)
    assert reads(city, 1, grant, 1) == "revoked"
    submit(city, "Observation", "2021")
    fresh = new.does("grant", 0, "--to", 2, "--category", "Observation", "--until", "1d")["grant"]
    assert reads(city, 2, fresh, 1) == "disclosed"
    for record in (1, max(n for n in range(99) if _is_record(city, n))):
        out = city.folder / "out"
        new.does("record", "read", 0, record, "-o", out)
        assert out.read_bytes() == b"%PDF Observation"


def test_whoever_completes_a_change_does_not_mind_that_the_custodian_was_faster(
    city: City, patient: Person, person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    guardians = guarded(patient, person)
    patient.does("guardian", "set", 0, "--none")
    ready = 7 * DAY_MS + 1_000
    city.chain.clock.ms = city.chain.header.timestamp + ready
    session = city.sessions[1]
    session._status = None
    submit_operation = session.submit_operation

    def slow(chart: int, operation: bytes) -> Any:
        city.later(0)
        return submit_operation(chart, operation)

    monkeypatch.setattr(session, "submit_operation", slow)
    assert complete_with(session, 0) == {"chart": 0, "completed": False}
    assert session.control(0)["guardians"] is None
    assert len(guardians) == 3


def _is_record(city: City, number: int) -> bool:
    return any(one["number"] == number for one in city.sessions[0].events(0, "records"))


def test_copies_that_guardians_signed_apart_are_put_together(city: City, patient: Person, person: People) -> None:
    guardians = guarded(patient, person)
    new, request = person("new"), city.folder / "request"
    new.does("recovery", "begin", 0, "-o", request)
    copies = [city.folder / f"copy{n}" for n in range(2)]
    for guardian, copy in zip(guardians, copies, strict=False):
        guardian.does("recovery", "sign", request, "-o", copy)
    other = city.folder / "other"
    person("other").does("recovery", "begin", 0, "-o", other)
    assert "[different-requests]" in new.asks("recovery", "submit", copies[0], other, code=1)
    assert new.asks("recovery", "submit", *copies, at=1)["key_handed_in"] is False
    city.wait_out()
    # Carried elsewhere, the key is handed in, and the secret fetched, at the custodian's socket once it is done.
    assert new.does("recovery", "complete", 0, at=1)["taken_over"] is False
    assert "[no-chart-secret]" in new.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    assert new.does("recovery", "complete", 0)["taken_over"] is True
    new.does("grant", 0, "--to", 1, "--until", "1d")


def test_the_owner_vetoes_unless_the_key_is_said_to_be_stolen(city: City, patient: Person, person: People) -> None:
    guardians = guarded(patient, person)
    assert "[wrong-change]" in patient.does("recovery", "cancel", 0, code=1)
    thief, request = person("thief"), city.folder / "request"

    def ask(*words: object) -> None:
        thief.does("recovery", "begin", 0, "-o", request, *words)
        for guardian in guardians[:2]:
            guardian.does("recovery", "sign", request)

    ask()
    thief.asks("recovery", "submit", request)
    patient.does("recovery", "cancel", 0)
    city.wait_out()
    assert (
        patient.asks("recovery", "status", 0)["owner_key"]
        == patient.wallet.owner_keys(patient.reopen().chart(city.chain.id, 0)).owner_key.hex()
    )

    ask("--overrule")
    assert "[unauthorised]" in thief.asks("recovery", "submit", request, at=1, code=1)
    thief.asks("recovery", "submit", request)
    assert "[veto-overruled]" in patient.does("recovery", "cancel", 0, code=1)
    assert "[owner-frozen]" in patient.does("grant", 0, "--to", 1, "--until", "1d", code=1)
    stop = city.folder / "stop"
    patient.does("recovery", "cancel", 0, "--by-guardians", "-o", stop)
    for guardian in guardians[1:]:
        assert guardian.does("recovery", "sign", stop)["asks"] == "cancellation"
    patient.asks("recovery", "submit", stop)
    patient.does("grant", 0, "--to", 1, "--until", "1d")


def test_requests_that_were_altered_or_are_out_of_date_are_refused(city: City, patient: Person, person: People) -> None:
    guardians = guarded(patient, person)
    request = city.folder / "request"
    person("new").does("recovery", "begin", 0, "-o", request)
    good = json.loads(request.read_text())
    other = good | {"chart": 1}
    for text in ("", "[]", "{}", json.dumps(other), json.dumps(good | {"signed": "AAAA"}), json.dumps(good | {"x": 1}),
                 json.dumps(good | {"chain": "00" * 32}), json.dumps(good | {"signed": "%"})):  # fmt: skip
        request.write_text(text)
        assert "[bad-request-file]" in guardians[0].does("recovery", "sign", request, code=1), text
    request.write_text(json.dumps(good))
    for guardian in guardians[:2]:
        guardian.does("recovery", "sign", request)
    late = request.read_bytes()
    city.later(15 * DAY_MS)
    refused = patient.asks("recovery", "submit", request, code=1)
    assert "0 of the guardians signed this request (2 signatures in it do not count: run out" in refused
    patient.does("guardian", "set", 0, "--none")
    request.write_bytes(late)
    assert "[wrong-change]" in guardians[2].does("recovery", "sign", request, code=1)


def test_guardians_that_make_no_sense_are_refused(city: City, patient: Person, person: People) -> None:
    key = person("guardian").does("guardian", "key", 0)["key"]
    new = person("new")
    assert "[no-guardians]" in new.does("recovery", "begin", 0, "-o", city.folder / "r", code=1)
    for words in (("--key", key, "--threshold", 2), ("--key", "zz", "--threshold", 1), ("--key", key), (),
                  ("--key", key, "--key", key, "--threshold", 1), ("--none", "--threshold", 1)):  # fmt: skip
        assert "[bad-argument]" in patient.does("guardian", "set", 0, *words, code=1), words
    own = patient.wallet.owner_keys(patient.reopen().chart(city.chain.id, 0)).owner_key.hex()
    assert "[bad-terms]" in patient.does("guardian", "set", 0, "--key", own, "--threshold", 1, code=1)
    first = patient.does("guardian", "set", 0, "--key", key, "--threshold", 1)
    assert (first["guardians"]["threshold"], first["pending"]) == (1, None)
    second = patient.does("guardian", "set", 0, "--none")
    assert second["pending"]["kind"] == "guardians"
    assert "[change-pending]" in patient.does("chart", "rotate-key", 0, code=1)
    assert "waits until" in patient._run("guardian", "show", 0, "--socket", city.socket(0)).out
    city.wait_out()
    assert patient.asks("guardian", "show", 0)["guardians"] is None


def test_an_owner_rotates_its_keys_and_another_device_follows(city: City, patient: Person, person: People) -> None:
    phone = person("phone", patient.wallet.seed)
    phone.wallet.found(city.chain.id, 0, 0, 0)
    for version, suite in ((1, X25519), (2, MLKEM768_X25519)):
        done = patient.does("chart", "rotate-key", 0, "--suite", suite)
        assert done["key_handed_in"] is True
        phone.does("grant", 0, "--to", 1, "--until", "30d")
        city.wait_out()
        patient.does("grant", 0, "--to", 1, "--until", "30d")
        phone.does("grant", 0, "--to", 1, "--until", "30d")
        assert phone.reopen().chart(city.chain.id, 0).version == version
        assert patient.asks("chart", "show", 0)["encryption_suite"] == suite
        out = city.folder / "out"
        phone.does("record", "read", 0, 1, "-o", out)
        assert out.read_bytes() == b"%PDF Observation"


def test_a_wallet_comes_back_from_words_and_shares_with_all_its_charts(
    city: City, patient: Person, person: People, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.does("chart", "open", at=1)
    patient.does("chart", "rotate-key", 0)
    guardians = guarded_on(city, patient, person, chart=1)
    city.wait_out()
    new, request = person("new"), city.folder / "request"
    new.does("recovery", "begin", 1, "-o", request)
    for guardian in guardians:
        guardian.does("recovery", "sign", request)
    new.asks("recovery", "submit", request, at=1)
    new.does("chart", "open", at=1)
    city.wait_out()

    def restored(name: str, seed_words: str, *words: object) -> list[tuple[int, int, bool]]:
        text, file = city.folder / "words", city.folder / name
        text.write_text(seed_words)
        text.chmod(0o600)
        found = run("wallet", "restore", file, "--words-file", text, "--passphrase-file", patient.secret,
                    "--socket", city.socket(2), "--json", *words).json()  # fmt: skip
        return [(one["chart"], one["version"], one["recovered"]) for one in found["charts"]]

    # The patient's first chart with its rotated keys; the second one is another wallet's now.
    assert restored("a", words_from_entropy(patient.wallet.seed)) == [(0, 1, False)]
    assert restored("b", "\n".join(make_shares(new.wallet.seed, 5, 3)[1:4]), "--shares") == [
        (1, 0, True),
        (2, 0, False),
    ]
    again = Person.__new__(Person)
    again.__dict__ |= new.__dict__ | {"file": city.folder / "b"}
    assert again.does("recovery", "complete", 1, at=1)["taken_over"] is True
    again.does("grant", 1, "--to", 1, "--until", "1d")


def guarded_on(city: City, patient: Person, person: People, chart: int) -> list[Person]:
    guardians = [person(f"friend{n}") for n in range(2)]
    keys = [part for one in guardians for part in ("--key", one.does("guardian", "key", chart)["key"])]
    patient.does("guardian", "set", chart, "--threshold", 2, *keys)
    return guardians


def test_wrong_words_and_shares_are_refused_by_name_and_leave_no_file(
    city: City, patient: Person, run: Callable[..., Ended]
) -> None:
    text, file = city.folder / "words", city.folder / "again.wallet"
    shares = make_shares(patient.wallet.seed, 3, 2)
    other = make_shares(patient.wallet.seed, 3, 2)
    words = words_from_entropy(patient.wallet.seed).split()
    cases: list[tuple[str, tuple[str, ...], str]] = [
        (shares[0], ("--shares",), "too-few-shares"),
        (f"{shares[0]}\n\n{shares[0]}\n", ("--shares",), "repeated-share"),
        (f"{shares[0]}\n{other[1]}", ("--shares",), "mixed-shares"),
        (f"{shares[0]}\n{shares[1]}x", ("--shares",), "bad-share"),
        (" ".join(words[:-1]), (), "bad-words"),
        (" ".join(["zzzz", *words[1:]]), (), "bad-words"),
        (" ".join([words[1], words[0], *words[2:]]), (), "bad-words"),
    ]
    for given, options, name in cases:
        text.write_text(given)
        text.chmod(0o600)
        told = run("wallet", "restore", file, "--words-file", text, "--passphrase-file", patient.secret, "--offline",
                   *options, code=1)  # fmt: skip
        assert f"[{name}]" in told.err
        assert told.err.count("\n") == 1
        assert words[5] + " " + words[6] not in told.err
        assert "zzzz" not in told.err
        assert not file.exists()


def test_a_backup_by_shares_and_by_words(city: City, patient: Person, run: Callable[..., Ended]) -> None:
    own: tuple[object, ...] = (patient.file, "--passphrase-file", patient.secret)
    assert run("wallet", "backup", *own, "--json").json()["words"] == words_from_entropy(patient.wallet.seed)
    made = run("wallet", "backup", *own, "--shares", 3, "--threshold", 2, "--json").json()
    assert len(made["shares"]) == 3
    said = run("wallet", "backup", *own, "--shares", 3, "--threshold", 2).out
    assert "Any 2 of them" in said
    for words in (("--shares", 3), ("--shares", 3, "--threshold", 4), ("--shares", 1, "--threshold", 1)):
        assert run("wallet", "backup", *own, *words, code=1).err


def test_a_wallet_shows_all_its_charts_as_one_list_and_for_whom_it_acts(
    city: City, patient: Person, person: People, run: Callable[..., Ended]
) -> None:
    patient.does("chart", "open", at=1)
    person("other").does("chart", "open", at=2)
    patient.does("guardian", "key", 2)
    patient.does("delegate", "key", 2, "-o", Path(city.folder) / "card")
    own: tuple[object, ...] = (patient.file, "--passphrase-file", patient.secret)
    shown = run("wallet", "show", *own, "--json").json()
    assert [(one["chart"], one["custodian"]) for one in shown["charts"]] == [(0, 0), (1, 1)]
    assert [(one["chart"], one["as"]) for one in shown["acts_for"]] == [(2, "guardian"), (2, "delegate")]
    said = run("wallet", "show", *own).out
    assert "guardian" in said
    assert "delegate" in said


def test_a_wallet_asks_the_ledger_who_named_it(
    city: City, patient: Person, person: People, run: Callable[..., Ended]
) -> None:
    helper = person("helper")
    for chart in (0, 1):
        helper.does("guardian", "key", chart)
        patient.does("chart", "open", at=1)
    patient.does("guardian", "set", 0, "--threshold", 1, "--key", helper.does("guardian", "key", 0)["key"])
    carer_of(city, patient, helper, "--act", "grant", "--act", "read", "--until", "9d")
    helper.does("delegate", "key", 1, "-o", city.folder / "card")
    asked = run("wallet", "show", helper.file, "--passphrase-file", helper.secret, "--ledger", "--socket",
                city.socket(2), "--json").json()  # fmt: skip
    stands = {(one["chart"], one["as"]): one["stands"] for one in asked["acts_for"]}
    assert stands[0, "guardian"] == "one of 1, of whom 1 must agree"
    assert stands[0, "delegate"].startswith("live: may grant, read until ")
    assert (stands[1, "guardian"], stands[1, "delegate"]) == ("not named", "not named")
