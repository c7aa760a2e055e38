"""What a traitor can reach of the node that it has taken over (see `node.simulation.traitors.base.HostFacade`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.simulation import keyring
from node.simulation.patients.standing import Standing
from protocol.crypto.signing import vote_message
from protocol.types.block import Block, Header
from protocol.types.institutions import AuthoritySet
from protocol.types.operations import Operation
from protocol.types.votes import ConsensusMessage, Vote, VoteSubject

if TYPE_CHECKING:
    from node.simulation.host import Host


class Facade:
    """One node's."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def number(self) -> int:
        return self._host.number

    @property
    def institution(self) -> int:
        return -1 if self._host.institution is None else self._host.institution

    @property
    def chain(self) -> bytes:
        return self._host.chain.head.header.chain

    @property
    def epoch(self) -> int:
        return self._host.machine.config.epoch

    @property
    def index(self) -> int | None:
        return self._host.index_of.get(self.institution)

    @property
    def authorities(self) -> AuthoritySet:
        return self._host.authorities

    @property
    def view(self) -> int:
        return self._host.machine.view

    @property
    def final_view(self) -> int:
        return self._host.machine.chain.final_view

    @property
    def head(self) -> Header:
        return self._host.machine.chain.head.header

    @property
    def now_ms(self) -> int:
        return self._host.world.now_us // 1_000

    def peers(self) -> Sequence[int]:
        return self._host.members_at

    def sign(self, subject: VoteSubject) -> Vote | None:
        host = self._host
        authorities = host.chain.head.authorities(subject.epoch)
        index, public = self.index, None
        if authorities is not None:
            for position, member in enumerate(authorities.members):
                if member.institution == self.institution:
                    index, public = position, member.vote_key
        if index is None:
            return None
        own = [keyring.vote_key(host.node, number) for number in range(host.disk.vote_keys)]
        key = next((one for one in own if one.public == public), own[-1])
        return Vote(subject, index, host.memory.sign(key, vote_message(subject)))

    def send(self, to: int, message: ConsensusMessage) -> None:
        if self._host.up and to != self.number:
            self._host.world.transmit_lie(self._host.number, to, message)

    def misjudged(self, block: Block) -> Block | None:
        return self._host.chain.misjudged(block)

    def standings(self) -> Sequence[Standing]:
        state = self._host.chain.head
        found = (Standing.of_owner(state, wallet.first_key().public) for wallet in self._host.world.wallets)
        return [standing for standing in found if standing is not None]

    def submit(self, operations: Sequence[Operation]) -> None:
        if self._host.up:
            self._host.client.submit(operations)
