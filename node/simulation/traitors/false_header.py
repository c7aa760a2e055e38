"""Wrong state roots and timestamps, and headers that are wrong about epochs, proposers and the next set."""

from __future__ import annotations

from node.simulation.traitors.base import proposal, with_header
from node.simulation.traitors.false_proposer import FalseProposer
from protocol.types.votes import Proposal

FAR_MS = 3_600_000


class FalseHeader(FalseProposer):
    """The transactions are sound; one field of the header is not."""

    kind = "false_header"

    def falsify(self, honest: Proposal) -> Proposal | None:
        """The same block with one field wrong, and properly signed."""
        header = honest.block.header
        rng = self.rng
        members = [member.institution for member in self.host.authorities.members]
        false: tuple[dict[str, object], ...] = (
            {"state_root": rng.randbytes(32)},
            {"timestamp": max(0, self.host.head.timestamp - rng.randrange(FAR_MS))},
            {"timestamp": self.host.head.timestamp},
            {"timestamp": header.timestamp + rng.randrange(1, FAR_MS)},
            {"timestamp": header.timestamp + rng.randrange(1, 3_000)},
            {"timestamp": max(self.host.head.timestamp + 1, header.timestamp - rng.randrange(1, FAR_MS))},
            {"next_authorities": rng.randbytes(32) if header.next_authorities is None else None},
            {"next_authorities": rng.randbytes(32)},
            {"epoch": header.epoch + rng.choice((-1, 1)) if header.epoch else 1},
            {"proposer": rng.choice([*members, 65_000])},
            {"height": header.height + rng.choice((-1, 1, 1_000)) if header.height > 1 else 7},
            {"version": 2},
            {"chain": rng.randbytes(32)},
        )
        block = with_header(honest.block, **rng.choice(false))
        return None if block == honest.block else proposal(self.host, block, honest.vote.subject)
