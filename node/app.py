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
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

from node.alerts.rules import Thresholds
from node.api.app import make_api
from node.api.peercred import role_map
from node.api.server import ApiServer, ApiSettings
from node.clock import Clock, SystemClock
from node.config import Config
from node.core import Core, Ground
from node.epochs import VoteKeys
from node.genesis_file import read_genesis
from node.housekeeping import Housekeeping
from node.keystore import KeystoreFile
from node.logs import get_logger
from node.membership import Membership, Remembered, identity, members, remembered
from node.metrics import metrics_text
from node.network.asyncio_network import AsyncioNetwork, NetworkConfig
from node.network.tls import Identity
from node.own_keys import check_keys, encryption_key, operation_keys
from node.records.kek import KeyEncryption
from node.records.labelling import Labelling, labelling
from node.records.seal import RecordKeys
from node.records.service import Records
from node.scrub import Scrub
from node.standing import Standing, standing_leaves
from node.status import StatusReporter
from node.storage.blobs import BlobStore
from node.storage.folder import DataFolder
from node.storage.journal import journals
from node.storage.ledger_store import LedgerStore
from node.storage.types import CommittedBlock, Head
from protocol.codec.canonical import encode
from protocol.crypto.hashing import chain_id
from protocol.errors import GenesisMismatch
from protocol.ledger.genesis import genesis_block
from protocol.types.institutions import Genesis
from protocol.types.votes import Certificate

log = get_logger("node")

CORES_TO_SPARE = 4
"""With fewer, signatures are checked on the event loop; `node.intake` says why."""


