"""A vote key and its journal: what is kept, when it may sign, when it is destroyed; whatever crashes in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from node.epochs import Epochs, VoteKeys
from node.institution_keys import encryption_digest, new_institution
from node.keystore import (
    ENCRYPTION_KEYS,
    ENCRYPTION_KEYS_KEPT,
    KeyfileRefused,
    Keystore,
    KeystoreFile,
    KeystoreFull,
    open_keystore,
    write_keystore,
)
from node.rotations import forget, new_certificate, new_encryption_key, new_operations_key, new_vote_key
from node.sansio.terms import FinalState
from node.standing import Standing
from node.storage.journal import Journal, Owner, journal_path, journals
from protocol.codec.canonical import encode
from protocol.consensus.votes import epoch_of
from protocol.crypto.envelopes import X25519
from protocol.crypto.keyfiles import Cost
from protocol.crypto.signing import SigningKey
from protocol.errors import JournalBroken
from protocol.ledger import keys
from protocol.ledger.genesis import genesis_block
from protocol.params import Params
from protocol.types.institutions import RETIRED_KEY, Authority, AuthoritySet, Genesis
from protocol.types.votes import FINALIZE, Certificate, Vote, VoteSubject

PASSPHRASE, QUICK = b"sesame", Cost(passes=1, memory_kib=8)
MADE = new_institution("Hospital 0")
GENESIS = Genesis("test", 1_700_000_000_000, Params(), (MADE.public,), (0,))
BEGIN = genesis_block(GENESIS)
CHAIN = BEGIN.header.chain
KEY = MADE.public.vote_key


def vote(epoch: int, view: int) -> Vote:
    return Vote(VoteSubject(2, CHAIN, epoch, view, 0, bytes(32)), 0, bytes(64))


def certificate(epoch: int) -> Certificate:
    return Certificate(VoteSubject(FINALIZE, CHAIN, epoch, 9, 0, bytes(32)), ((0, bytes(64)),))


class Home:
    """A node's folder, its keystore, and its chain's final state, which `epoch` moves on."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.path = folder / "keystore"
        write_keystore(self.path, MADE.keystore, PASSPHRASE, QUICK)
        Journal.create(self.data, Owner(CHAIN, KEY))
        self.standing = Standing(BEGIN.changes.leaves)
        self.state = FinalState(BEGIN.header, None, None)

    def keys(self) -> KeystoreFile:
        return open_keystore(self.path, PASSPHRASE)

    def vote_keys(self) -> VoteKeys:
        return VoteKeys(self.data, CHAIN, self.keys(), None)

    def epochs(self, vote_keys: VoteKeys) -> Epochs:
        return Epochs(chain=CHAIN, institution=0, standing=self.standing, keys=vote_keys, stored=lambda: self.state)

    def epoch(self, epoch: int, vote_key: bytes = KEY) -> None:
        """The last block of the epoch before this one is final and on disk; the institution votes with this key."""
        self.lead(epoch, vote_key)
        header = msgspec.structs.replace(BEGIN.header, epoch=epoch - 1, height=epoch, next_authorities=bytes(32))
        self.state = FinalState(header, certificate(epoch - 1), certificate(epoch - 1))

    def lead(self, epoch: int, vote_key: bytes = KEY) -> None:
        """As `epoch`, and not on disk yet."""
        authorities = AuthoritySet(epoch, (Authority(0, vote_key, 0),))
        self.standing.update({keys.authorities(epoch): encode(authorities)})

    async def votes(self) -> None:
        """The node runs in epoch 0, and ends."""
        vote_keys = self.vote_keys()
        voting_key = self.epochs(vote_keys).first().voting_key
        assert voting_key is not None
        await voting_key.write([encode(vote(0, 1))])
        vote_keys.close()

    def journal(self) -> list[bytes]:
        journal, records = Journal.open(self.data, Owner(CHAIN, KEY), None)
        journal.close()
        return records


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_no_term_before_its_epoch_is_on_disk_and_one_for_each_after(home: Home) -> None:
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    first = epochs.first()
    assert (first.epoch, first.machine.me, first.why_silent) == (0, 0, None)
    assert await epochs.next(0) is None
    home.lead(1)
    assert await epochs.next(0) is None
    home.epoch(1)
    following = await epochs.next(0)
    assert following is not None
    assert (following.epoch, following.machine.config.epoch, following.machine.me) == (1, 1, 0)
    assert following.machine.former == certificate(0)
    home.lead(2)  # in memory the epoch after that has begun: parameters are that one's already
    assert await epochs.next(0) is None
    vote_keys.close()


