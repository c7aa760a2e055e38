"""What the final head says that every transaction and vote is held against, in memory.

Parameters, institutions, their anti-replay windows, the authority sets of this epoch and the ones before, and which
reviews of emergencies are owed. All of it comes from final state leaves: those on disk at a start, then those that each
final block wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from node.mempool import Entry, room_in
from protocol import limits
from protocol.errors import Expired, Oversize, Replayed, UnknownInstitution, UnknownKey
from protocol.ledger import keys
from protocol.ledger.blocks import TRANSACTION_OVERHEAD_BYTES
from protocol.ledger.leaves import Counters, Emergencies, decode_leaf
from protocol.ledger.windows import FRESH, Window, used
from protocol.params import Params
from protocol.types.block import Header
from protocol.types.institutions import RETIRED_KEY, AuthoritySet, Institution

SETS_KEPT = 16
"""Authority sets in memory: this epoch's and those of the ones before, whose late evidence may still come."""


class Standing:
    """Parameters, institutions, authorities and windows at the final head."""

    def __init__(self, leaves: Mapping[bytes, bytes] | None = None) -> None:
        self._institutions: dict[int, Institution] = {}
        self._windows: dict[bytes, Window] = {}
        self._sets: dict[int, AuthoritySet] = {}
        self._emergencies: dict[int, Emergencies] = {}
        self._newest = -1
        self.params = Params()
        self.institutions: Mapping[int, Institution] = MappingProxyType(self._institutions)
        """By number, as they stand at the head."""
        self.emergencies: Mapping[int, Emergencies] = MappingProxyType(self._emergencies)
        """What institutions did in emergencies, by number; one that never did anything is left out."""
        self.update(leaves or {})

    def update(self, leaves: Mapping[bytes, bytes]) -> None:
        """Take over what changed with a final block (state leaves by key)."""
        for key, raw in leaves.items():
            kind = key[0]
            if kind == keys.KIND_WINDOW:
                window = decode_leaf(key, raw)
                assert isinstance(window, Window)
                self._windows[key] = window
            elif kind == keys.KIND_INSTITUTION:
                institution = decode_leaf(key, raw)
                assert isinstance(institution, Institution)
                self._institutions[int.from_bytes(key[1:], "big")] = institution
            elif kind == keys.KIND_EMERGENCIES:
                emergencies = decode_leaf(key, raw)
                assert isinstance(emergencies, Emergencies)
                self._emergencies[int.from_bytes(key[1:], "big")] = emergencies
            elif kind == keys.KIND_PARAMS:
                params = decode_leaf(key, raw)
                assert isinstance(params, Params)
                self.params = params
            elif kind == keys.KIND_AUTHORITIES:
                authorities = decode_leaf(key, raw)
                assert isinstance(authorities, AuthoritySet)
                self._take_set(authorities)

    def _take_set(self, authorities: AuthoritySet) -> None:
        self._sets[authorities.epoch] = authorities
        self._newest = max(self._newest, authorities.epoch)
        for epoch in [epoch for epoch in self._sets if epoch <= self._newest - SETS_KEPT]:
            del self._sets[epoch]

    @property
    def authorities(self) -> AuthoritySet:
        """The authorities of the epoch that the next block belongs to."""
        return self._sets[self._newest]

    def authorities_of(self, epoch: int) -> AuthoritySet | None:
        """Those of this epoch, if it is the next block's or one of the `SETS_KEPT - 1` before it."""
        return self._sets.get(epoch)

    def institution(self, number: int) -> Institution | None:
        """The institution as it stands at the head."""
        return self._institutions.get(number)

    def name(self, number: int) -> str:
        """What the institution is called; a placeholder for a number that is not taken yet."""
        found = self._institutions.get(number)
        return f"institution {number}" if found is None else found.name

    def window(self, institution: int, key: int) -> Window:
        """The window of one operations key."""
        return self._windows.get(keys.window(institution, key), FRESH)

    def operation_key(self, institution: int, key: int) -> bytes:
        """The public key that a transaction must be signed with. Raises `UnknownInstitution` or `UnknownKey`."""
        leaf = self._institutions.get(institution)
        if leaf is None:
            raise UnknownInstitution(f"no institution has number {institution}")
        if key >= len(leaf.operation_keys):
            raise UnknownKey(f"institution {institution} has no operations key {key}")
        public = leaf.operation_keys[key]
        if public == RETIRED_KEY:
            raise UnknownKey(f"operations key {key} of institution {institution} is retired")
        return public

    def fits(self, raw: bytes) -> bool:
        """Whether a block of this chain has room for the transaction, by the parameters as they are now."""
        return len(raw) <= self._room()

    def _room(self) -> int:
        return min(limits.TRANSACTION_BYTES, room_in(self.params.block_bytes) - TRANSACTION_OVERHEAD_BYTES)

    def check_fits(self, raw: bytes) -> None:
        """Raise `Oversize` for a transaction that no block of this chain has room for: it would wait until it expires.

        No rule of the ledger, and so not asked of what stands in a block.
        """
        if not self.fits(raw):
            raise Oversize(f"a transaction of {len(raw)} bytes is over this chain's limit of {self._room()}")

    def check_fresh(self, entry: Entry, ledger_ms: int) -> None:
        """Raise `Expired` or `Replayed` for what can never become final after ledger time `ledger_ms`."""
        body = entry.body
        if body.valid_until <= ledger_ms:
            raise Expired
        if used(self.window(body.institution, body.key), body.number, limits.WINDOW_BITS_INSTITUTION):
            raise Replayed


class Head(Protocol):
    """What is stored of the final head."""

    @property
    def header(self) -> Header: ...


class LeafStore(Protocol):
    """The final state on disk."""

    async def head(self) -> Head | None: ...

    async def read_leaves(self, wanted: Sequence[bytes]) -> dict[bytes, bytes]: ...


async def standing_leaves(store: LeafStore) -> dict[bytes, bytes]:
    """Parameters, institutions, windows and the latest authority sets as they stand on disk."""
    head = await store.head()
    assert head is not None
    counters = decode_leaf(keys.COUNTERS, (await store.read_leaves([keys.COUNTERS]))[keys.COUNTERS])
    assert isinstance(counters, Counters)
    wanted = [keys.PARAMS]
    for number in range(counters.institutions):
        wanted += [keys.institution(number), keys.emergencies(number)]
        wanted += [keys.window(number, index) for index in range(limits.OPERATION_KEYS_PER_INSTITUTION)]
    epoch = head.header.child_epoch
    wanted += [keys.authorities(one) for one in range(max(0, epoch - SETS_KEPT + 1), epoch + 1)]
    return await store.read_leaves(wanted)
