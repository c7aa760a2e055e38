"""A core without consensus or network: several nodes on one chain that they agree on at once, with the real ledger
rules and the real storage below. Blocks are made when a transaction comes in, or by hand while `chain.held`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from node.network.interface import PeerGone, Refuse, RequestRefused
from node.proving import Proofs
from node.records.kek import KeyEncryption
from node.records.seal import RecordKeys
from node.records.service import Records
from node.services import Dead, Final, FinalBlock, Outcome, Prepared, Waiting
from node.storage.blobs import BlobStore
from node.storage.ledger_store import LedgerStore
from node.storage.outbox import Outgoing
from node.storage.types import Asking, CommittedBlock, Place, Settled
from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import block_digest, chain_id, transaction_id
from protocol.crypto.signing import SigningKey, sign_transaction, sign_vote, transaction_message, verify
from protocol.errors import BadSignature, ChartledgerError, Expired, InvalidTransaction
from protocol.ledger import keys, tree
from protocol.ledger.blocks import next_authorities_digest
from protocol.ledger.genesis import genesis_block
from protocol.ledger.leaves import Chart, GrantLeaf, Leaf, OwnerIndex, decode_leaf
from protocol.ledger.transition import Execution, Receipt, SignedBy
from protocol.params import Params
from protocol.types.block import BLOCK_VERSION, Header
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution
from protocol.types.operations import SignedOperation
from protocol.types.transaction import Transaction, TransactionBody
from protocol.types.votes import FINALIZE, Certificate, VoteSubject
from tests.node.records.fake_ground import HOUR_MS, START_MS, SUITE, Clock, View, institution, seed

__all__ = ["HOUR_MS", "START_MS", "SUITE", "Chain", "Clock", "FakeCore", "Hospital", "Network", "seed"]


class Chain:
    """What all nodes agree on."""

    def __init__(self, institutions: int = 3) -> None:
        self.clock = Clock()
        members = tuple(institution(number) for number in range(institutions))
        self.genesis = Genesis("test", START_MS, Params(), members, tuple(range(institutions)))
        self.id = chain_id(self.genesis)
        first = genesis_block(self.genesis)
        self.first = first
        self.header = first.header
        self.view = View(dict(first.changes.leaves), {})
        self.tree = dict(first.tree.nodes)
        self.certificate: Certificate | None = None
        self.blocks: list[FinalBlock] = [FinalBlock(self.header, block_digest(self.header), ())]
        self.nodes: dict[int, FakeCore] = {}
        self.waiting: list[bytes] = []
        self.held = False

    def execution(self) -> Execution:
        time_ms = max(self.header.timestamp + 1, self.clock.ms)
        return Execution(self.view, self.header, time_ms, verify)

    async def offer(self, raws: Sequence[bytes]) -> None:
        self.waiting.extend(raw for raw in raws if raw not in self.waiting)
        if not self.held:
            await self.make_block()

    async def make_block(self) -> None:
        """Everything that waits and is valid becomes final at every node."""
        raws, self.waiting = self.waiting, []
        execution = self.execution()
        time_ms = max(self.header.timestamp + 1, self.clock.ms)
        done: list[tuple[bytes, bytes, Receipt]] = []
        dead: list[tuple[bytes, ChartledgerError]] = []
        for raw in raws:
            transaction = decode(Transaction, raw)
            body = transaction.body
            try:
                done.append((transaction_id(body), raw, execution.apply(body, signed_by(transaction))))
            except InvalidTransaction as error:
                dead.append((transaction_id(body), error))
        changes = execution.changes()
        grown = tree.update(self.tree, changes.leaves)
        self.tree.update(grown.nodes)
        parent = block_digest(self.header)
        height = self.header.height + 1
        self.header = Header(
            version=BLOCK_VERSION,
            chain=self.id,
            epoch=self.header.child_epoch,
            height=height,
            parent=parent,
            proposer=0,
            timestamp=time_ms,
            transactions_root=bytes(32),
            state_root=grown.root,
            next_authorities=next_authorities_digest(execution),
        )
        self.view.leaves.update(changes.leaves)
        self.view.events.update({(chart, number): raw for chart, number, raw in changes.events})
        transactions = tuple(raw for _, raw, _ in done)
        block = FinalBlock(self.header, block_digest(self.header), transactions, tuple(changes.events))
        self.blocks.append(block)
        subject = VoteSubject(FINALIZE, self.id, self.header.epoch, height, 0, block.digest)
        seats = enumerate(self.genesis.authorities)
        self.certificate = Certificate(
            subject, tuple((n, sign_vote(SigningKey(seed(f"vote {who}")), subject, n).signature) for n, who in seats)
        )
        for node in self.nodes.values():
            await node.take(block, changes.leaves, grown.nodes, done, dead)


def signed_by(transaction: Transaction) -> SignedBy:
    return lambda public: verify(public, transaction_message(transaction.body), transaction.signature)


class FakeCore:
    """`node.services.NodeServices` for one institution."""

    def __init__(self, chain: Chain, institution: int, ledger: LedgerStore) -> None:
        self._chain = chain
        self.institution = institution
        self.ledger = ledger
        self.key = SigningKey(seed(f"operations {institution}"))
        self.records: Records | None = None
        self.dead: dict[bytes, ChartledgerError] = {}
        self.changed = asyncio.Condition()
        self.submitted = 0
        self.prepared = 0
        self.unreachable: set[int] = set()
        self.healthy = True
        self.watchers: list[asyncio.Queue[FinalBlock | None]] = []

    # --- submission

    async def prepare(self, batches: Sequence[Sequence[SignedOperation]]) -> list[Prepared]:
        execution = self._chain.execution()
        prepared = []
        number = await self.ledger.outbox.reserve_numbers(self.institution, 0, len(batches), 1)
        for at, batch in enumerate(batches, number):
            body = TransactionBody(
                self._chain.id, self.institution, 0, at, self._chain.clock.ms + HOUR_MS, tuple(batch)
            )
            transaction = sign_transaction(self.key, body)
            execution.apply(body, signed_by(transaction))
            raw = encode(transaction)
            prepared.append(Prepared(transaction_id(body), raw, at, body.valid_until))
        self.prepared += len(prepared)
        return prepared

    async def adopt(self, raws: Sequence[bytes]) -> list[Prepared | ChartledgerError]:
        results: list[Prepared | ChartledgerError] = []
        for raw in raws:
            try:
                transaction = decode(Transaction, raw)
                body = transaction.body
                if not verify(self.key.public, transaction_message(body), transaction.signature):
                    raise BadSignature
            except ChartledgerError as error:
                results.append(error)
            else:
                results.append(Prepared(transaction_id(body), raw, body.number, body.valid_until))
        return results

    async def submit(self, prepared: Sequence[Prepared]) -> None:
        self.submitted += 1
        await self.ledger.outbox.add(
            [Outgoing(one.id, self.institution, 0, one.number, one.valid_until, one.raw) for one in prepared]
        )
        waiting = await self.ledger.outbox.waiting([one.id for one in prepared])
        await self._chain.offer([one.raw for one in prepared if one.id in waiting])

    async def outcomes(self, ids: Sequence[bytes], wait_s: float) -> list[Outcome]:
        async with self.changed:
            while True:
                found = await self._standing(ids)
                if wait_s <= 0 or Waiting.PENDING not in found:
                    return found
                try:
                    await asyncio.wait_for(self.changed.wait(), wait_s)
                except TimeoutError:
                    return await self._standing(ids)

    async def _standing(self, ids: Sequence[bytes]) -> list[Outcome]:
        waiting, receipts = await self.ledger.outbox.standing(ids)
        found: list[Outcome] = []
        for one in ids:
            if one in receipts:
                stored = receipts[one]
                found.append(Final(one, stored.height, stored.timestamp, decode(Receipt, stored.receipt)))
            elif one in self.dead:
                found.append(Dead(one, self.dead[one]))
            else:
                found.append(Waiting.PENDING if one in waiting else Waiting.UNKNOWN)
        return found

    async def expire(self, ids: Sequence[bytes]) -> None:
        """The ledger's time went past these."""
        self._chain.waiting = [
            raw for raw in self._chain.waiting if transaction_id(decode(Transaction, raw).body) not in ids
        ]
        await self._bury([(one, Expired()) for one in ids])

    async def _bury(self, dead: Sequence[tuple[bytes, ChartledgerError]]) -> None:
        await self.ledger.outbox.drop([one for one, _ in dead])
        async with self.changed:
            self.dead.update(dict(dead))
            self.changed.notify_all()

    async def take(
        self,
        block: FinalBlock,
        leaves: Mapping[bytes, bytes],
        nodes: Mapping[bytes, bytes],
        done: Sequence[tuple[bytes, bytes, Receipt]],
        dead: Sequence[tuple[bytes, ChartledgerError]],
    ) -> None:
        settled = tuple(
            Settled(
                one,
                encode(receipt),
                tuple(
                    Place(at, r.chart, r.first_event) for at, r in enumerate(receipt.operations) if r.chart is not None
                ),
            )
            for one, _, receipt in done
        )
        certificate = self._chain.certificate
        committed = CommittedBlock(
            block.header, block.transactions, certificate, (), leaves, nodes, block.events, settled
        )
        async with self.changed:
            await self.ledger.commit([committed])
            self.changed.notify_all()
        await self._bury(dead)
        for watcher in self.watchers:
            watcher.put_nowait(block)

    # --- queries

    @property
    def chain(self) -> bytes:
        return self._chain.id

    @property
    def genesis(self) -> Genesis:
        return self._chain.genesis

    @property
    def proofs(self) -> Proofs:
        finality = SimpleNamespace(head=self._chain.header, certificate=self._chain.certificate)
        return Proofs(self.ledger, cast(Any, finality))

    @property
    def params(self) -> Params:
        params = self._leaf(keys.PARAMS)
        assert isinstance(params, Params)
        return params

    def head(self) -> Header:
        return self._chain.header

    def now_ms(self) -> int:
        return self._chain.clock.ms

    def _leaf(self, key: bytes) -> Leaf | None:
        raw = self._chain.view.leaves.get(key)
        return None if raw is None else decode_leaf(key, raw)

    def accredited(self) -> list[int]:
        known = [(key, self._leaf(key)) for key in self._chain.view.leaves if key[0] == keys.KIND_INSTITUTION]
        found = [(key, leaf) for key, leaf in known if isinstance(leaf, Institution)]
        return sorted(int.from_bytes(key[1:], "big") for key, leaf in found if leaf.status == STATUS_ACCREDITED)

    async def institution_leaf(self, number: int) -> Institution | None:
        leaf = self._leaf(keys.institution(number))
        assert leaf is None or isinstance(leaf, Institution)
        return leaf

    async def chart(self, number: int) -> Chart | None:
        leaf = self._leaf(keys.chart(number))
        assert leaf is None or isinstance(leaf, Chart)
        return leaf

    async def chart_of_owner(self, owner_key: bytes) -> int | None:
        leaf = self._leaf(keys.owner(owner_key))
        assert leaf is None or isinstance(leaf, OwnerIndex)
        chart = None if leaf is None else await self.chart(leaf.chart)
        return leaf.chart if leaf is not None and chart is not None and chart.owner_key == owner_key else None

    async def charts_of_custodian(self, institution: int, first: int, count: int) -> list[int]:
        return await self.ledger.charts_of(institution, first, count)

    async def grant(self, chart: int, grant: int) -> GrantLeaf | None:
        leaf = self._leaf(keys.grant(chart, grant))
        assert leaf is None or isinstance(leaf, GrantLeaf)
        return leaf

    async def leaves(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self._chain.view.leaves[key] for key in keys if key in self._chain.view.leaves}

    async def last_leaves(self, kind: int, count: int) -> list[tuple[bytes, bytes]]:
        return await self.ledger.last_leaves(kind, count)

    async def events(self, chart: int, first: int, count: int) -> list[tuple[int, bytes]]:
        return await self.ledger.chart_events(chart, first, count)

    async def events_at(self, chart: int, numbers: Sequence[int]) -> dict[int, bytes]:
        found = await self.ledger.read_events([(chart, number) for number in numbers])
        return {number: raw for (_, number), raw in found.items()}

    async def askings(self, before: int | None, count: int) -> list[Asking]:
        return await self.ledger.askings(before, count)

    async def blocks(self, first: int, count: int) -> list[FinalBlock]:
        return self._chain.blocks[first : first + count]

    # --- operations and peers

    async def status(self) -> Mapping[str, Any]:
        about = {"chain": self.chain.hex(), "institution": {"number": self.institution}}
        about |= {
            "height": self.head().height,
            "head_time_ms": self.head().timestamp,
            "params": {"release_ms": self.params.release_ms},
        }
        return about | {"healthy": self.healthy, "summary": "healthy" if self.healthy else "two of four are gone"}

    def peers(self) -> list[Mapping[str, Any]]:
        return [{"institution": number} for number in self._chain.nodes if number != self.institution]

    def metrics_text(self) -> str:
        return "chartledger_height 1\n"

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[FinalBlock]]:
        watcher: asyncio.Queue[FinalBlock | None] = asyncio.Queue()
        self.watchers.append(watcher)

        async def blocks() -> AsyncIterator[FinalBlock]:
            while (block := await watcher.get()) is not None:
                yield block

        try:
            yield blocks()
        finally:
            self.watchers.remove(watcher)

    async def ask(self, institution: int, method: str, payload: bytes, wait_s: float) -> bytes:
        other = self._chain.nodes.get(institution)
        if other is None or other.records is None or institution in self.unreachable:
            raise PeerGone("the peer is not connected", sent=False)
        try:
            return await other.records.answer(self.institution, method, payload)
        except Refuse as refused:
            raise RequestRefused(refused.refusal, str(refused)) from None


