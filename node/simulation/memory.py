"""What was worked out once: signatures, decoded transactions and executed blocks.

With `remember`, all nodes of a history share one memory. That changes nothing that they could observe, since each of
these is a function of its arguments: a signature of key, message and bytes, a block's effect of its parent's state.
What was signed here verifies without another look, so a forged signature is one that this memory has not seen. Without
`remember` each node works out everything for itself, from the bytes on the wire.
"""

from __future__ import annotations

from node.mempool import Entry, make_entry
from node.simulation.chainstate import Executed, State, run_block
from protocol.codec.canonical import decode
from protocol.crypto.signing import SigningKey, verify
from protocol.errors import ChartledgerError, InvalidBlock
from protocol.types.block import Block
from protocol.types.transaction import Transaction

_Signed = tuple[bytes, bytes, bytes]


class Memory:
    """One for all nodes, or one for each."""

    def __init__(self, remember: bool) -> None:
        self.remember = remember
        self._signed: dict[_Signed, bool] = {}
        self._entries: dict[bytes, Entry | ChartledgerError] = {}
        self._executed: dict[bytes, Executed | str] = {}

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        """The signature, of which it is then known that it verifies."""
        signature = key.sign(message)
        if self.remember:
            self._signed[key.public, message, signature] = True
        return signature

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """See `protocol.crypto.signing.Verifier`."""
        if not self.remember:
            return verify(public, message, signature)
        signed = (public, message, signature)
        found = self._signed.get(signed)
        if found is None:
            found = self._signed[signed] = verify(public, message, signature)
        return found

    def entry(self, raw: bytes) -> Entry:
        """A pool entry of this transaction, for one node alone. Raises the named error that refuses its bytes."""
        found = self._entries.get(raw)
        if found is None:
            try:
                found = make_entry(decode(Transaction, raw), raw, None)
            except ChartledgerError as error:
                found = error
            self._entries[raw] = found
        if isinstance(found, ChartledgerError):
            raise found
        return Entry(found.raw, found.id, found.digest, found.transaction, found.owners, None, found.slot, found.cost)

    def execute(self, parent: State, block: Block, digest: bytes) -> Executed:
        """What the block with this digest does to its parent's state. Raises `InvalidBlock`."""
        found = self._executed.get(digest)
        if found is None:
            try:
                found = run_block(self, parent, block, digest)
            except InvalidBlock as error:
                found = str(error)
            self._executed[digest] = found
        if isinstance(found, str):
            raise InvalidBlock(found)
        return found

    def keep(self, executed: Executed) -> None:
        """A block that was built here."""
        self._executed[executed.digest] = executed
