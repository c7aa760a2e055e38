"""Whether this node's files are what they must be: settings, keys, genesis, ledger, records and blobs.

Runs beside a running node, from a process of its own, and reads only. What it found is left in `doctor.json` in the
data folder, so that `status` goes on saying it until the next examination. Relies on `node.storage.integrity` for what
the ledger must look like.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from node.config import Config
from node.genesis_file import read_genesis
from node.keystore import Keystore, NoPassphrase, find_passphrase, open_keystore, write_private
from node.membership import remembered
from node.own_keys import strangers
from node.records.labelling import labelling
from node.standing import Standing, standing_leaves
from node.storage.blobs import BlobStore
from node.storage.integrity import Problem, check_ledger
from node.storage.ledger_store import LedgerStore
from protocol.codec.canonical import encode
from protocol.errors import ChartledgerError, WrongPassphrase
from protocol.ledger.genesis import genesis_block
from protocol.types.institutions import Genesis, Institution

FILE = "doctor.json"
LISTED = 20
"""How many problems of one kind are named; beyond, they are counted."""

ROTATE_VOTE = "`chartledger keys rotate vote --config FILE`."
"""What cures a vote key or a journal that is lost; a quorum of the other authorities must be up."""

Progress = Callable[[str, int], None]
"""Told what is being examined and how much of it is done."""


class Finding(Struct, frozen=True):
    """What one check found."""

    check: str
    state: Literal["ok", "warning", "wrong", "skipped"]
    sentence: str
    advice: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something must be done."""
        return self.state == "wrong"


class _Members(Struct, frozen=True):
    """Who belongs to the consortium, by number, and who votes; `source` says where that stands. `old`: this node knows
    that it was further once, so that keys may have changed since."""

    source: Literal["genesis", "ledger"]
    institutions: dict[int, Institution]
    authorities: frozenset[int]
    old: bool


class Examination(Struct, frozen=True):
    """All findings of one run; `time_ms` is by this machine's clock."""

    time_ms: int
    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        """What must be mended."""
        return [finding for finding in self.findings if finding.wrong]


