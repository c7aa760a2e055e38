"""New keys for an institution that is on the ledger: made, put into the keystore, and worded for the ledger.

Each is in the keystore, synced, before the ledger hears of it, so nothing stands there that no node holds. A vote key
gets its journal first: a seed in the keystore means that a journal was made for it, so a node that finds none knows
that votes may be lost. A rotation that was broken off goes on with the same key when it is begun again, unless `fresh`
asks for another: the ledger takes no key twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from node.institution_keys import encryption_digest, new_network_key
from node.keystore import ENCRYPTION_KEYS_KEPT, VOTE_KEYS, EncryptionKey, Keystore, KeystoreFile
from node.storage.journal import Journal, Owner, journal_path
from protocol import limits
from protocol.crypto.envelopes import MLKEM768_X25519
from protocol.crypto.signing import SigningKey, prove_possession
from protocol.errors import UnknownKey
from protocol.types.governance import (
    USE_OPERATIONS,
    USE_VOTE,
    AddNetworkCertificate,
    SetEncryptionKey,
    SetOperationsKey,
    SetVoteKey,
)
from protocol.types.institutions import RETIRED_KEY


def new_vote_key(
    keys: KeystoreFile, data: Path, chain: bytes, name: str, on_ledger: bytes, *, fresh: bool = False
) -> SetVoteKey:
    """Another vote key, with its journal in the data folder. `on_ledger`: the one that counts now (public).

    One that an earlier attempt left behind is taken again, unless its journal is gone. Blocks. Raises `KeyfileRefused`.
    """
    made: list[SigningKey] = []

    def edit(keystore: Keystore) -> Keystore:
        publics = [SigningKey(seed).public for seed in keystore.votes]
        newer = keystore.votes[publics.index(on_ledger) + 1 :] if on_ledger in publics else ()
        left = [key for key in map(SigningKey, newer) if journal_path(data, key.public).exists()]
        if left and not fresh:
            made.append(left[-1])
            return keystore
        seed = secrets.token_bytes(32)
        made.append(SigningKey(seed))
        Journal.create(data, Owner(chain, made[0].public))
        kept = [one for one, public in zip(keystore.votes, publics, strict=True) if public == on_ledger]
        others = [one for one in keystore.votes if one not in kept]
        room = VOTE_KEYS - 1 - len(kept)
        return replace(keystore, votes=(*others[max(0, len(others) - room) :], *kept, seed))

    keys.change(edit)
    return SetVoteKey(made[0].public, prove_possession(made[0], chain, name, USE_VOTE))


def new_operations_key(
    keys: KeystoreFile, chain: bytes, name: str, on_ledger: Sequence[bytes], *, fresh: bool = False
) -> SetOperationsKey:
    """Another operations key, in the place of a retired one or in a new one. `on_ledger`: public keys by index.

    Raises `UnknownKey` if there is no room, `KeyfileRefused`.
    """
    index = on_ledger.index(RETIRED_KEY) if RETIRED_KEY in on_ledger else len(on_ledger)
    if index >= limits.OPERATION_KEYS_PER_INSTITUTION:
        raise UnknownKey(
            f"there are {len(on_ledger)} operations keys, which is the most",
            advice="Retire one first: `chartledger keys retire operations INDEX`.",
        )
    made: list[SigningKey] = []

    def edit(keystore: Keystore) -> Keystore:
        held = [SigningKey(seed) for seed in keystore.operations]
        counting = [seed for seed, key in zip(keystore.operations, held, strict=True) if key.public in on_ledger]
        left = [key for key in held if key.public not in on_ledger]
        if left and held[-1] is left[-1] and not fresh:
            made.append(left[-1])
            return keystore
        seed = secrets.token_bytes(32)
        made.append(SigningKey(seed))
        return replace(keystore, operations=(*counting, seed))

    keys.change(edit)
    return SetOperationsKey(index, made[0].public, prove_possession(made[0], chain, name, USE_OPERATIONS))


def new_certificate(
    keys: KeystoreFile, name: str, on_ledger: Sequence[bytes], *, fresh: bool = False
) -> AddNetworkCertificate:
    """Another network key and its certificate. `on_ledger`: those that peers accept now (DER)."""

    def edit(keystore: Keystore) -> Keystore:
        if keystore.network[-1].certificate not in on_ledger and not fresh:
            return keystore
        counting = [key for key in keystore.network if key.certificate in on_ledger]
        return replace(keystore, network=(*counting, new_network_key(name)))

    return AddNetworkCertificate(keys.change(edit).network[-1].certificate)


def new_encryption_key(
    keys: KeystoreFile, on_ledger: bytes, *, fresh: bool = False, suite: int = MLKEM768_X25519
) -> SetEncryptionKey:
    """Another encryption key, of this suite. `on_ledger`: the digest of the one that counts now. Of the old ones as
    many stay as `ENCRYPTION_KEYS_KEPT` says: nothing lies anywhere that only they open."""

    def edit(keystore: Keystore) -> Keystore:
        newest = keystore.encryption[-1]
        if encryption_digest(newest) != on_ledger and newest.suite == suite and not fresh:
            return keystore
        made = EncryptionKey(suite, secrets.token_bytes(32))
        return replace(keystore, encryption=(*_kept(keystore.encryption, on_ledger), made))

    newest = keys.change(edit).encryption[-1]
    return SetEncryptionKey(newest.suite, encryption_digest(newest))


def _kept(held: Sequence[EncryptionKey], on_ledger: bytes) -> list[EncryptionKey]:
    """The oldest, the one that counts, and the newest others, oldest first: room is left for one."""
    needed = [index for index, key in enumerate(held) if index == 0 or encryption_digest(key) == on_ledger]
    others = [index for index in range(len(held)) if index not in needed]
    room = ENCRYPTION_KEYS_KEPT - 1 - len(needed)
    return [held[index] for index in sorted([*needed, *others[max(0, len(others) - room) :]])]


def forget(keys: KeystoreFile, retired: bytes) -> None:
    """Take an operations key (public) or a network key (its certificate) that the ledger retired out of the keystore.
    All others stay, those of a rotation that is not final yet too: the ledger may have them any moment."""

    def edit(keystore: Keystore) -> Keystore:
        kept = tuple(seed for seed in keystore.operations if SigningKey(seed).public != retired)
        network = tuple(key for key in keystore.network if key.certificate != retired)
        return replace(keystore, operations=kept or keystore.operations, network=network or keystore.network)

    keys.change(edit)
