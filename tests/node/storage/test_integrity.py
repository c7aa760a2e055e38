"""One changed byte anywhere in what matters is found, and its place is named."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.storage.errors import DatabaseTooNew, StorageFailed
from node.storage.integrity import Problem, check_ledger, describe
from node.storage.ledger_store import LedgerStore
from node.storage.records_store import StagedRecord, StagedSecret
from node.storage.types import CommittedBlock, Place
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest, transaction_id
from protocol.crypto.signing import SigningKey, apply_as, prove_possession, sign_vote
from protocol.errors import ChartledgerError
from protocol.ledger import keys, tree
from protocol.ledger.blocks import build_block
from protocol.types.governance import (
    USE_OPERATIONS,
    Parameter,
    ReplaceKeys,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetOperationsKey,
    SetParameters,
    TakeAuthority,
)
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.operations import SignedOperation
from protocol.types.votes import FINALIZE, Certificate, VoteSubject

COVERED = ("meta", "block", "epoch", "event", "leaf", "node", "custody", "record", "chart_secret", "tally", "outbox")


@pytest.fixture
async def path(tmp_path: Path, store: LedgerStore, chain: Any) -> Path:
    """A closed database with some of everything: three charts, records of one's own, a transaction that waits."""
    opening = chain.open_charts(0, 0, 1)
    secrets = [StagedSecret(n, b"sealed secret %d" % n) for n in range(2)]
    await store.records.stage({transaction_id(opening.body): secrets})
    settled = chain.settled(opening, Place(0, 0, 0), Place(1, 1, 0))
    await store.outbox.add([chain.outgoing(opening)])
    await store.commit([chain.block(opening, chain.open_charts(1, 2), settled=[settled])])
    for round_ in range(4):
        append = chain.append(0, round_ % 2, 3)
        records = [StagedRecord(0, n, bytes([n]) * 32, 900, b"sealed %d" % n, b"e" * 1200) for n in range(3)]
        await store.records.stage({transaction_id(append.body): records})
        place = Place(0, round_ % 2, 1 + 3 * (round_ // 2))
        ancestor = chain.block(append, settled=[chain.settled(append, place)], certified=False)
        await store.commit([ancestor, chain.block(chain.append(1, 2, 2))], b"")
    await store.commit([chain.block(chain.grant(0, 0, 1))])
    await store.outbox.add([chain.outgoing(chain.append(0, 0))])
    await store.set_journal_mark(chain.id + bytes(40))
    await store.close()
    return tmp_path / "ledger.db"


def change(path: Path, statement: str, *arguments: object) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute(statement, arguments).rowcount == 1
    connection.commit()
    connection.close()


def flipped(value: bytes, at: int) -> bytes:
    data = bytearray(value)
    data[at] ^= 0x04
    return bytes(data)


def contents(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in COVERED]
    finally:
        connection.close()


async def test_a_sound_database_has_no_problem(path: Path) -> None:
    seen: dict[str, int] = {}
    assert await check_ledger(path, progress=lambda what, done: seen.update({what: done})) == []
    assert seen["blocks"] == 11
    assert seen["charts"] == 3
    assert seen["records"] == 12


async def test_it_may_run_beside_the_node(path: Path) -> None:
    store = await LedgerStore.open(path)
    assert await check_ledger(path) == []
    await store.close()


@pytest.mark.parametrize("seed", range(8))
async def test_one_byte_anywhere_in_the_file_is_noticed(path: Path, seed: int) -> None:
    """Either nothing of what matters is different (free space, an unused page), or the check says so."""
    whole = path.read_bytes()
    before = contents(path)
    rng = random.Random(seed)
    noticed = 0
    written = [at for at, byte in enumerate(whole) if byte]
    for at in rng.sample(written, 32) + rng.sample(range(len(whole)), 8):
        path.write_bytes(flipped(whole, at))
        try:
            same = contents(path) == before
        except sqlite3.Error:
            same = False
        try:
            problems = await check_ledger(path)
        except ChartledgerError as error:
            problems = [Problem("file", str(error))]
        assert problems or same, f"byte {at} changed and nothing was said"
        assert all(problem.place and problem.sentence for problem in problems)
        noticed += bool(problems)
    assert noticed > 10


CELLS = [
    ("SELECT height, {} FROM block", "UPDATE block SET {} = ? WHERE height = ?", column, "ledger.db, block {}")
    for column in ("header", "certificate", "nullifications", "transactions")
]
CELLS += [
    ("SELECT place, raw FROM event", "UPDATE event SET raw = ? WHERE place = ?", "raw", "event"),
    ("SELECT key, value FROM leaf", "UPDATE leaf SET value = ? WHERE key = ?", "value", "state leaf"),
    ("SELECT path, value FROM node", "UPDATE node SET value = ? WHERE path = ?", "value", "state tree node"),
    ("SELECT place, sealed FROM record", "UPDATE record SET sealed = ? WHERE place = ?", "sealed", "record"),
    ("SELECT place, blob_id FROM record", "UPDATE record SET blob_id = ? WHERE place = ?", "blob_id", "record"),
    ("SELECT place, mark FROM record", "UPDATE record SET mark = ? WHERE place = ?", "mark", "record"),
    ("SELECT chart, sealed FROM chart_secret", "UPDATE chart_secret SET sealed = ? WHERE chart = ?", "", "secret"),
    ("SELECT position, raw FROM outbox", "UPDATE outbox SET raw = ? WHERE position = ?", "raw", "outbox"),
    (
        "SELECT name, value FROM meta WHERE typeof(value) = 'blob'",
        "UPDATE meta SET value = ? WHERE name = ?",
        "",
        "meta",
    ),
]


@pytest.mark.parametrize(("select", "update", "column", "named"), CELLS)
async def test_every_value_is_covered_and_its_place_named(
    path: Path, select: str, update: str, column: str, named: str
) -> None:
    whole = path.read_bytes()
    connection = sqlite3.connect(path)
    rows = connection.execute(select.format(column)).fetchall()
    connection.close()
    rng = random.Random(column + named)
    for key, value in rng.sample(rows, min(len(rows), 6)):
        if value is None:
            continue
        journal_mark = key == "journal mark"  # how far it reaches is the journal's to compare
        for at in {0, rng.randrange(len(value)), len(value) - 1} - ({len(value) - 1} if journal_mark else set()):
            if journal_mark and at >= 32:
                continue
            path.write_bytes(whole)
            change(path, update.format(column), flipped(value, at), key)
            problems = await check_ledger(path)
            places = [problem.place for problem in problems]
            assert any(named.format(key) in one for one in places), (key, at, problems)


async def test_a_changed_event_is_named_by_chart_and_number(path: Path, chain: Any) -> None:
    """The commitment in event 2 of chart 1, which its block still knows as it was."""
    raw = chain.events[(1, 2)]
    change(path, "UPDATE event SET raw = ? WHERE raw = ?", flipped(raw, raw.index(bytes([0, 1, 1])) + 10), raw)
    assert await check_ledger(path) == [
        Problem("ledger.db, event 2 of chart 1", "block 4 has no such entry"),
    ]


async def test_a_changed_chart_is_named(path: Path, chain: Any) -> None:
    key = keys.chart(2)
    change(path, "UPDATE leaf SET value = ? WHERE key = ?", flipped(chain.leaves[key], 10), key)
    problems = await check_ledger(path)
    assert problems[0] == Problem("ledger.db, state leaf chart 2", "its value is not the one under the state root")


GONE = [
    ("DELETE FROM block WHERE height = 4", "block 5", "blocks 4 to 4 are missing"),
    ("DELETE FROM block WHERE height = 10", "state tree", "bytes are not those"),
    ("DELETE FROM event WHERE place = (1 << 24) + 2", "events of chart 1", "missing or too many: 2"),
    ("INSERT INTO event VALUES ((1 << 24) + 99, x'00')", "events of chart 1", "too many: 99"),
    ("INSERT INTO event VALUES (9 << 24, x'00')", "events of chart 9", "no such chart"),
    ("DELETE FROM leaf WHERE key = x'060000000001'", "state leaf chart 1", "missing"),
    ("INSERT INTO leaf VALUES (x'0600000000ff', x'00')", "state leaves", "stand under the state root"),
    ("DELETE FROM node WHERE path = x''", "state tree node ''", "missing"),
    ("INSERT INTO node VALUES (x'3066', x'00')", "state tree node '0f'", "no node above leads to it"),
    ("DELETE FROM custody WHERE chart = 1", "custody of chart 1", "institution 0 is not listed"),
    ("INSERT INTO custody VALUES (3, 1)", "custody", "4 charts are listed"),
    ("DELETE FROM record WHERE place = 1", "records", "11 are stored, and 12 should be"),
    ("UPDATE record SET place = 500 << 24 WHERE place = 1", "record 0 of chart 500", "no such event"),
    ("DELETE FROM meta WHERE name = 'genesis'", "meta", "no genesis"),
    ("UPDATE block SET certificate = NULL WHERE height = 10", "block 10", "the last block has no certificate"),
    ("UPDATE block SET height = 77 WHERE height = 10", "block 77", "missing"),
    ("UPDATE outbox SET number = 99", "outbox row 1", "columns are not those of its transaction"),
]


@pytest.mark.parametrize(("statement", "named", "sentence"), GONE)
async def test_what_is_missing_or_too_much_is_named(path: Path, statement: str, named: str, sentence: str) -> None:
    change(path, statement)
    problems = await check_ledger(path)
    assert any(named in problem.place and sentence in problem.sentence for problem in problems), problems


async def test_a_lookup_that_would_miss_its_row_is_named(path: Path) -> None:
    """The receipt of a final transaction is found by the first bytes of its id, in row and index alike."""
    whole = path.read_bytes()
    connection = sqlite3.connect(path)
    ((identity,),) = connection.execute("SELECT id FROM receipt").fetchall()
    connection.close()
    starts = [at for at in range(len(whole)) if whole.startswith(identity[:8], at)]
    found = 0
    for at in starts:
        path.write_bytes(flipped(whole, at + 3))
        problems = await check_ledger(path)
        found += any("receipt" in problem.sentence for problem in problems)
    assert found >= 2, "the index, and the column that it is made of"


async def test_a_certificate_by_too_few_is_no_certificate(path: Path, chain: Any) -> None:
    """Signed well, by two of four, where three are a quorum."""
    full = decode(Certificate, certificate_at(path, 10))
    change(
        path,
        "UPDATE block SET certificate = ? WHERE height = 10",
        encode(replace(full, signatures=full.signatures[:2])),
    )
    assert await check_ledger(path) == [Problem("ledger.db, block 10", "2 signatures are no quorum of 4: 3 are needed")]


# --- the outbox -----------------------------------------------------------------------------------------------


async def outbox_problems(folder: Path, store: LedgerStore) -> list[Problem]:
    await store.close()
    return await check_ledger(folder / "ledger.db")


@pytest.mark.parametrize("by", ["replacing", "retiring", "motion"])
async def test_what_waits_may_be_signed_with_a_key_that_has_left_the_ledger(
    tmp_path: Path, store: LedgerStore, chain: Any, by: str
) -> None:
    """The node was stopped between the block that took the key and letting go of what it had signed."""
    waiting = chain.append(0, 0)
    new = SigningKey(bytes([9]) * 32)
    if by == "motion":
        applied = replace(chain.genesis.institutions[0], operation_keys=(new.public,))
        taking = chain.pass_change(ReplaceKeys(0, apply_as(chain.id, applied, [new], chain.vote_keys[0])))
    else:
        possession = prove_possession(new, chain.id, "Hospital 0", USE_OPERATIONS)
        changes: list[Any] = [SetOperationsKey(0, new.public, possession)]
        if by == "retiring":
            changes = [SetOperationsKey(1, new.public, possession), RetireOperationsKey(0)]
        taking = [chain.transaction(0, *(SignedOperation(RotateInstitutionKey(one)) for one in changes))]
    await store.commit([chain.block(chain.open_charts(0, 0)), chain.block(*taking)])
    await store.outbox.add([chain.outgoing(waiting)])
    assert await outbox_problems(tmp_path, store) == []


async def test_what_waits_may_be_signed_with_a_key_that_a_ledger_fetched_anew_has_yet_to_come_to(
    tmp_path: Path, store: LedgerStore, chain: Any
) -> None:
    chain.operation_keys[0] = SigningKey(bytes([9]) * 32)
    chain.head = replace(chain.head, timestamp=chain.head.timestamp + 24 * 3_600_000)
    await store.outbox.add([chain.outgoing(chain.append(0, 0))])
    assert await outbox_problems(tmp_path, store) == []


# --- epochs ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def epochs(tmp_path: Path, store: LedgerStore, chain: Any) -> Path:
    """A closed database whose chain is in its third epoch: institution 3 lost authority, then parameters changed."""
    made = [chain.block(chain.open_charts(0, 0)), chain.block(*chain.pass_change(TakeAuthority(3)))]
    made += [chain.block(chain.append(0, 0), certified=False), chain.block(chain.append(0, 0))]
    made.append(chain.block(*chain.pass_change(SetParameters((Parameter("heartbeat_ms", 60_000),)))))
    made.append(chain.block(chain.append(0, 0)))
    await store.commit(made)
    await store.close()
    return tmp_path / "ledger.db"


async def test_a_sound_chain_of_several_epochs_has_no_problem(epochs: Path) -> None:
    assert await check_ledger(epochs) == []


EPOCHS = [
    ("DELETE FROM epoch WHERE epoch = 0", "block 2", "not listed as the end of epoch 0"),
    ("UPDATE epoch SET height = 3 WHERE epoch = 0", "block 2", "not listed as the end of epoch 0"),
    ("INSERT INTO epoch VALUES (2, 6)", "end of epoch 2", "it is not block 6"),
    ("UPDATE block SET certificate = NULL WHERE height = 2", "block 2", "it ends epoch 0 and has no certificate"),
    ("DELETE FROM leaf WHERE key = x'030000000000000001'", "block 4", "the state has no authorities of epoch 1"),
]


@pytest.mark.parametrize(("statement", "named", "sentence"), EPOCHS)
async def test_what_does_not_lead_from_epoch_to_epoch_is_named(
    epochs: Path, statement: str, named: str, sentence: str
) -> None:
    change(epochs, statement)
    problems = await check_ledger(epochs)
    assert any(named in problem.place and sentence in problem.sentence for problem in problems), problems


async def test_authorities_are_those_that_the_epoch_before_committed_to(epochs: Path, chain: Any) -> None:
    """Whoever can write the file puts own keys into the set, and signs with them."""
    own = [SigningKey(bytes([9, n]) * 16) for n in range(3)]
    fake = AuthoritySet(2, tuple(Authority(n, key.public, 0) for n, key in enumerate(own)))
    subject = decode(Certificate, certificate_at(epochs, 6)).subject
    votes = tuple((n, sign_vote(key, subject, n).signature) for n, key in enumerate(own))
    change(epochs, "UPDATE block SET certificate = ? WHERE height = 6", encode(Certificate(subject, votes)))
    change(epochs, "UPDATE block SET nullifications = NULL WHERE height = 6")
    change(epochs, "UPDATE leaf SET value = ? WHERE key = ?", encode(fake), keys.authorities(2))
    problems = await check_ledger(epochs)
    assert (
        Problem("ledger.db, block 5", "the authorities of epoch 2 in the state are not those that it commits to")
        in problems
    )
    assert any(one.place == "ledger.db, state leaf authorities of epoch 2" for one in problems)


async def test_no_epoch_begins_without_the_end_of_the_one_before(
    tmp_path: Path, store: LedgerStore, chain: Any
) -> None:
    """Whoever can write the file leaves the end of epoch 0 out: a block on the genesis is of an epoch with own keys."""
    own = [SigningKey(bytes([9, n]) * 16) for n in range(4)]
    fake = AuthoritySet(1, tuple(Authority(n, key.public, 1) for n, key in enumerate(own)))
    leaves = {keys.authorities(1): encode(fake)}
    grown = tree.update(chain.nodes, leaves)
    built = build_block(chain.head, 0, chain.head.timestamp + 1, (), grown.root).header
    header = replace(built, epoch=1)
    subject = VoteSubject(FINALIZE, chain.id, 1, 1, 0, block_digest(header))
    votes = tuple((n, sign_vote(key, subject, n).signature) for n, key in enumerate(own))
    await store.commit([CommittedBlock(header, (), Certificate(subject, votes), (), leaves, grown.nodes, ())])
    await store.close()
    sentence = "block 1, which builds on it, is of epoch 1, not 0"
    assert await check_ledger(tmp_path / "ledger.db") == [Problem("ledger.db, block 0", sentence)]


async def test_whoever_lost_authority_makes_no_certificate(epochs: Path, chain: Any) -> None:
    """By three of the four of epoch 0, where the three that are left must all sign."""
    subject = decode(Certificate, certificate_at(epochs, 4)).subject
    votes = tuple((n, sign_vote(chain.vote_keys[n], subject, n).signature) for n in (0, 1, 3))
    change(epochs, "UPDATE block SET certificate = ? WHERE height = 4", encode(Certificate(subject, votes)))
    assert await check_ledger(epochs) == [Problem("ledger.db, block 4", "there is no authority 3 among 3")]


def certificate_at(path: Path, height: int) -> bytes:
    connection = sqlite3.connect(path)
    (raw,) = connection.execute("SELECT certificate FROM block WHERE height = ?", (height,)).fetchone()
    connection.close()
    assert isinstance(raw, bytes)
    return raw


async def test_a_newer_or_absent_database_is_refused(path: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(DatabaseTooNew):
        await check_ledger(path)
    with pytest.raises(StorageFailed):
        await check_ledger(tmp_path / "absent.db")


def test_state_keys_are_described_in_words() -> None:
    assert describe(keys.chart(7)) == "chart 7"
    assert describe(keys.grant(7, 2)) == "grant 7/2"
    assert describe(keys.denials(7, 3)) == "denials 7/3"
    assert describe(keys.institution(3)) == "institution 3"
    assert describe(keys.motion(4)) == "motion 4"
    assert describe(keys.evidence(7, 3)) == "evidence of epoch and seat 7/3"
    assert describe(keys.PARAMS) == "parameters"
    assert describe(b"\x55\x01") == "of unknown kind 01"
