"""The wallet: everything comes back from the seed, no number is used twice, grants follow a chart's generations."""

import pytest

from node.keystore import KeyfileRefused
from node.wallet import GrantTooWide, NoSuchChart, Wallet, WalletChart, tags_through
from protocol.codec.canonical import decode
from protocol.crypto.hashing import encryption_key_digest, operation_digest
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import cosignature_message, verify
from protocol.crypto.tags import GrantLabels, Labels, tags_of
from protocol.errors import WrongPassphrase
from protocol.types.operations import ROLE_OWNER, OpenChart, Revoke, SignedOperation

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
        CHAIN, operation_digest(operation), ROLE_OWNER, signed["number"], signed["expires_at"]
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


def test_a_grant_covers_records_of_every_generation(wallet):
    chart = opened(wallet)
    secret = wallet.keys(chart).chart_secret
    terms = wallet.grant(
        chart, 2, 1, GrantLabels(("Observation",)), purposes=["TREAT", "TREAT"], not_before=0, not_after=1
    ).terms
    for generation in range(3):
        assert covered(terms.tags, tags_of(secret, generation, Labels("Observation", "2020")))
    assert not covered(terms.tags, tags_of(secret, 3, Labels("Observation", "2020")))
    assert terms.purposes == ("TREAT",)


def test_sensitive_records_are_covered_only_if_named(wallet):
    chart = opened(wallet)
    secret = wallet.keys(chart).chart_secret
    plain = wallet.grant(chart, 0, 1, GrantLabels(), purposes=["TREAT"], not_before=0, not_after=1).terms
    named = wallet.grant(
        chart, 0, 1, GrantLabels(sensitivities=("MH",)), purposes=["TREAT"], not_before=0, not_after=1
    ).terms
    record = tags_of(secret, 0, Labels("Condition", "2020", "MH"))
    assert not covered(plain.tags, record)
    assert covered(named.tags, record)
    assert not covered(named.tags, tags_of(secret, 0, Labels("Condition", "2020", "HIV", "MH")))


def test_revoking_reissues_the_other_grants_for_what_follows(wallet):
    chart = opened(wallet)
    secret = wallet.keys(chart).chart_secret
    labels = GrantLabels(("Condition", "made-up"), ("2020",), ("MH",))
    tags = wallet.grant(chart, 1, 1, labels, purposes=["TREAT"], not_before=0, not_after=1).terms.tags
    revoke, unknown = wallet.revocation(chart, 1, 0, {5: tags})
    assert unknown == []
    assert revoke.grant == 0
    (reissue,) = revoke.reissues
    assert reissue.grant == 5
    for generation in range(3):
        assert covered(reissue.tags, tags_of(secret, generation, Labels("made-up", "2020", "MH")))


def test_a_grant_of_unknown_labels_is_named_not_guessed(wallet, tmp_path):
    chart = opened(wallet)
    tags = wallet.grant(
        chart, 0, 1, GrantLabels(("made-up",)), purposes=["TREAT"], not_before=0, not_after=1
    ).terms.tags
    restored = Wallet.create(tmp_path / "again", b"p", seed=wallet.content.seed, cost=LOW)
    restored.found(CHAIN, 0, 0, 7)
    assert restored.revocation(restored.chart(CHAIN, 7), 0, 0, {5: tags}) == (Revoke(7, 0), [5])


def test_too_many_labels_are_refused_and_too_many_generations_dropped():
    with pytest.raises(GrantTooWide):
        tags_through(b"s" * 32, 0, GrantLabels(tuple(f"c{n}" for n in range(513))))
    tags = tags_through(b"s" * 32, 600, GrantLabels(("a",)))
    assert len(tags[0]) == 512
    assert tags_of(b"s" * 32, 600, Labels("a"))[0] in tags[0]