class Node:
    """One institution's daemon. `start`, then wait for `failed` or a signal, then `stop`."""

    def __init__(self, config: Config, keys: KeystoreFile, clock: Clock | None = None) -> None:
        self.config = config
        self._keys = keys
        self._clock = clock or SystemClock()
        self._labelling = Labelling()
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
        self._labelling = labelling(config.sensitivity_table, config.unexamined)
        _tell_labelling(self._labelling)
        genesis = read_genesis(config.genesis)
        keystore = self._keys.keystore
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
        head = await store.head()
        assert head is not None
        standing = Standing(await standing_leaves(store))
        further = remembered(config.data, head.header)
        if further is None:  # or else the ledger here knows older keys than the keystore
            check_keys(keystore, standing.institution(config.institution), config.institution)
        vote_keys = VoteKeys(config.data, chain_id(genesis), self._keys, await store.journal_mark())
        self._open.callback(vote_keys.close)
        network = self._network(standing, further, chain_id(genesis))
        core = self._core = Core(
            Ground(
                genesis=genesis,
                institution=config.institution,
                operation_keys=operation_keys(keystore, standing.institution(config.institution)),
                vote_keys=vote_keys,
                store=store,
                head=head,
                former=await former_certificate(store, head),
                standing=standing,
                network=network,
                threads=threads if cores >= CORES_TO_SPARE else None,
                clock=self._clock,
                mempool_bytes=config.mempool_bytes,
            )
        )
        scrub = Scrub(store.records, store.held, blobs)
        reporter = StatusReporter(core, config, blobs, scrub)
        core.report = reporter.document
        await core.start()
        self._open.push_async_callback(core.stop)
        records = await self._serve(core, store, blobs, scrub, threads)
        reporter.watch(records.repair, records.reader.collector)
        reporter.erasures = records.erasures.work
        log.info(
            "started",
            institution=config.institution,
            height=head.header.height,
            voting=core.driver.term.voting_key is not None,
        )

    async def _serve(
        self, core: Core, store: LedgerStore, blobs: BlobStore, scrub: Scrub, threads: ThreadPoolExecutor
    ) -> Records:
        config, keystore = self.config, self._keys.keystore
        leaf = core.standing.institution(config.institution)
        sealed_to = encryption_key(keystore, leaf) or keystore.encryption[-1]
        kek = KeyEncryption.open_file(config.data, keystore.root, core.chain)
        keys = RecordKeys(kek, sealed_to.suite, sealed_to.seed, keystore.encryption[0].seed)
        records = Records(
            core,
            store=store.records,
            details=store.details,
            erasures=store.erasures,
            requests=store.idempotency,
            held=store.held,
            blobs=blobs,
            keys=keys,
            folder=config.data / "incoming",
            threads=threads,
            replicas=config.replicas,
        )
        await records.start()
        core.router.serve("records", records.answer)
        core.metrics = partial(metrics_text, core, records.repair)
        self._follow_members(core, records)
        keeping = Housekeeping(core, store.idempotency, store.outbox, records)
        self._open.callback(keeping.start(core.fail))
        scrub.heal = records.repair.heal
        self._open.callback(scrub.start(core.fail))
        self._open.callback(records.repair.start(core.fail))
        self._open.callback(records.changes.start(core.fail))
        self._open.callback(records.confidence.start(core.fail))
        core.finality.listeners.append(lambda executed: records.erasures.on_events(executed.overlay.changes.events))
        self._open.callback(records.erasures.run(core.fail))
        settings = ApiSettings(
            socket=config.socket,
            roles=role_map(config.submitters, config.governors),
            group=config.socket_group,
            stop_s=config.stop_seconds,
            thresholds=Thresholds(
                practitioner_charts_an_hour=config.alert_practitioner_charts_an_hour,
                practitioner_charts_a_day=config.alert_practitioner_charts_a_day,
                institution_charts_an_hour=config.alert_institution_charts_an_hour,
                institution_charts_a_day=config.alert_institution_charts_a_day,
            ),
            labelling=self._labelling,
        )
        self._api = make_api(settings, core, records, store.idempotency, keystore.root)
        await self._api.start()
        self._open.push_async_callback(self._api.stop)
        return records

    def _follow_members(self, core: Core, records: Records) -> None:
        """From here on."""
        config, network = self.config, core.ground.network
        membership = Membership(
            institution=config.institution,
            addresses=config.peers,
            data=config.data,
            head=core.head,
            keys=self._keys,
            standing=core.standing,
            set_members=network.set_members,
            set_identity=network.set_identity,
            set_operation_keys=core.submission.set_keys,
            set_encryption_key=lambda key: records.set_key(key.suite, key.seed),
        )
        core.finality.listeners.append(membership.on_final)
        membership.refresh()  # for blocks that were stored since the network began

    def _network(self, standing: Standing, further: Remembered | None, chain: bytes) -> AsyncioNetwork:
        config, keystore = self.config, self._keys.keystore
        if further is not None:
            own: Identity | None = further.identity(keystore, config.institution)
            known = further.members(config.institution, config.peers)
        else:
            own = identity(keystore, standing.institution(config.institution), config.institution)
            known = members(standing, config.institution, config.peers)
        assert own is not None, "the keys were checked"
        return AsyncioNetwork(
            NetworkConfig(listen=config.listen, queue_bytes=config.peer_queue_bytes),
            own,
            chain,
            known,
            height=lambda: self.services.head().height,
            clock_ms=self._clock.wall_ms,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads redials, guards nothing
        )


def _tell_labelling(by: Labelling) -> None:
    """Which rules hold from this start on, and loudly what of the built-in ones does not."""
    table = by.table
    log.info("labelling", unexamined=by.unexamined, own_rules=len(table.rules), table=table.digest or None)
    if table.taken_away:
        log.warning("the table of sensitivities takes built-in rules away", rules=len(table.taken_away))


async def former_certificate(store: LedgerStore, head: Head) -> Certificate | None:
    """What finalizes the last block of the epoch before the next block's."""
    if head.header.child_epoch == 0:
        return None
    ends = await store.epoch_ends(head.header.child_epoch - 1, 1)
    return ends[0].certificate


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
    """A ledger is begun only from a genesis that the journals beside it were made for."""
    chains = {owner.chain for owner in journals(config.data).values()}
    if chains and chain_id(genesis) not in chains:
        raise GenesisMismatch(
            f"the journals in {config.data} were made for another chain than that of {config.genesis}",
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
