"""The journal forgets nothing that was synced, and says so when it must have: design, section 5, rule 7."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from node.storage.journal import Journal, Owner, _frame, journal_path, journals
from protocol.errors import JournalBroken

OWNER = Owner(bytes(range(32)), b"k" * 32)
RECORDS = [b"vote one", b"a longer second record" * 3, b"3"]


def fresh(path: Path, mark: bytes | None = None) -> Journal:
    if not path.exists():
        Journal.create(path.parent, OWNER)
    journal, records = Journal.open(path.parent, OWNER, mark)
    assert records == []
    return journal


def reopened(path: Path, mark: bytes | None = None) -> list[bytes]:
    journal, records = Journal.open(path.parent, OWNER, mark)
    journal.close()
    return records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path, OWNER.vote_key)


def written(path: Path, *batches: list[bytes]) -> tuple[list[int], bytes]:
    """Write each batch with its own sync: the file's size after each, and the mark after the last."""
    journal = fresh(path)
    sizes = []
    for batch in batches:
        journal.append(batch)
        journal.sync()
        sizes.append(path.stat().st_size)
    mark = journal.mark()
    journal.close()
    return sizes, mark


async def test_records_come_back_in_order(path: Path) -> None:
    journal = fresh(path)
    journal.append(RECORDS[:2])
    journal.sync()
    await journal.write(RECORDS[2:])
    assert journal.size_bytes == path.stat().st_size
    journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert reopened(path, journal.mark()) == RECORDS


def test_what_was_not_synced_is_not_written(path: Path) -> None:
    journal = fresh(path)
    journal.append(RECORDS)
    journal.close()
    assert reopened(path) == []


