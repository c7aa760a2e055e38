"""The wallet: everything comes back from the seed, no number is used twice, grants follow a chart's generations."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from node.keystore import KeyfileRefused, write_file
from node.wallet import (
    GrantTooWide,
    NoChartSecret,
    NoSuchChart,
    NotTheOwner,
    Wallet,
    WalletChart,
    consent,
    tags_through,
)
from node.wallet.acting import delegate_card, guardian_public
from node.wallet.consent import NotRenewed, Wish
from node.wallet.file import WalletChart1, WalletFile1
from node.wallet.recovery import GUARDIAN_EXPIRY_MS
from node.wallet.tagging import BarTooWide, Forbidden, bars_through
from node.wallet.wallet import EXPIRY_MS, WalletFull
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import encryption_key_digest, operation_digest
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import cosignature_message, verify
from protocol.crypto.tags import GrantLabels, Labels, tags_of
from protocol.errors import WrongPassphrase
from protocol.ledger.decisions import Asked, barred
from protocol.ledger.events import RecordAppended
from protocol.ledger.leaves import PolicyLeaf
from protocol.limits import TRANSACTION_BYTES
from protocol.params import BOUNDS
from protocol.types.operations import (
    ROLE_DELEGATE,
    ROLE_GUARDIAN,
    ROLE_OWNER,
    OpenChart,
    Policy,
    RecordEntry,
    Revoke,
    SignedOperation,
)

LOW = Cost(passes=1, memory_kib=8)
CHAIN = b"c" * 32
NOW = 1_800_000_000_000


@pytest.fixture
def wallet(tmp_path):
    return Wallet.create(tmp_path / "w", b"pass", cost=LOW)


def opened(wallet, custodian=0, number=7) -> WalletChart:
    return wallet.opened(wallet.reserve_chart(CHAIN, custodian), number)


def covered(grant_tags, record_tags) -> bool:
    return all(listed is None or one in listed for listed, one in zip(grant_tags, record_tags, strict=True))


def test_the_file_is_closed_and_opens_with_its_passphrase(wallet):
    assert wallet.path.stat().st_mode & 0o777 == 0o600
    assert Wallet.open(wallet.path, b"pass").content == wallet.content
    with pytest.raises(WrongPassphrase):
        Wallet.open(wallet.path, b"other")


def test_two_commands_on_one_file_lose_nothing_of_each_other(wallet):
    """Groups, charts acted for and fetched secrets come back from no seed; and a number counts once."""
    chart = opened(wallet)
    other = Wallet.open(wallet.path, b"pass", LOW)
    wallet.set_group("mine", CHAIN, [1, 2])
    other.set_group("theirs", CHAIN, [3])
    other.act_for(CHAIN, 9, ROLE_GUARDIAN)
    wallet.act_for(CHAIN, 8, ROLE_DELEGATE)
    assert opened(other, 1, 10).index == 0
    assert wallet.reserve_chart(CHAIN, 1).index == 1, "the other's is not derived twice"
    signed = [one.sign(chart, Revoke(7, 0, (), ()), NOW) for one in (wallet, other, wallet)]
    assert [decode(SignedOperation, one).cosignatures[0].number for one in signed] == [1, 2, 3]
    kept = Wallet.open(wallet.path, b"pass").content
    assert kept == wallet.content
    assert [one.name for one in kept.groups] == ["mine", "theirs"]
    assert {(one.chart, one.role) for one in kept.acting} == {(9, ROLE_GUARDIAN), (8, ROLE_DELEGATE)}
    assert [(one.custodian, one.number) for one in kept.charts] == [(0, 7), (1, 10), (1, None)]


def test_many_at_once_wait_for_one_another(wallet):
    def name(number: int) -> None:
        Wallet.open(wallet.path, b"pass", LOW).set_group(f"group {number}", CHAIN, [number])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(name, range(24)))
    assert {one.name for one in Wallet.open(wallet.path, b"pass").content.groups} == {f"group {n}" for n in range(24)}


def test_a_file_that_went_away_meanwhile_is_not_written_anew(wallet):
    """What it held besides the seed would be another wallet's, or lost."""
    wallet.path.unlink()
    with pytest.raises(KeyfileRefused, match="cannot read"):
        wallet.set_group("mine", CHAIN, [1])
    assert not wallet.path.exists()


def test_an_existing_wallet_is_never_overwritten(wallet):
    with pytest.raises(KeyfileRefused):
        Wallet.create(wallet.path, b"pass", cost=LOW)


