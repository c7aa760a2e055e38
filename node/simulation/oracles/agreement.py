"""One block a height, for all honest hosts and for good, and none without the signatures of a quorum."""

from __future__ import annotations

from typing import ClassVar

from node.simulation.oracles.base import Oracle
from node.simulation.oracles.chronicle import Chronicle
from node.simulation.oracles.naive.governance import quorum_of
from node.simulation.oracles.records import BlockFinal, Record, Restarted, Scene, Stopped
from protocol.crypto.hashing import block_digest
from protocol.crypto.signing import vote_message
from protocol.types.votes import FINALIZE, Certificate


class Agreement(Oracle):
    """Also: an honest machine never finds itself contradicted, since that takes more than f traitors."""

    name: ClassVar[str] = "agreement"
    wants: ClassVar[tuple[type[Record], ...]] = (BlockFinal, Restarted, Stopped)

    def __init__(self, scene: Scene, chronicle: Chronicle) -> None:
        super().__init__(scene, chronicle)
        self._heads: dict[int, int] = {}
        self._owed: dict[int, Certificate] = {}
        self._verified: set[tuple[bytes, int, bytes]] = set()

    def event(self, record: Record) -> None:
        """Finality, a restart, or the end of a machine."""
        if isinstance(record, BlockFinal) and record.host in self.scene.honest:
            self._final(record)
        elif isinstance(record, Restarted):
            self._heads[record.host] = record.head.height
            self._owed.pop(record.host, None)
        elif isinstance(record, Stopped) and record.host in self.scene.honest:
            self.demand(False, f"host {record.host} stopped: {record.reason}", record.at_ms)

    def _final(self, record: BlockFinal) -> None:
        host, header, at_ms = record.host, record.block.header, record.at_ms
        digest, height = block_digest(header), header.height
        known = self.chronicle.digests.get(height, digest)
        self.demand(known == digest, f"FORK: host {host} made another block final at height {height}", at_ms)
        head = self._heads.get(host, 0)
        self.demand(height <= head + 1, f"host {host} made height {height} final after {head}", at_ms)
        self._heads[host] = max(head, height)
        owed = self._owed.pop(host, None)
        continues = owed is None or owed == record.certificate
        self.demand(continues, f"host {host} has a certificate that is not of the last block it came with", at_ms)
        if digest != record.certificate.subject.block:
            self._owed[host] = record.certificate
        fault = self._fault(record.certificate, header.epoch)
        self.demand(fault is None, f"height {height} is final at host {host} by a certificate that {fault}", at_ms)

    def _fault(self, certificate: Certificate, epoch: int) -> str | None:
        subject = certificate.subject
        if subject.kind != FINALIZE or subject.epoch != epoch or subject.chain != self.scene.chain:
            return "is of another kind, epoch or chain"
        authorities = self.chronicle.sets.get(epoch)
        if authorities is None:
            return "is of an epoch that has not begun"
        members = authorities.members
        message = vote_message(subject)
        signers = set()
        for index, signature in certificate.signatures:
            if index >= len(members):
                return "names an authority that there is not"
            known = (message, index, signature)
            if known not in self._verified:
                if not self.scene.verify(members[index].vote_key, message, signature):
                    return f"authority {index} did not sign"
                self._verified.add(known)
            signers.add(index)
        return None if len(signers) >= quorum_of(len(members)) else f"has {len(signers)} signers"