def examine(
    config: Config, progress: Progress = lambda _what, _done: None, passphrase: bytes | None = None
) -> list[Finding]:
    """Check everything, remember the findings for `status`, and return them."""
    findings = list(_examine(config, progress, passphrase))
    if config.data.is_dir():
        document = Examination(time.time_ns() // 1_000_000, findings)
        try:
            write_private(config.data / FILE, msgspec.json.format(msgspec.json.encode(document), indent=2))
        except OSError as error:  # a full disk is when it is wanted most
            what = f"what was found could not be kept in {FILE}: {error.strerror}"
            findings.append(Finding("data", "warning", what, "`status` goes on saying what was found before."))
    return findings


def last_examination(data: Path) -> Examination | None:
    """What the last run left in the data folder, or None."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=Examination)
    except (OSError, msgspec.DecodeError):
        return None


def _examine(config: Config, progress: Progress, passphrase: bytes | None) -> Iterator[Finding]:
    yield Finding("settings", "ok", f"institution {config.institution}, listening on {config.listen}")
    yield _labels(config)
    members = genesis = None
    try:
        genesis = read_genesis(config.genesis)
        members = _members(config, genesis)
        yield _own_entry(config, genesis, members)
    except ChartledgerError as error:
        yield Finding("genesis", "wrong", str(error), error.advice)
    yield _keys(config, members, passphrase)
    yield from _folder(config)
    if not (config.data / "ledger.db").exists():
        yield Finding("ledger", "skipped", "there is no ledger yet: the node has never run here")
        return
    yield from _ledger(config, genesis, progress)
    yield from _blobs(config, progress)


def _labels(config: Config) -> Finding:
    """Whether the rules of what is sensitive can be used, and what of the built-in ones does not hold here."""
    try:
        by = labelling(config.sensitivity_table, config.unexamined)
    except ChartledgerError as error:
        return Finding("labels", "wrong", str(error), error.advice)
    own = len(by.table.rules)
    ours = "1 rule of our own" if own == 1 else f"{own} rules of our own"
    has = ours if config.sensitivity_table else "the built-in rules alone"
    doubts = []
    if by.table.taken_away:
        doubts.append(f"{len(by.table.taken_away)} lines take built-in rules away")
    if by.unexamined == "plain":
        doubts.append("what cannot be looked into is taken for not sensitive")
    if doubts:
        advice = "Patients are told what is marked: see that this is decided, and that your privacy officer knows."
        return Finding("labels", "warning", f"{has}; {'; '.join(doubts)}", advice)
    return Finding("labels", "ok", f"{has}; what cannot be looked into is marked")


def _members(config: Config, genesis: Genesis) -> _Members:
    """As this node's copy of the ledger has them at its head; from the genesis while there is no copy to read."""
    old = remembered(config.data, genesis_block(genesis).header) is not None
    beginning = _Members("genesis", dict(enumerate(genesis.institutions)), frozenset(genesis.authorities), old)
    file = config.data / "ledger.db"
    if not file.exists():
        return beginning
    try:
        return asyncio.run(_members_on_disk(config.data)) or beginning
    except (ChartledgerError, msgspec.DecodeError):
        return beginning  # what is wrong with the copy is told by the check of the whole ledger


async def _members_on_disk(data: Path) -> _Members | None:
    store = await LedgerStore.open(data / "ledger.db", read_only=True)
    try:
        head = await store.head()
        if head is None:
            return None
        leaves = await standing_leaves(store)
    finally:
        await store.close()
    standing = Standing(leaves)
    authorities = frozenset(one.institution for one in standing.authorities.members)
    old = remembered(data, head.header) is not None
    return _Members("ledger", dict(standing.institutions), authorities, old)


def _own_entry(config: Config, genesis: Genesis, members: _Members) -> Finding:
    if config.institution not in members.institutions:
        return Finding(
            "genesis",
            "warning",
            f"the {members.source} has no institution {config.institution}",
            "If it was accredited later, start the node: it fetches the chain. If not, correct `institution`.",
        )
    unknown = sorted(set(config.peers) - set(members.institutions))
    if unknown:
        advice = "If it was accredited later, all is well once this node has caught up; else correct [peers]."
        return Finding("genesis", "warning", f"the {members.source} has no institution {unknown[0]}, a peer", advice)
    missing = members.authorities - set(config.peers) - {config.institution}
    if missing:
        names = ", ".join(str(number) for number in sorted(missing))
        return Finding("genesis", "warning", f"peers has no address of authority {names}", "Add it under [peers].")
    return Finding("genesis", "ok", f"network {genesis.name!r}, {len(members.authorities)} authorities")


def _keys(config: Config, members: _Members | None, passphrase: bytes | None) -> Finding:
    """The keystore opens, and holds the keys that the ledger has of this institution."""
    try:
        keystore = open_keystore(config.keystore, passphrase or find_passphrase(config))
    except NoPassphrase:
        return Finding("keystore", "skipped", "not opened: there is no passphrase at hand", NoPassphrase.advice)
    except ChartledgerError as error:
        # A passphrase that was given for this run may be a slip, and must not stand in `status` as damage.
        slip = isinstance(error, WrongPassphrase) and passphrase is not None
        return Finding("keystore", "warning" if slip else "wrong", str(error), error.advice)
    return _own_keys(config, members, keystore.keystore)


def _own_keys(config: Config, members: _Members | None, keystore: Keystore) -> Finding:
    mine = None if members is None else members.institutions.get(config.institution)
    if members is None or mine is None:
        return Finding("keystore", "ok", "it opens")
    if members.old:
        return Finding("keystore", "ok", "it opens; its keys can be compared once this node has caught up again")
    strange = strangers(keystore, mine, votes=config.institution in members.authorities)
    if strange:
        sentence = (
            f"the {', '.join(strange)} key is not the one that the {members.source} has of institution "
            f"{config.institution}"
        )
        advice = "Restore the keystore of this institution from its backup."
        if strange == ["vote"]:
            advice += f" If the vote key is lost, make another: {ROTATE_VOTE}"
        return Finding("keystore", "wrong", sentence, advice)
    return Finding("keystore", "ok", "it opens, and its keys are those on the ledger")


def _folder(config: Config) -> Iterator[Finding]:
    if not config.data.is_dir():
        yield Finding("data", "skipped", f"{config.data} is not there yet: the node has never run")
        return
    loose = [path for path in (config.data, *sorted(config.data.rglob("*"))) if _is_open(path)]
    if loose:
        yield Finding(
            "data",
            "wrong",
            f"{len(loose)} files or folders are open to other users, the first {loose[0]}",
            f"Run `chmod -R go= {config.data}`.",
        )
    free = shutil.disk_usage(config.data).free
    if free < config.disk_warning_bytes:
        yield Finding(
            "disk", "warning", f"{free // 2**20} MiB are free under {config.data}", "Make room, or move `data`."
        )
    elif not loose:
        yield Finding("data", "ok", f"closed to others; {free // 2**20} MiB are free")
    if config.data.stat().st_uid != os.geteuid():
        yield Finding("data", "warning", f"{config.data} belongs to another user than the one who runs this")


def _is_open(path: Path) -> bool:
    """Whether others have rights on it; what a running node removed meanwhile has none."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(mode) and bool(stat.S_IMODE(mode) & 0o077)


async def _genesis_on_disk(file: Path) -> bytes | None:
    store = await LedgerStore.open(file, read_only=True)
    try:
        return await store.genesis()
    finally:
        await store.close()


def _ledger(config: Config, genesis: Genesis | None, progress: Progress) -> Iterator[Finding]:
    try:
        begun = asyncio.run(_genesis_on_disk(config.data / "ledger.db"))
        if genesis is not None and begun is not None and begun != encode(genesis):
            # All below hangs on the genesis, and of another one's chain nothing became final here.
            advice = "Name the right genesis file, or another data folder."
            yield Finding("ledger", "wrong", f"it began from another genesis than {config.genesis}", advice)
            return
        problems = asyncio.run(check_ledger(config.data / "ledger.db", progress=progress))
    except ChartledgerError as error:
        yield Finding("ledger", "wrong", str(error), error.advice)
        return
    yield from _problems(
        "ledger",
        problems,
        "Stop the node, run `chartledger node rebuild`, and start it: it fetches the chain again from its peers. Keep "
        "the file: it also holds the keys of this institution's records, which come from nowhere but a backup.",
    )
    if not problems:
        yield Finding("ledger", "ok", "every block, state leaf, event and record row is what became final")


def _problems(check: str, problems: list[Problem], advice: str) -> Iterator[Finding]:
    for problem in problems[:LISTED]:
        yield Finding(check, "wrong", f"{problem.place}: {problem.sentence}", advice)
    if len(problems) > LISTED:
        yield Finding(check, "wrong", f"and {len(problems) - LISTED} more problems", advice)


def _blobs(config: Config, progress: Progress) -> Iterator[Finding]:
    if not (config.data / "blobs.db").exists():
        yield Finding("blobs", "skipped", "there are no blobs yet")
        return
    try:
        count, problems = asyncio.run(_scan(config, progress))
    except ChartledgerError as error:
        yield Finding("blobs", "wrong", str(error), error.advice)
        return
    advice = "The running node fetches it from another copy if one is in reach; else restore it from the last backup."
    yield from _problems("blobs", problems, advice)
    if not problems:
        yield Finding("blobs", "ok", f"all {count} sealed records are whole")


async def _scan(config: Config, progress: Progress) -> tuple[int, list[Problem]]:
    store = await BlobStore.open(config.data, config.blobs, read_only=True)
    try:
        found = [
            Problem(f"blob {one.id.hex()[:16]}", f"it is {one.state}, at {one.place}")
            async for one in store.scan(lambda done: progress("blobs", done))
        ]
        return (await store.totals()).count, found
    finally:
        await store.close()