def test_the_opening_is_signed_by_the_key_that_it_names(wallet):
    chart = wallet.reserve_chart(CHAIN, 2)
    request = wallet.opening(chart, NOW)
    operation = OpenChart(
        2,
        bytes.fromhex(request.owner_key),
        request.encryption_suite,
        encryption_key_digest(request.encryption_suite, bytes.fromhex(request.encryption_public)),
    )
    signed = request.cosignature
    message = cosignature_message(
        CHAIN, operation_digest(operation), ROLE_OWNER, 0, signed["number"], signed["expires_at"]
    )
    assert verify(operation.owner_key, message, bytes.fromhex(signed["signature"]))
    assert not verify(operation.owner_key, message + b"x", bytes.fromhex(signed["signature"]))


def test_the_seed_brings_the_keys_back(wallet, tmp_path):
    chart = opened(wallet)
    again = Wallet.create(tmp_path / "again", b"other", seed=wallet.content.seed, cost=LOW)
    again.found(CHAIN, 0, 0, 7)
    assert again.keys(again.chart(CHAIN, 7)).signing_seed == wallet.keys(chart).signing_seed


def test_an_unconfirmed_opening_is_taken_again_and_a_confirmed_one_is_not(wallet):
    first = wallet.reserve_chart(CHAIN, 0)
    assert wallet.reserve_chart(CHAIN, 0) == first
    wallet.opened(first, 3)
    assert wallet.reserve_chart(CHAIN, 0).index == 1
    assert wallet.reserve_chart(CHAIN, 1).index == 0


def test_no_number_is_used_twice_even_after_reopening(wallet):
    chart = opened(wallet)
    numbers = []
    for _ in range(3):
        wallet = Wallet.open(wallet.path, b"pass", LOW)
        signed = decode(SignedOperation, wallet.sign(chart, Revoke(7, 0), NOW))
        numbers.append(signed.cosignatures[0].number)
    assert numbers == sorted(set(numbers))


def test_a_restored_wallet_goes_on_above_what_the_ledger_saw(wallet):
    signed = decode(SignedOperation, wallet.sign(opened(wallet), Revoke(7, 0), NOW, ledger_used=41))
    assert signed.cosignatures[0].number == 42


def test_an_unknown_chart_is_refused(wallet):
    with pytest.raises(NoSuchChart, match="no chart 9"):
        wallet.chart(CHAIN, 9)


def wish(labels: GrantLabels, grantees=(1,)) -> Wish:
    return Wish(grantees, labels, ("TREAT", "TREAT"), 0, 1)


def control(generation=0, *, grants=(), delegates=(), bars=()):
    """How a chart stands, as the socket tells it."""
    return {
        "chart": 7,
        "generation": generation,
        "grants": [{"grant": n, "state": state, "tags": as_hex(tags)} for n, state, tags in grants],
        "delegates": [{"delegate": n, "state": state, "tags": as_hex(tags)} for n, state, tags in delegates],
        "policy": {
            "break_glass": "allowed",
            "bars": [
                {"institution": b.institution, "tags": as_hex(b.tags), "emergencies": b.emergencies,
                 "generation": b.generation}
                for b in bars
            ],
        },
    }  # fmt: skip


def as_hex(tags):
    return [None if listed is None else [one.hex() for one in listed] for listed in tags]


def test_a_grant_covers_records_of_every_generation(wallet):
    chart = opened(wallet)
    secret = wallet.chart_secret(chart)
    terms = consent.grant(wallet, chart, 2, wish(GrantLabels(("Observation",)))).terms
    for generation in range(3):
        assert covered(terms.tags, tags_of(secret, generation, Labels("Observation", "2020")))
    assert not covered(terms.tags, tags_of(secret, 3, Labels("Observation", "2020")))
    assert terms.purposes == ("TREAT",)


def test_sensitive_records_are_covered_only_if_named(wallet):
    chart = opened(wallet)
    secret = wallet.chart_secret(chart)
    plain = consent.grant(wallet, chart, 0, wish(GrantLabels())).terms
    named = consent.grant(wallet, chart, 0, wish(GrantLabels(sensitivities=("MH",)))).terms
    record = tags_of(secret, 0, Labels("Condition", "2020", "MH"))
    assert not covered(plain.tags, record)
    assert covered(named.tags, record)
    assert not covered(named.tags, tags_of(secret, 0, Labels("Condition", "2020", "HIV", "MH")))


