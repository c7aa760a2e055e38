"""Whether what is on disk is what became final: for `doctor`. Names the place of whatever is not.

Everything hangs on signatures: the last block's certificate vouches for its header, headers chain to genesis and vouch
for transactions and state root, the root for every tree node and leaf, a chart's leaf for every event. Who signs in an
epoch is what the end of the one before committed to, and the genesis says it of the first. What the ledger
does not cover (own records) has checksums. Reads one SQLite snapshot from beginning to end in bounded memory, so it may
run beside a running node, from a process of its own. Relies on protocol for every rule.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from node.storage.database import Database
from node.storage.integrity_charts import (
    Fault,
    Problem,
    Progress,
    check_charts,
    check_held,
    check_outbox,
    check_records,
)
from node.storage.journal import MARK_BYTES
from node.storage.lookup import rows_in
from node.storage.schema import LEDGER
from node.storage.types import StoredBlock
from protocol.codec.canonical import decode
from protocol.consensus.quorum import check_certificate
from protocol.crypto.hashing import DIGEST_BYTES, Domain, authorities_digest, block_digest, chain_id, digest
from protocol.crypto.signing import Verifier, verify
from protocol.errors import ChartledgerError
from protocol.ledger import keys, tree
from protocol.ledger.blocks import transactions_root
from protocol.ledger.genesis import EPOCH, authority_set, genesis_header
from protocol.types.base import ZERO_DIGEST
from protocol.types.block import Header
from protocol.types.institutions import AuthoritySet, Genesis
from protocol.types.votes import FINALIZE, NULLIFY, Certificate

__all__ = ["Problem", "Progress", "check_ledger", "describe"]

_BATCH: Final = 256
_LEAF_KIND: Final = 1  # a child's kind byte in protocol/ledger/tree.py
_FILE_FAULTS: Final = 20


def _quiet(_what: str, _done: int) -> None:
    pass


async def check_ledger(path: Path, *, progress: Progress = _quiet, verifier: Verifier = verify) -> list[Problem]:
    """All problems of the ledger database at `path`. Raises `DatabaseTooNew`, `WrongDatabase`, `StorageFailed` if it
    cannot even be opened."""
    database = await Database.open(path, LEDGER, readers=1, read_only=True)
    try:
        return await database.read(partial(_all, progress=progress, verifier=verifier))
    finally:
        await database.close()


def _all(connection: sqlite3.Connection, progress: Progress, verifier: Verifier) -> list[Problem]:
    problems = list(_guarded("file", _file(connection)))
    problems += _guarded("blocks", _blocks(connection, progress, verifier))
    problems += _guarded("state", _state(connection, progress))
    problems += _guarded("events", check_charts(connection, progress))
    problems += _guarded("records", check_records(connection, progress))
    problems += _guarded("held", check_held(connection, progress))
    problems += _guarded("outbox", check_outbox(connection, verifier))
    return problems


def _guarded(what: str, problems: Iterator[Problem]) -> Iterator[Problem]:
    """A check that cannot be carried through has found a problem; the other checks go on.

    A changed byte may change a value's type, which SQLite's own check names (tables are STRICT) and ours trip over.
    """
    try:
        yield from problems
    except sqlite3.Error as error:
        yield Problem(f"ledger.db, {what}", f"SQLite cannot read on: {error}")
    except (TypeError, ValueError, AttributeError):
        yield Problem(f"ledger.db, {what}", "a value is not of its column's type")


def _file(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (text,) in connection.execute(f"PRAGMA integrity_check({_FILE_FAULTS})"):
        if text != "ok":
            yield Problem("ledger.db, file", text)


# --- blocks -------------------------------------------------------------------------------------------------


def _blocks(connection: sqlite3.Connection, progress: Progress, verifier: Verifier) -> Iterator[Problem]:
    rows = connection.execute("SELECT value FROM meta WHERE name = 'genesis'").fetchall()
    if not rows:
        yield Problem("ledger.db, meta", "there is no genesis")
        return
    try:
        check = _BlockCheck(connection, decode(Genesis, rows[0][0]), verifier)
    except ChartledgerError as error:
        yield Problem("ledger.db, meta genesis", str(error))
        return
    above, count = None, 0
    for row in connection.execute(
        "SELECT height, header, transactions, certificate, nullifications FROM block ORDER BY height DESC"
    ):
        stored = StoredBlock(*row)
        if above is None and stored.certificate_raw is None and stored.height > 0:
            yield Problem(f"ledger.db, block {stored.height}", "the last block has no certificate")
        if above is not None and stored.height != above - 1:
            yield Problem(f"ledger.db, block {above}", f"blocks {stored.height + 1} to {above - 1} are missing")
            check.child = None
        try:
            check.block(stored)
        except ChartledgerError as error:
            yield Problem(f"ledger.db, block {stored.height}", str(error))
        above, count = stored.height, count + 1
        progress("blocks", count)
    if above != 0:
        yield Problem("ledger.db, block 0", "it is missing")
    for epoch, height in check.ends.items():
        yield Problem(f"ledger.db, end of epoch {epoch}", f"it is not block {height}, which is listed for it")
    for (mark,) in connection.execute("SELECT value FROM meta WHERE name = 'journal mark'"):
        if len(mark) != MARK_BYTES or not mark.startswith(check.chain):
            yield Problem("ledger.db, meta journal mark", "it is not one of this chain")


class _BlockCheck:
    """Whether stored blocks are what became final, from the last one down: what stands above vouches for each."""

    def __init__(self, connection: sqlite3.Connection, genesis: Genesis, verifier: Verifier) -> None:
        self.chain = chain_id(genesis)
        self.child: Header | None = None  # the header above, if it is sound
        self.ends = dict(connection.execute("SELECT epoch, height FROM epoch"))  # those that no block showed so far
        self._connection = connection
        self._first = genesis_header(genesis)
        self._set = authority_set(genesis)
        self._first_set = self._set
        self._verifier = verifier

    def block(self, stored: StoredBlock) -> None:
        """Raise a `ChartledgerError` that says what is wrong with this block."""
        child, self.child = self.child, None
        header, block = stored.header, stored.block
        if child is not None and child.parent != block_digest(header):
            raise Fault(f"its header is not the one that block {child.height} builds on")
        if child is not None and child.epoch != header.child_epoch:
            # Or whoever writes the file skips the end of an epoch, and with it who vouches for the next one's set.
            raise Fault(
                f"block {child.height}, which builds on it, is of epoch {child.epoch}, not {header.child_epoch}"
            )
        if header.height != stored.height or header.chain != self.chain:
            raise Fault("its header is of another height or chain")
        certificate = stored.certificate
        if stored.height == 0:
            if header != self._first or block.transactions or certificate is not None or stored.nullifications:
                raise Fault("it is not the block that the genesis makes")
        elif certificate is not None:
            self._certificate(certificate, FINALIZE, block_digest(header), header.epoch)
        self.child = header
        if header.ends_epoch:
            self._end(header, certificate)
        if transactions_root(block.transactions) != header.transactions_root:
            raise Fault("its transactions are not those that its header commits to")
        for one in stored.nullifications:
            self._certificate(one, NULLIFY, ZERO_DIGEST, header.epoch)

    def _certificate(self, certificate: Certificate, kind: int, block: bytes, epoch: int) -> None:
        if certificate.subject.kind != kind or certificate.subject.block != block:
            raise Fault("a certificate stored with it is for something else")
        vote_keys = [member.vote_key for member in self._authorities(epoch).members]
        check_certificate(certificate, self.chain, epoch, vote_keys, self._verifier)

    def _end(self, header: Header, certificate: Certificate | None) -> None:
        if certificate is None:
            raise Fault(f"it ends epoch {header.epoch} and has no certificate of its own")
        if self.ends.pop(header.epoch, None) != header.height:
            raise Fault(f"it is not listed as the end of epoch {header.epoch}")
        if authorities_digest(self._authorities(header.epoch + 1)) != header.next_authorities:
            raise Fault(f"the authorities of epoch {header.epoch + 1} in the state are not those that it commits to")

    def _authorities(self, epoch: int) -> AuthoritySet:
        """The set of an epoch: the genesis says the first, the state the others. One is remembered: epochs descend."""
        if epoch == EPOCH:
            return self._first_set
        if self._set.epoch != epoch:
            query = "SELECT value FROM leaf WHERE key = ?"
            rows = self._connection.execute(query, (keys.authorities(epoch),)).fetchall()
            if not rows:
                raise Fault(f"the state has no authorities of epoch {epoch}")
            self._set = decode(AuthoritySet, rows[0][0])
        return self._set


# --- the state: root, tree, leaves ----------------------------------------------------------------------------


def _state(connection: sqlite3.Connection, progress: Progress) -> Iterator[Problem]:
    rows = connection.execute("SELECT header FROM block ORDER BY height DESC LIMIT 1").fetchall()
    if not rows:
        return
    try:
        expected = {tree.ROOT_PATH: decode(Header, rows[0][0]).state_root}
    except ChartledgerError:
        return  # told with the blocks
    nodes, leaves = 0, 0
    for batch in _batches(connection, "SELECT path, value FROM node ORDER BY path"):
        wanted: dict[bytes, bytes] = {}
        for path, raw in batch:
            try:
                _open_node(path, raw, expected, wanted)
            except ChartledgerError as error:
                yield Problem(f"ledger.db, state tree node '{path.decode(errors='replace')}'", str(error))
        found = dict(rows_in(connection, "SELECT key, value FROM leaf WHERE key IN", wanted))
        for key, leaf in wanted.items():
            if key not in found:
                yield Problem(f"ledger.db, state leaf {describe(key)}", "it is missing")
            elif tree.leaf_digest(key, found[key]) != leaf:
                yield Problem(f"ledger.db, state leaf {describe(key)}", "its value is not the one under the state root")
        nodes += len(batch)
        leaves += len(found)
        progress("state", nodes)
    for path in expected:
        yield Problem(f"ledger.db, state tree node '{path.decode(errors='replace')}'", "it is missing")
    stored: int = connection.execute("SELECT count(*) FROM leaf").fetchall()[0][0]
    if stored != leaves:
        yield Problem("ledger.db, state leaves", f"{stored} are stored, and {leaves} stand under the state root")


def _open_node(path: bytes, raw: bytes, expected: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> None:
    """Check a node and note what it expects below: nodes by path, leaves by key. Parents come before children."""
    want = expected.pop(path, None)
    if want is None:
        raise Fault("no node above leads to it")
    if digest(Domain.STATE_NODE, raw) != want:
        raise Fault("its bytes are not those under the state root")
    for slot, child in enumerate(decode(list[bytes | None], raw)):
        if child is None:
            continue
        stands = path + b"%x" % slot + child[DIGEST_BYTES + 1 :]
        if child[DIGEST_BYTES] == _LEAF_KIND:
            wanted[bytes.fromhex(stands.decode())] = child[:DIGEST_BYTES]
        else:
            expected[stands] = child[:DIGEST_BYTES]


_LEAF_NAMES: Final = {
    keys.KIND_PARAMS: "parameters",
    keys.KIND_COUNTERS: "counters",
    keys.KIND_AUTHORITIES: "authorities of epoch",
    keys.KIND_INSTITUTION: "institution",
    keys.KIND_WINDOW: "replay window",
    keys.KIND_CHART: "chart",
    keys.KIND_GRANT: "grant",
    keys.KIND_OWNER: "owner index",
    keys.KIND_DENIALS: "denials",
    keys.KIND_MOTION: "motion",
    keys.KIND_OPEN_MOTIONS: "open motions",
    keys.KIND_EVIDENCE: "evidence of epoch and seat",
    keys.KIND_CLAIM: "claim",
}


def describe(key: bytes) -> str:
    """A state key in words, as far as it has any."""
    name = _LEAF_NAMES.get(key[0], "of unknown kind") if key else "without key"
    rest = key[1:]
    if key and key[0] in (keys.KIND_AUTHORITIES, keys.KIND_INSTITUTION, keys.KIND_CHART, keys.KIND_MOTION):
        return f"{name} {int.from_bytes(rest, 'big')}"
    if key and key[0] in (keys.KIND_GRANT, keys.KIND_DENIALS):
        return f"{name} {int.from_bytes(rest[:5], 'big')}/{int.from_bytes(rest[5:], 'big')}"
    if key and key[0] == keys.KIND_EVIDENCE:
        return f"{name} {int.from_bytes(rest[:8], 'big')}/{int.from_bytes(rest[8:], 'big')}"
    return f"{name} {rest.hex()}".strip()


def _batches(connection: sqlite3.Connection, query: str) -> Iterator[list[tuple[bytes, bytes]]]:
    cursor = connection.execute(query)
    while rows := cursor.fetchmany(_BATCH):
        yield rows