def test_a_tail_torn_at_any_byte_costs_only_what_was_not_whole(path: Path) -> None:
    sizes, _ = written(path, *([record] for record in RECORDS))
    whole = path.read_bytes()
    header = sizes[0] - 24 - len(RECORDS[0])
    for length in range(header, len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(size <= length for size in sizes)
        assert reopened(path) == RECORDS[:kept]
        assert path.stat().st_size == ([header, *sizes])[kept]
        journal, _ = Journal.open(path.parent, OWNER, None)
        journal.append([b"goes on"])
        journal.sync()
        journal.close()
        assert reopened(path, journal.mark()) == [*RECORDS[:kept], b"goes on"]


def test_a_tail_of_zeros_or_noise_is_torn_too(path: Path) -> None:
    written(path, RECORDS)
    whole = path.read_bytes()
    for tail in (bytes(5000), os.urandom(5000), whole[40:90]):
        path.write_bytes(whole + tail)
        assert reopened(path) == RECORDS
        assert path.read_bytes() == whole


def test_a_header_cut_short_is_never_taken_for_an_empty_journal(path: Path) -> None:
    written(path, RECORDS)
    whole = path.read_bytes()
    for length in range(52):
        path.write_bytes(whole[:length])
        with pytest.raises(JournalBroken, match="header"):
            Journal.open(path.parent, OWNER, None)


def test_a_hole_in_one_unsynced_batch_is_a_torn_tail(path: Path) -> None:
    """Pages of one write may reach the disk in any order; nothing of it was relied on before the sync."""
    sizes, _ = written(path, [b"before"], [b"x" * 100, b"y" * 100])
    data = bytearray(path.read_bytes())
    data[sizes[0] + 30 : sizes[0] + 60] = bytes(30)
    path.write_bytes(data)
    assert reopened(path) == [b"before"]


def test_what_others_wrote_into_a_torn_record_does_not_pass_for_a_later_frame(path: Path) -> None:
    """Or whoever gets 25 bytes of his own into a transaction could take the vote from each node that is killed."""
    planted = b"".join(_frame(sequence, sequence - 1, b"!") for sequence in range(3, 200))
    sizes, _ = written(path, [b"before"], [planted + b"rest"])
    path.write_bytes(path.read_bytes()[:-1])
    assert reopened(path) == [b"before"]
    assert path.stat().st_size == sizes[0]


def test_damage_in_what_a_later_record_says_was_durable_is_found_at_every_byte(path: Path) -> None:
    sizes, _ = written(path, *([record] for record in RECORDS))
    whole = path.read_bytes()
    for at in range(sizes[1]):
        for bit in (0x01, 0x80):
            data = bytearray(whole)
            data[at] ^= bit
            path.write_bytes(data)
            with pytest.raises(JournalBroken):
                Journal.open(path.parent, OWNER, None)
            assert path.read_bytes() == bytes(data), "evidence is left as it is"


def test_with_the_mark_damage_is_found_to_the_last_byte(path: Path) -> None:
    _, mark = written(path, *([record] for record in RECORDS))
    whole = path.read_bytes()
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(JournalBroken):
            Journal.open(path.parent, OWNER, mark)


def test_an_absent_or_older_journal_must_not_vote(path: Path) -> None:
    written(path, RECORDS[:2])
    old = path.read_bytes()
    journal, _ = Journal.open(path.parent, OWNER, None)
    journal.append(RECORDS[2:])
    assert reopened(path, journal.mark()) == RECORDS[:2], "a mark covers only what is durable"
    journal.sync()
    mark = journal.mark()
    journal.close()
    path.write_bytes(old)
    with pytest.raises(JournalBroken, match="old copy"):
        Journal.open(path.parent, OWNER, mark)
    path.unlink()
    with pytest.raises(JournalBroken, match="missing") as caught:
        Journal.open(path.parent, OWNER, mark)
    assert "rotated" in caught.value.advice
    assert not path.exists()


def test_another_chains_journal_or_mark_is_refused(path: Path) -> None:
    _, mark = written(path, RECORDS)
    another = Owner(bytes(32), OWNER.vote_key)
    for owner, of_mark in ((another, None), (another, mark), (OWNER, bytes(72)), (OWNER, b"short")):
        with pytest.raises(JournalBroken):
            Journal.open(path.parent, owner, of_mark)


def test_a_rewrite_replaces_everything_and_counts_on(path: Path) -> None:
    _, old_mark = written(path, RECORDS)
    journal, _ = Journal.open(path.parent, OWNER, old_mark)
    journal.append([b"pending"])
    before = path.stat().st_size
    journal.rewrite([b"kept"], 0)
    assert journal.size_bytes == path.stat().st_size < before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.append([b"after"])
    journal.sync()
    mark = journal.mark()
    journal.close()
    assert reopened(path, old_mark) == [b"kept", b"after"], "an old mark is met by a compacted journal"
    assert reopened(path, mark) == [b"kept", b"after"]


def test_a_rewrite_to_nothing_still_meets_its_mark(path: Path) -> None:
    _, mark = written(path, RECORDS)
    journal, _ = Journal.open(path.parent, OWNER, mark)
    journal.rewrite([], 0)
    mark = journal.mark()
    journal.close()
    assert reopened(path, mark) == []


def test_a_crash_in_a_rewrite_leaves_the_old_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, mark = written(path, RECORDS)
    journal, _ = Journal.open(path.parent, OWNER, mark)

    def fail(self: Path, target: Path) -> Path:
        raise OSError("power cut")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(JournalBroken):
        journal.rewrite([b"new"], 0)
    with pytest.raises(JournalBroken):
        journal.sync()
    journal.close()
    monkeypatch.undo()
    assert path.with_name(path.name + ".new").exists()
    journal, records = Journal.open(path.parent, OWNER, mark)
    assert records == RECORDS
    journal.rewrite([b"new"], 0)
    journal.close()
    assert not path.with_name(path.name + ".new").exists()


def test_after_a_failed_sync_nothing_more_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed sync left behind cannot be known, and a second one may lie: the node must stop."""
    journal = fresh(path)
    journal.append([b"first"])
    journal.sync()
    mark = journal.mark()

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    journal.append([b"second"])
    with pytest.raises(JournalBroken, match="cannot be written"):
        journal.sync()
    monkeypatch.undo()
    journal.append([b"third"])
    with pytest.raises(JournalBroken):
        journal.sync()
    assert journal.mark() == mark
    journal.close()


def test_every_batch_is_synced_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = fresh(path)
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (synced.append(path.stat().st_size), real(descriptor)))
    journal.append(RECORDS)
    assert synced == []
    journal.sync()
    assert synced == [path.stat().st_size], "written before it was synced, and synced"
    journal.sync()
    assert len(synced) == 1
    journal.close()


@pytest.mark.parametrize("record", [b"", bytes(16 * 1024 * 1024 + 1)])
def test_a_record_out_of_bounds_is_a_bug_of_the_caller(path: Path, record: bytes) -> None:
    journal = fresh(path)
    with pytest.raises(ValueError, match="bytes"):
        journal.append([record])
    journal.close()


def test_the_mark_of_another_vote_key_says_nothing(path: Path) -> None:
    """Votes keys take turns, and the ledger database holds the mark of the one that signed last."""
    _, mark = written(path, RECORDS)
    fresh_key = Owner(OWNER.chain, b"n" * 32)
    Journal.create(path.parent, fresh_key)
    journal, records = Journal.open(path.parent, fresh_key, mark)
    assert records == []
    journal.close()


def test_the_journal_of_another_vote_key_is_refused(path: Path) -> None:
    fresh(path).close()
    other = Owner(OWNER.chain, b"n" * 32)
    path.rename(journal_path(path.parent, other.vote_key))
    with pytest.raises(JournalBroken, match="another vote key"):
        Journal.open(path.parent, other, None)


def test_the_epochs_that_are_over_stay_over(path: Path) -> None:
    journal = fresh(path)
    journal.rewrite([b"of epoch 3"], 3)
    journal.close()
    journal, records = Journal.open(path.parent, OWNER, None)
    assert (journal.epoch, records) == (3, [b"of epoch 3"])
    with pytest.raises(ValueError, match="cannot go back"):
        journal.rewrite([], 2)
    journal.close()
    assert journals(path.parent) == {path: OWNER}