@dataclass
class Hospital:
    """One institution's node: core, records side, storage."""

    core: FakeCore
    records: Records
    ledger: LedgerStore
    blobs: BlobStore
    folder: Path

    async def close(self) -> None:
        await self.ledger.close()
        await self.blobs.close()


@dataclass
class Network:
    """Hospitals on one chain."""

    chain: Chain
    folder: Path
    replicas: int = 0
    threads: Executor = field(default_factory=lambda: ThreadPoolExecutor(2))
    hospitals: dict[int, Hospital] = field(default_factory=dict)

    async def start(self, number: int) -> Hospital:
        """Open (again) the node of an institution."""
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        ledger = await LedgerStore.open(folder / "ledger.db")
        if await ledger.head() is None:
            first = self.chain.first
            genesis = CommittedBlock(first.header, (), None, (), first.changes.leaves, first.tree.nodes, ())
            await ledger.init_genesis(encode(self.chain.genesis), genesis)
        blobs = await BlobStore.open(folder)
        core = FakeCore(self.chain, number, ledger)
        kek = KeyEncryption.open_file(folder, seed(f"root {number}"), self.chain.id)
        keys = RecordKeys(kek, SUITE, seed(f"encryption {number}"))
        stores = {"store": ledger.records, "details": ledger.details, "held": ledger.held, "blobs": blobs}
        stores |= {"erasures": ledger.erasures, "requests": ledger.idempotency}
        more = {"folder": folder, "threads": self.threads, "replicas": self.replicas}
        records = Records(core, **stores, keys=keys, **more)
        core.records = records
        self.chain.nodes[number] = core
        await records.start()
        self.hospitals[number] = Hospital(core, records, ledger, blobs, folder)
        return self.hospitals[number]

    async def stop(self, number: int) -> None:
        """Close a node's files, as a crash between two awaits would leave them."""
        self.chain.nodes.pop(number)
        await self.hospitals.pop(number).close()

    async def close(self) -> None:
        for number in list(self.hospitals):
            await self.stop(number)
        self.threads.shutdown()
