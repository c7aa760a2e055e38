"""Rule 8: asking for what lacks, answering who lacks, and doing neither too often.

Nothing here is trusted or signed: requests name certificates and bodies, which whoever gets them checks as always.
"""

from __future__ import annotations

from protocol.consensus.chain import Chain
from protocol.consensus.timeouts import Timeouts
from protocol.types.votes import Body, Certificate, ConsensusMessage, Fetch

CERTIFICATES_PER_ANSWER = 64
ANSWERS_PER_DELTA = 16  # to one peer


def answers(fetch: Fetch, chain: Chain) -> list[ConsensusMessage]:
    """What this node has of what is asked: first the newest finalization if it settles some of it, then certificates
    by view, then bodies."""
    found: list[ConsensusMessage] = []
    newest = chain.finalization
    if newest is not None and 0 < fetch.first <= newest.subject.view:
        found.append(newest)
    views = sorted(set(chain.notarizations) | set(chain.nullifications))
    for view in [view for view in views if fetch.first <= view <= fetch.last and view > chain.final_view]:
        found += [c for c in (chain.notarizations.get(view), chain.nullifications.get(view)) if c is not None]
        if len(found) >= CERTIFICATES_PER_ANSWER:
            break
    found += [Body(chain.blocks[digest].block) for digest in dict.fromkeys(fetch.blocks) if digest in chain.blocks]
    return found


def entrance(chain: Chain, view: int, former: Certificate | None) -> list[Certificate]:
    """The certificates that let a laggard enter `view`: the newest finalization, or `former`, which ended the epoch
    before, if there is none in this one; and what ended the view before."""
    newest = chain.finalization or former
    found = [] if newest is None else [newest]
    if chain.final_view < view - 1:
        last = chain.notarizations.get(view - 1) or chain.nullifications.get(view - 1)
        found += [] if last is None else [last]
    return found


class Repair:
    """Whom this node asks next and when, and who may be answered again. Memory: a few slots for each authority."""

    def __init__(self, authorities: int, me: int | None) -> None:
        self._others = [index for index in range(authorities) if index != me]
        self._turn = 0
        self._wanted: Fetch | None = None
        self._asked = False
        self._gap_ms = 0
        self.ask_at: int | None = None
        self._served: dict[int, tuple[int, int]] = {}
        self._helped: dict[int, int] = {}
        self._warned: dict[int | None, int] = {}

    def want(self, fetch: Fetch | None, waits: Timeouts, now_ms: int) -> int | None:
        """Tell what lacks now; returns the index to send the request to if it is time to. `ask_at` says when next.

        What lacks for the first time may be on its way, so asking waits a little; what shows up as lacking after an
        answer is asked for at once; and what is not answered is asked of the next authority, ever less often.
        """
        if fetch is None or not self._others:
            self.rest()
            return None
        if fetch != self._wanted:
            self._wanted = fetch
            self._gap_ms = waits.delta
            if self.ask_at is None or self._asked:
                self.ask_at = now_ms if self._asked else now_ms + waits.ask
        if self.ask_at is None or now_ms < self.ask_at:
            return None
        self._asked = True
        self.ask_at = now_ms + self._gap_ms
        self._gap_ms = min(2 * self._gap_ms, waits.cap)
        self._turn += 1
        return self._others[self._turn % len(self._others)]

    def rest(self) -> None:
        """Nothing lacks any more."""
        self._wanted, self._asked, self.ask_at = None, False, None

    def may_serve(self, peer: int, now_ms: int, delta_ms: int) -> bool:
        """Whether a request of this peer is answered: so many in each delta."""
        since, count = self._served.get(peer, (now_ms, 0))
        if now_ms - since >= delta_ms:
            since, count = now_ms, 0
        self._served[peer] = (since, count + 1)
        return count < ANSWERS_PER_DELTA

    def may_warn(self, peer: int | None, now_ms: int, delta_ms: int) -> bool:
        """Whether to tell that this peer (None: whoever is no authority) speaks of a later epoch: once a delta each,
        so that a liar does not keep a true word from being heard."""
        if now_ms - self._warned.get(peer, now_ms - delta_ms) < delta_ms:
            return False
        self._warned[peer] = now_ms
        return True

    def may_help(self, peer: int, now_ms: int, delta_ms: int) -> bool:
        """Whether to send this peer something it did not ask for, or to ask it because it is ahead: twice a delta."""
        if now_ms - self._helped.get(peer, now_ms - delta_ms) < delta_ms // 2:
            return False
        self._helped[peer] = now_ms
        return True