def test_revoking_reissues_what_goes_on_and_leaves_what_ended(wallet):
    chart = opened(wallet)
    secret = wallet.chart_secret(chart)
    labels = GrantLabels(("Condition", "made-up"), ("2020",), ("MH",))
    tags = consent.grant(wallet, chart, 1, wish(labels)).terms.tags
    stands = control(
        1,
        grants=[(0, "live", tags), (3, "expired", tags), (4, "revoked", tags), (5, "live", tags), (6, "not-yet", tags)],
        delegates=[(0, "ended", tags), (1, "live", tags), (2, "recovered", tags)],
    )
    revoke, left = consent.revocation(wallet, chart, stands, 0)
    assert left == NotRenewed([], [], bars=False)
    assert revoke.grant == 0
    assert [one.grant for one in revoke.reissues] == [5, 6]
    assert [one.delegate for one in revoke.delegates] == [1]
    assert revoke.bars is None
    for again in (*revoke.reissues, *revoke.delegates):
        for generation in range(3):
            assert covered(again.tags, tags_of(secret, generation, Labels("made-up", "2020", "MH")))


def test_a_grant_of_unknown_labels_is_named_not_guessed(wallet, tmp_path):
    chart = opened(wallet)
    tags = consent.grant(wallet, chart, 0, wish(GrantLabels(("made-up",)))).terms.tags
    restored = Wallet.create(tmp_path / "again", b"p", seed=wallet.seed, cost=LOW)
    restored.found(CHAIN, 0, 0, 7)
    stands = control(grants=[(5, "live", tags)], delegates=[(2, "live", tags)])
    made = consent.revocation(restored, restored.chart(CHAIN, 7), stands, 0)
    assert made == (Revoke(7, 0), NotRenewed([5], [2], bars=False))


def test_a_revocation_that_would_not_fit_names_what_it_left_out(wallet):
    chart = opened(wallet)
    many = GrantLabels(tuple(f"kind {n}" for n in range(400)))
    tags = consent.grant(wallet, chart, 0, wish(many)).terms.tags
    stands = control(grants=[(n, "live", tags) for n in range(1, 60)])
    revoke, left = consent.revocation(wallet, chart, stands, 0)
    assert 1 <= len(revoke.reissues) < 59
    assert [one.grant for one in revoke.reissues] + left.grants == list(range(1, 60))
    assert len(encode(SignedOperation(revoke))) < TRANSACTION_BYTES - 8 * 1024


def test_what_is_forbidden_holds_in_every_generation_and_reads_back(wallet):
    chart = opened(wallet)
    secret = wallet.chart_secret(chart)
    rules = {
        Forbidden(1, ("Condition", "Observation"), None, None),
        Forbidden(None, None, ("2020",), ("HIV", "MH"), emergencies=True),
        Forbidden(2),
    }
    for generation in (0, 3, 20):
        bars = bars_through(secret, generation, sorted(rules, key=repr))
        assert {bar.generation for bar in bars} == {generation}
        stands = PolicyLeaf(Policy(bars=bars), bytes(32), 0)
        assert set(wallet.meanings(chart, generation).forbidden(bars)) == rules
        for age in range(generation + 1):
            for who, labels, stopped in (
                (1, Labels("Condition", "2019"), True),
                (1, Labels("Procedure", "2019"), False),
                (2, Labels("Procedure", "2019"), True),
                (3, Labels("Procedure", "2020", "MH"), True),
                (3, Labels("Procedure", "2020", "AAA", "MH"), True),
                (3, Labels("Procedure", "2020", "AAA", "several"), True),
                (3, Labels("Procedure", "2019", "MH"), False),
            ):
                event = RecordAppended(1, 0, 0, age, RecordEntry(bytes(32), tags_of(secret, age, labels)))
                asked = Asked(who, "TREAT", 0, None, [event])
                assert barred(asked, stands, emergency=False) is stopped, (generation, age, who, labels)


def test_a_policy_that_takes_too_many_bars_is_refused(wallet):
    secret = wallet.chart_secret(opened(wallet))
    with pytest.raises(BarTooWide):
        bars_through(secret, 0, [Forbidden(None, tuple(f"kind {n}" for n in range(17)))])
    with pytest.raises(BarTooWide):
        bars_through(secret, 400, [Forbidden(1, ("Condition",))])
    revoke, left = consent.revocation(
        wallet, opened(wallet), control(255, bars=bars_through(secret, 255, [Forbidden(1, ("Condition",))])), 0
    )
    assert (revoke.bars, left.bars) == (None, True)