async def test_what_was_signed_in_an_epoch_that_is_over_is_forgotten_and_never_signed_again(home: Home) -> None:
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    voting_key = epochs.first().voting_key
    assert voting_key is not None
    await voting_key.write([encode(vote(0, 1))])
    home.epoch(1)
    await epochs.next(0)
    vote_keys.close()
    assert home.journal() == []
    fresh = Home.__new__(Home)  # the copy of the chain was dropped: the node begins at epoch 0 once more
    fresh.__dict__.update(home.__dict__)
    fresh.standing, fresh.state = Standing(BEGIN.changes.leaves), FinalState(BEGIN.header, None, None)
    again = fresh.vote_keys()
    term = fresh.epochs(again).first()
    assert term.machine.me is None
    assert term.voting_key is None
    fresh.epoch(1)
    following = await fresh.epochs(again).next(0)
    assert following is not None
    assert following.machine.me == 0
    again.close()


async def test_records_of_a_later_epoch_outlive_compactions_before_it(home: Home) -> None:
    vote_keys = home.vote_keys()
    voting_key = vote_keys.take(KEY)
    await voting_key.write([encode(vote(2, 1)), encode(vote(2, 3))])
    vote_keys.close()
    again = home.vote_keys()
    voting_key = again.take(KEY)
    assert voting_key.first_epoch == 2
    voting_key.keep([vote(1, 5)], 1)
    assert home.journal() == [encode(vote(1, 5)), encode(vote(2, 1)), encode(vote(2, 3))]
    voting_key.begin(2)
    assert voting_key.records_of(2) == [vote(2, 1), vote(2, 3)]
    again.close()
    assert home.journal() == [encode(vote(2, 1)), encode(vote(2, 3))]


async def test_a_key_that_a_command_added_is_found_and_the_old_one_destroyed(home: Home) -> None:
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    epochs.first()
    change = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    assert len(journals(home.data)) == 2
    home.epoch(1, change.key)
    following = await epochs.next(0)
    assert following is not None
    assert following.voting_key is not None
    assert following.voting_key.key.public == change.key
    assert [SigningKey(seed).public for seed in home.keys().keystore.votes] == [change.key]
    assert list(journals(home.data).values()) == [Owner(CHAIN, change.key)]
    vote_keys.close()


async def test_of_two_changes_the_one_made_first_may_become_final_last(home: Home) -> None:
    """It has signed nothing yet, so it is kept until the ledger names it, over a restart too."""
    await home.votes()
    first = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    second = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY, fresh=True)
    home.epoch(1, second.key)
    vote_keys = home.vote_keys()
    assert home.epochs(vote_keys).first().machine.me == 0
    vote_keys.close()
    assert [SigningKey(seed).public for seed in home.keys().keystore.votes] == [first.key, second.key], "KEY has signed"
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    epochs.first()
    home.epoch(2, first.key)
    last = await epochs.next(1)
    assert last is not None
    assert last.voting_key is not None
    assert (last.why_silent, last.voting_key.key.public) == (None, first.key)
    assert [SigningKey(seed).public for seed in home.keys().keystore.votes] == [first.key], "the second has signed"
    assert list(journals(home.data).values()) == [Owner(CHAIN, first.key)]
    vote_keys.close()


