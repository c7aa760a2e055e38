"""The proposer of invalid blocks: transactions twice, anew, out of nothing, or too many; and askings judged wrongly."""

from __future__ import annotations

from collections import deque
from random import Random

from node.simulation.traitors.base import Conspiracy, HostFacade, proposal, with_transactions
from node.simulation.traitors.false_proposer import FalseProposer
from protocol.types.votes import Body, ConsensusMessage, Proposal

HOARD = 64


class InvalidProposer(FalseProposer):
    """Each false block has one thing wrong with its transactions, and its header agrees with them; or they are sound,
    and its state root is that of a ledger which lets read whom the rules refuse, and refuses whom they let."""

    kind = "invalid_proposer"

    def __init__(self, host: HostFacade, rng: Random, allies: Conspiracy) -> None:
        super().__init__(host, rng, allies)
        self.hoard: deque[bytes] = deque(maxlen=HOARD)
        self.misjudged = 0

    def incoming(self, sender: int, message: ConsensusMessage) -> bool:
        """Collect transactions of others' blocks, to put them in again."""
        if isinstance(message, Proposal | Body):
            self.hoard.extend(message.block.transactions[:4])
        return super().incoming(sender, message)

    def falsify(self, honest: Proposal) -> Proposal | None:
        """The block with one transaction too many, in a false place, or altered; or with other outcomes."""
        misjudged = self.host.misjudged(honest.block)
        if misjudged is not None and self.rng.random() < 0.8:
            self.misjudged += 1
            return proposal(self.host, misjudged, honest.vote.subject)
        raws = list(honest.block.transactions)
        shape = self.rng.randrange(5)
        if shape == 0 and raws:  # executed twice in one block
            raws.append(self.rng.choice(raws))
        elif shape == 1 and self.hoard:  # executed again
            raws.append(self.rng.choice(list(self.hoard)))
        elif shape == 2 and raws:  # a signature that is none
            raws[-1] = raws[-1][:-1] + bytes([raws[-1][-1] ^ 1])
        elif shape == 3 and len(raws) > 1:  # another order: the state it leads to may differ
            raws.reverse()
        else:
            raws.append(self.rng.randbytes(40))
        if raws == list(honest.block.transactions):
            return None
        return proposal(self.host, with_transactions(honest.block, raws), honest.vote.subject)
