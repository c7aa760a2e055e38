"""A whole node: opens what is on disk, checks that it all belongs together, and runs core, records and socket on it.

The composition root: every part gets what it needs here and finds nothing by itself. What is wrong at a start is
refused in one sentence before anything listens. Order of a stop: the socket answers what it has begun, then the
network and consensus end, then the files close.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

from node.api.app import make_api
from node.api.peercred import role_map
from node.api.server import ApiServer, ApiSettings
from node.clock import Clock, SystemClock
from node.config import Config
from node.core import Core, Ground, standing_leaves
from node.driver import JournalFile
from node.genesis_file import read_genesis
from node.housekeeping import Housekeeping
from node.keystore import Keystore
from node.logs import get_logger
from node.metrics import metrics_text
from node.network.asyncio_network import AsyncioNetwork, NetworkConfig
from node.network.interface import Member
from node.network.tls import Identity
from node.records.seal import RecordKeys
from node.records.service import Records
from node.scrub import Scrub
from node.status import StatusReporter
from node.storage.blobs import BlobStore
from node.storage.folder import DataFolder
from node.storage.journal import Journal, journal_chain
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock
from protocol.codec.canonical import decode, encode
from protocol.consensus.effects import Record
from protocol.crypto.hashing import chain_id
from protocol.crypto.signing import SigningKey
from protocol.errors import ChartledgerError, DecodeError, GenesisMismatch, JournalBroken
from protocol.ledger.genesis import genesis_block
from protocol.types.institutions import Genesis

log = get_logger("node")

CORES_TO_SPARE = 4
"""With fewer, signatures are checked on the event loop; `node.intake` says why."""


class KeysMismatch(ChartledgerError):
    """The keystore's keys are not those of this institution in the genesis."""

    advice = "Check `institution`, `genesis` and `keystore` in the configuration: one of them is another node's."


class Node:
    """One institution's daemon. `start`, then wait for `failed` or a signal, then `stop`."""

    def __init__(self, config: Config, keystore: Keystore, clock: Clock | None = None) -> None:
        self.config = config
        self._keystore = keystore
        self._clock = clock or SystemClock()
        self._open = AsyncExitStack()
        self._core: Core | None = None
        self._api: ApiServer | None = None

    @property
    def services(self) -> Core:
        """What the socket is served from; once started."""
        assert self._core is not None
        return self._core

    async def start(self) -> None:
        """Open, check, and go online. Raises a named error in one sentence; then everything is closed again."""
        try:
            await self._start()
        except BaseException:
            await self._open.aclose()
            raise

    async def failed(self) -> None:
        """Wait until the node cannot go on any more; raises why."""
        await asyncio.shield(self.services.failure)

    async def stop(self) -> None:
        """Answer what was begun, leave the network, close the files. Once is enough."""
        await self._open.aclose()
        log.info("stopped", institution=self.config.institution)

    async def _start(self) -> None:
        config = self.config
        genesis = read_genesis(config.genesis)
        operation_keys = check_keys(genesis, config.institution, self._keystore)
        folder = DataFolder.open(config.data)
        self._open.callback(folder.close)
        store = await open_ledger(config, genesis)
        self._open.push_async_callback(store.close)
        url = config.blobs if config.blobs and "://" in config.blobs else None
        blobs = await BlobStore.open(config.data, url)
        self._open.push_async_callback(blobs.close)
        cores = config.threads or os.cpu_count() or 1
        threads = ThreadPoolExecutor(cores, thread_name_prefix="work")
        self._open.callback(threads.shutdown, cancel_futures=True)
        journal, records, why_silent = await self._open_journal(genesis, store)
        head = await store.head()
        assert head is not None
        network = self._network(genesis, chain_id(genesis))
        vote_key = self._vote_key(genesis)
        core = self._core = Core(
            Ground(
                genesis=genesis,
                institution=config.institution,
                operation_keys=operation_keys,
                vote_key=vote_key,
                store=store,
                head=head,
                leaves=await standing_leaves(store, genesis),
                journal=journal,
                records=records,
                why_silent=why_silent,
                network=network,
                threads=threads if cores >= CORES_TO_SPARE else None,
                clock=self._clock,
                mempool_bytes=config.mempool_bytes,
            )
        )
        scrub = Scrub(store.records, blobs)
        core.report = StatusReporter(core, config, blobs, scrub).document
        core.metrics = partial(metrics_text, core)
        await core.start()
        self._open.push_async_callback(core.stop)
        await self._serve(core, store, blobs, scrub, threads)
        log.info(
            "started",
            institution=config.institution,
            height=head.header.height,
            voting=vote_key is not None and why_silent is None,
        )

    async def _serve(
        self, core: Core, store: LedgerStore, blobs: BlobStore, scrub: Scrub, threads: ThreadPoolExecutor
    ) -> None:
        config, keystore = self.config, self._keystore
        keys = RecordKeys(keystore.kek, keystore.encryption_suite, keystore.encryption_seed)
        records = Records(
            core, store=store.records, blobs=blobs, keys=keys, folder=config.data / "incoming", threads=threads
        )
        await records.start()
        core.router.serve("records", records.answer)
        keeping = Housekeeping(core, store.idempotency, store.outbox, records.submitter)
        self._open.callback(keeping.start(core.fail))
        self._open.callback(scrub.start(core.fail))
        settings = ApiSettings(
            socket=config.socket,
            roles=role_map(config.submitters),
            group=config.socket_group,
            stop_s=config.stop_seconds,
        )
        self._api = make_api(settings, core, records, store.idempotency, keystore.kek)
        await self._api.start()
        self._open.push_async_callback(self._api.stop)

    def _network(self, genesis: Genesis, chain: bytes) -> AsyncioNetwork:
        config = self.config
        own = genesis.institutions[config.institution].network_certificates[0]
        members = {
            number: Member(one.network_certificates[0], config.peers.get(number))
            for number, one in enumerate(genesis.institutions)
            if number != config.institution
        }
        return AsyncioNetwork(
            NetworkConfig(listen=config.listen, queue_bytes=config.peer_queue_bytes),
            Identity(config.institution, own, self._keystore.network_seed),
            chain,
            members,
            height=lambda: self.services.head().height,
            clock_ms=self._clock.wall_ms,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads redials, guards nothing
        )

    def _vote_key(self, genesis: Genesis) -> SigningKey | None:
        if self.config.institution not in genesis.authorities:
            return None
        return SigningKey(self._keystore.vote_seed)

    async def _open_journal(
        self, genesis: Genesis, store: LedgerStore
    ) -> tuple[JournalFile | None, list[Record], str | None]:
        """The journal and what it holds, or why this node must not vote (design, section 5, rule 7)."""
        if self.config.institution not in genesis.authorities:
            return None, [], None
        path = self.config.data / "journal"
        try:
            journal, raws = Journal.open(path, chain_id(genesis), await store.journal_mark())
            self._open.callback(journal.close)
            return journal, [decode(Record, raw) for raw in raws], None  # type: ignore[arg-type]  # a union
        except (JournalBroken, DecodeError) as error:
            log.warning("this node does not vote", reason=str(error), advice=error.advice)
            return None, [], str(error)