async def test_a_chain_that_is_fetched_anew_does_not_cost_the_key_of_a_later_epoch(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where that was made before the one that could not be destroyed, and has signed since."""
    first = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    second = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY, fresh=True)
    home.epoch(1, second.key)
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    epochs.first()
    home.epoch(2, first.key)
    with monkeypatch.context() as patch:
        patch.setattr("node.keystore.write_private", _power_fails)
        assert await epochs.next(1) is not None
    vote_keys.close()
    home.standing = Standing(BEGIN.changes.leaves)
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    home.epoch(1, second.key)
    assert epochs.first().machine.me == 0
    home.epoch(2, first.key)
    last = await epochs.next(1)
    assert last is not None
    assert last.why_silent is None
    vote_keys.close()


async def test_a_crash_between_destroying_key_and_journal_is_made_good(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.votes()
    change = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    home.epoch(1, change.key)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _power_fails)
        vote_keys = home.vote_keys()
        home.epochs(vote_keys).first()
        vote_keys.close()
    assert [SigningKey(seed).public for seed in home.keys().keystore.votes] == [change.key]
    assert len(journals(home.data)) == 2
    vote_keys = home.vote_keys()
    assert home.epochs(vote_keys).first().machine.me == 0
    assert list(journals(home.data).values()) == [Owner(CHAIN, change.key)]
    vote_keys.close()


def _power_fails(self: Path, missing_ok: bool = False) -> None:
    raise OSError("the machine loses power here")


async def test_keys_of_a_rotation_that_is_not_final_stay(home: Home) -> None:
    vote_keys = home.vote_keys()
    change = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    home.epochs(vote_keys).first()  # as after a restart in between
    assert [SigningKey(seed).public for seed in home.keys().keystore.votes] == [KEY, change.key]
    assert len(journals(home.data)) == 2
    vote_keys.close()


async def test_a_keystore_restored_beside_a_running_node_does_not_take_its_journal_away(home: Home) -> None:
    vote_keys = home.vote_keys()
    epochs = home.epochs(vote_keys)
    epochs.first()
    copy = home.path.with_name("backup")
    home.keys().backup(copy)  # which holds no vote key
    copy.replace(home.path)
    home.epoch(1)
    following = await epochs.next(0)
    assert following is not None
    assert following.voting_key is not None
    await following.voting_key.write([encode(vote(1, 1))])
    vote_keys.close()
    assert home.journal() == [encode(vote(1, 1))]


async def test_a_key_that_is_not_here_makes_a_follower_and_says_what_to_do(home: Home) -> None:
    home.epoch(1, bytes(31) + b"k")
    vote_keys = home.vote_keys()
    term = home.epochs(vote_keys).first()
    assert term.machine.me is None
    assert "does not hold the vote key" in str(term.why_silent)
    assert home.keys().keystore == MADE.keystore
    vote_keys.close()


# --- rotations -----------------------------------------------------------------------------------------------------


def test_a_rotation_that_was_broken_off_goes_on_with_the_same_key(home: Home) -> None:
    first = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    assert new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY) == first
    fresh = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY, fresh=True)
    assert fresh.key != first.key
    assert new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY) == fresh


def test_a_crash_between_journal_and_keystore_leaves_no_key_without_a_journal(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("node.keystore.write_private", _power_fails)
        with pytest.raises(OSError, match="power"):
            new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    assert home.keys().keystore == MADE.keystore
    change = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    assert journal_path(home.data, change.key).exists()


def test_a_new_key_whose_journal_is_gone_is_not_taken_again(home: Home) -> None:
    first = new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY)
    journal_path(home.data, first.key).unlink()
    assert new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY).key != first.key


def test_attempts_without_end_never_cost_the_key_that_counts(home: Home) -> None:
    for _ in range(10):
        new_vote_key(home.keys(), home.data, CHAIN, "Hospital 0", KEY, fresh=True)
    assert KEY in [SigningKey(seed).public for seed in home.keys().keystore.votes]


def test_other_keys_go_on_with_the_same_too_and_retired_ones_leave(home: Home) -> None:
    own = MADE.public
    keys_ = home.keys()
    first = new_operations_key(keys_, CHAIN, own.name, own.operation_keys)
    assert first == new_operations_key(keys_, CHAIN, own.name, own.operation_keys)
    assert first.index == 1
    certificate_ = new_certificate(keys_, own.name, own.network_certificates)
    assert certificate_ == new_certificate(keys_, own.name, own.network_certificates)
    sealed_to = new_encryption_key(keys_, own.encryption_key)
    assert sealed_to == new_encryption_key(keys_, own.encryption_key)
    assert len(keys_.keystore.encryption) == 2
    other = new_encryption_key(keys_, own.encryption_key, suite=X25519)
    assert other == new_encryption_key(keys_, own.encryption_key, suite=X25519)
    assert (other.suite, len(keys_.keystore.encryption)) == (X25519, 3)
    in_place = new_operations_key(keys_, CHAIN, own.name, (RETIRED_KEY, first.key))
    assert in_place.index == 0
    forget(keys_, own.network_certificates[0])
    assert [one.certificate for one in keys_.read().network] == [certificate_.certificate]
    forget(keys_, certificate_.certificate)  # the only one left stays
    assert [one.certificate for one in keys_.read().network] == [certificate_.certificate]


def test_retiring_a_key_does_not_cost_the_one_of_a_rotation_that_is_not_final(home: Home) -> None:
    """The ledger may have it any moment, and then nobody would hold it."""
    own, keys_ = MADE.public, home.keys()
    waiting = new_operations_key(keys_, CHAIN, own.name, own.operation_keys)
    certificate_ = new_certificate(keys_, own.name, own.network_certificates)
    forget(keys_, own.operation_keys[0])
    forget(keys_, own.network_certificates[0])
    assert [SigningKey(seed).public for seed in keys_.read().operations] == [waiting.key]
    assert [one.certificate for one in keys_.read().network] == [certificate_.certificate]


def test_encryption_keys_rotate_for_ever(home: Home) -> None:
    """Old ones go, but for the oldest, which pseudonyms come from, and the one that counts."""
    keys_, on_ledger = home.keys(), MADE.public.encryption_key
    oldest = keys_.keystore.encryption[0]
    for _ in range(2 * ENCRYPTION_KEYS):
        on_ledger = new_encryption_key(keys_, on_ledger).key
    assert len(home.keys().keystore.encryption) == ENCRYPTION_KEYS_KEPT
    assert home.keys().keystore.encryption[0] == oldest
    counts = on_ledger
    for _ in range(2 * ENCRYPTION_KEYS):
        made = new_encryption_key(keys_, counts, fresh=True)
        digests = [encryption_digest(one) for one in keys_.keystore.encryption]
        assert counts in digests, "attempts that never became final cost the key that counts"
        assert digests[-1] == made.key
    assert len(digests) == ENCRYPTION_KEYS_KEPT
    assert home.keys().keystore.encryption[0] == oldest


# --- the keystore's file -------------------------------------------------------------------------------------------


def test_changes_of_two_processes_do_not_lose_one_another(home: Home) -> None:
    """Each of many changes adds one thing; they come from handles that read the file long before."""
    handles = [home.keys() for _ in range(8)]

    def add(number: int) -> Callable[[Keystore], Keystore]:
        return lambda keystore: msgspec.structs.replace(
            keystore, encryption=(*keystore.encryption, msgspec.structs.replace(keystore.encryption[0], suite=number))
        )

    threads = [threading.Thread(target=one.change, args=(add(n),)) for n, one in enumerate(handles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.suite for one in home.keys().keystore.encryption[1:]) == list(range(8))


def test_a_backup_holds_all_keys_but_those_that_vote(home: Home, tmp_path: Path) -> None:
    home.keys().backup(tmp_path / "copy")
    copy = open_keystore(tmp_path / "copy", PASSPHRASE).keystore
    assert copy == msgspec.structs.replace(MADE.keystore, votes=())
    with pytest.raises(KeyfileRefused, match="exists already"):
        home.keys().backup(home.path)


def test_a_changed_passphrase_is_named(home: Home) -> None:
    opened = home.keys()
    home.path.unlink()
    write_keystore(home.path, MADE.keystore, b"another", QUICK)
    with pytest.raises(KeyfileRefused, match="another passphrase"):
        opened.read()
    vote_keys = VoteKeys(home.data, CHAIN, opened, None)
    with pytest.raises(JournalBroken, match="not at hand"):
        vote_keys.take(bytes(32))


def test_epochs_of_records() -> None:
    assert [epoch_of(one) for one in (vote(3, 1), certificate(4))] == [3, 4]


def test_nothing_is_written_that_would_not_open_again(home: Home) -> None:
    """All keys would be lost with it."""
    keys_ = home.keys()
    many = keys_.keystore.encryption * (ENCRYPTION_KEYS + 1)
    with pytest.raises(KeystoreFull):
        keys_.change(lambda keystore: msgspec.structs.replace(keystore, encryption=many))
    assert home.keys().keystore == MADE.keystore