def test_files_of_version_1_are_read_and_become_version_2(wallet, tmp_path):
    old = WalletFile1(1, b"s" * 32, (WalletChart1(CHAIN, 2, 0, 7, 41), WalletChart1(CHAIN, 2, 1)), ("made-up",))
    path = tmp_path / "old"
    write_file(path, encode(old), b"pass", LOW)
    found = Wallet.open(path, b"pass", LOW)
    assert found.content.charts == (WalletChart(CHAIN, 2, 0, 7, 41), WalletChart(CHAIN, 2, 1))
    assert found.content.labels == ("made-up",)
    signed = decode(SignedOperation, found.sign(found.chart(CHAIN, 7), Revoke(7, 0), NOW))
    assert signed.cosignatures[0].number == 42
    assert Wallet.open(path, b"pass", LOW).content == found.content
    assert found.content.version == 2
    write_file(path, b"nonsense", b"pass", LOW, replace=True)
    with pytest.raises(KeyfileRefused, match="not a wallet"):
        Wallet.open(path, b"pass", LOW)


def test_keys_rotate_and_the_chart_secret_stays(wallet):
    chart = opened(wallet)
    new = wallet.owner_keys(chart, 1)
    assert new.owner_key != wallet.owner_keys(chart).owner_key
    wallet.sign(chart, Revoke(7, 0), NOW)
    turned = wallet.catch_up(chart, new.owner_key)
    assert (turned.version, turned.used) == (1, 0)
    assert wallet.owner_keys(turned) == new
    assert wallet.chart_secret(turned) == wallet.keys(chart).chart_secret
    assert wallet.catch_up(turned, new.owner_key) == turned
    with pytest.raises(NotTheOwner):
        wallet.catch_up(turned, wallet.owner_keys(turned, 0).owner_key)
    with pytest.raises(NotTheOwner):
        wallet.catch_up(turned, bytes(32))


def test_a_recovered_chart_has_the_other_wallets_secret(wallet):
    chart = wallet.reserve_recovered(CHAIN, 0, 7)
    assert wallet.reserve_recovered(CHAIN, 0, 7) == chart
    assert wallet.reserve_chart(CHAIN, 0).index == 1
    with pytest.raises(NoChartSecret):
        wallet.chart_secret(chart)
    with pytest.raises(NoChartSecret):
        consent.grant(wallet, chart, 0, wish(GrantLabels()))
    kept = wallet.keep_secret(chart, b"x" * 32)
    assert Wallet.open(wallet.path, b"pass").chart_secret(kept) == b"x" * 32


def test_keys_to_act_for_others_link_nothing(wallet):
    public = {guardian_public(wallet, CHAIN, chart) for chart in range(20)}
    public |= {bytes.fromhex(delegate_card(wallet, CHAIN, chart).key) for chart in range(20)}
    public |= {guardian_public(wallet, b"d" * 32, 0)}
    assert len(public) == 41
    assert len(wallet.content.acting) == 41
    assert Wallet.open(wallet.path, b"pass").content.acting == wallet.content.acting


def test_nothing_of_a_wallet_shows_its_secrets(wallet):
    chart = wallet.keep_secret(wallet.reserve_recovered(CHAIN, 0, 7), b"\x5e" * 32)
    shown = repr(
        (wallet, wallet.content, chart, wallet.keys(chart), wallet.opening(wallet.reserve_chart(CHAIN, 1), NOW))
    )
    assert wallet.seed.hex() not in shown
    assert repr(wallet.seed) not in shown
    assert "5e5e" not in shown
    assert "^^" not in shown


def test_too_many_labels_are_refused_and_too_many_generations_dropped():
    with pytest.raises(GrantTooWide):
        tags_through(b"s" * 32, 0, GrantLabels(tuple(f"c{n}" for n in range(513))))
    tags = tags_through(b"s" * 32, 600, GrantLabels(("a",)))
    assert len(tags[0]) == 512
    assert tags_of(b"s" * 32, 600, Labels("a"))[0] in tags[0]


def test_a_file_never_grows_beyond_what_opens_again(wallet):
    for first in range(0, 1_200, 300):
        wallet.remember(f"label {n} {'x' * 40}" for n in range(first, first + 300))
        assert Wallet.open(wallet.path, b"pass").content == wallet.content
    assert "label 1199 " + "x" * 40 in wallet.content.labels

    def many_groups():
        for n in range(400):
            wallet.set_group(f"{'g' * 60} {n}", CHAIN, range(64))

    with pytest.raises(WalletFull):
        many_groups()
    assert Wallet.open(wallet.path, b"pass").content == wallet.content


def test_no_parameters_refuse_what_wallets_sign():
    """With an hour to spare for a wallet whose clock is ahead, and a day for a guardian's."""
    assert BOUNDS["cosign_ms"][0] >= EXPIRY_MS + 3_600_000
    assert BOUNDS["guardian_cosign_ms"][0] >= GUARDIAN_EXPIRY_MS + 24 * 3_600_000