def check_keys(genesis: Genesis, number: int, keystore: Keystore) -> Mapping[int, SigningKey]:
    """The operations keys by index, if the keystore is that of institution `number`. Raises `KeysMismatch`."""
    if number >= len(genesis.institutions):
        raise KeysMismatch(f"the genesis has no institution {number}")
    institution = genesis.institutions[number]
    keys = {index: SigningKey(seed) for index, seed in enumerate(keystore.operations) if seed}
    for index, key in keys.items():
        if index >= len(institution.operation_keys) or institution.operation_keys[index] != key.public:
            raise KeysMismatch(f"operations key {index} is not that of {institution.name} in the genesis")
    if not keys:
        raise KeysMismatch("the keystore holds no operations key")
    if number in genesis.authorities:
        if not keystore.vote_seed:
            raise KeysMismatch(f"{institution.name} is an authority, but the keystore holds no vote key")
        if SigningKey(keystore.vote_seed).public != institution.vote_key:
            raise KeysMismatch(f"the vote key is not that of {institution.name} in the genesis")
    return keys


async def open_ledger(config: Config, genesis: Genesis) -> LedgerStore:
    """The ledger database, begun from the genesis if it is new. Raises `GenesisMismatch` and storage's errors."""
    file = config.data / "ledger.db"
    if not file.exists():
        _check_journal(config, genesis)
    store = await LedgerStore.open(file)
    try:
        await _begin(store, config, genesis)
    except BaseException:
        await store.close()
        raise
    return store


async def _begin(store: LedgerStore, config: Config, genesis: Genesis) -> None:
    raw = await store.genesis()
    if raw is None:
        _check_journal(config, genesis)
        await store.init_genesis(encode(genesis), _genesis_commit(genesis))
    elif raw != encode(genesis):
        raise GenesisMismatch(
            f"the ledger in {config.data} began from another genesis than {config.genesis}",
            advice="Name the right genesis file, or another data folder.",
        )


def _check_journal(config: Config, genesis: Genesis) -> None:
    """A ledger is begun only from the genesis that the journal beside it was made for."""
    made_for = journal_chain(config.data / "journal")
    if made_for not in (None, chain_id(genesis)):
        raise GenesisMismatch(
            f"the journal in {config.data} was made for another chain than that of {config.genesis}",
            advice="Name the genesis file that was given to `chartledger node init`, or another data folder.",
        )


def _genesis_commit(genesis: Genesis) -> CommittedBlock:
    first = genesis_block(genesis)
    return CommittedBlock(
        header=first.header,
        transactions=(),
        certificate=None,
        nullifications=(),
        leaves=first.changes.leaves,
        nodes=first.tree.nodes,
        events=(),
    )
