"""Which of the keys in this node's keystore count, as the ledger has it: matched by public key, never by position.

A keystore may hold more than the ledger knows: keys of a rotation that is not final, or of an institution that is not
accredited yet at this node's height. It may hold less, where other machines sign.
"""

from __future__ import annotations

from collections.abc import Mapping

from node.institution_keys import encryption_digest
from node.keystore import EncryptionKey, Keystore, NetworkKey
from protocol.crypto.signing import SigningKey
from protocol.errors import ChartledgerError
from protocol.types.institutions import Institution


class KeysMismatch(ChartledgerError):
    """The keystore's keys are not those of this institution on the ledger."""

    advice = "Check `institution`, `genesis` and `keystore` in the configuration: one of them is another node's."


def operation_keys(keystore: Keystore, leaf: Institution | None) -> dict[int, SigningKey]:
    """The operations keys that count and are here, by index."""
    if leaf is None:
        return {}
    held = {key.public: key for key in map(SigningKey, keystore.operations)}
    return {index: held[public] for index, public in enumerate(leaf.operation_keys) if public in held}


def network_key(keystore: Keystore, leaf: Institution | None) -> NetworkKey | None:
    """The newest network key that peers accept; without a leaf, which no peer here can have either, the newest."""
    if leaf is None:
        return keystore.network[-1]
    fit = [key for key in keystore.network if key.certificate in leaf.network_certificates]
    return fit[-1] if fit else None


def encryption_key(keystore: Keystore, leaf: Institution | None) -> EncryptionKey | None:
    """The key that others seal to now."""
    if leaf is None:
        return keystore.encryption[-1]
    fit = [key for key in keystore.encryption if encryption_digest(key) == leaf.encryption_key]
    return fit[-1] if fit else None


def votes_by_key(keystore: Keystore) -> Mapping[bytes, bytes]:
    """Seeds of vote keys by public key, oldest first."""
    return {SigningKey(seed).public: seed for seed in keystore.votes}


def strangers(keystore: Keystore, leaf: Institution, *, votes: bool) -> list[str]:
    """The kinds of keys of which the keystore holds none that the ledger has of this institution. `votes`: whether it
    is an authority, so that its vote key matters."""
    found = {
        "operations": bool(operation_keys(keystore, leaf)),
        "vote": not votes or leaf.vote_key in votes_by_key(keystore),
        "network": network_key(keystore, leaf) is not None,
        "encryption": encryption_key(keystore, leaf) is not None,
    }
    return [kind for kind, here in found.items() if not here]


def check_keys(keystore: Keystore, leaf: Institution | None, number: int) -> None:
    """Raise `KeysMismatch` unless the keystore is that of institution `number`, whose leaf this is (None: it is not
    accredited at this height). A vote key that lacks is no mismatch: it may have been lost; then the node follows."""
    if leaf is None:
        return
    strange = strangers(keystore, leaf, votes=False)
    if strange:
        raise KeysMismatch(
            f"the keystore holds no {strange[0]} key that the ledger has of institution {number}, {leaf.name}"
        )
