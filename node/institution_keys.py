"""Fresh keys for an institution, and the public card by which it enters a genesis.

Relies on `protocol.crypto` and `node.network.certificates`. Used by `chartledger node init` and by devnets.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from node.genesis_file import GenesisUnreadable, InstitutionEntry, entry_of, institution_of
from node.keystore import EncryptionKey, Keystore, NetworkKey
from node.network.certificates import make_certificate
from protocol.codec.canonical import decode, encode
from protocol.crypto.envelopes import MLKEM768_X25519, keypair_from_seed
from protocol.crypto.hashing import encryption_key_digest
from protocol.crypto.signing import SigningKey, apply_as
from protocol.errors import ChartledgerError
from protocol.types.governance import Application
from protocol.types.institutions import STATUS_ACCREDITED, Institution

CARD_BYTES = 64 * 1024


class NewInstitution(NamedTuple):
    """`outside` are the seeds of operations keys that stay off the node, in the order of their indexes on the ledger,
    which follow the node's own."""

    public: Institution
    keystore: Keystore
    outside: tuple[bytes, ...]


def new_institution(
    name: str, outside_keys: int = 0, draw: Callable[[int], bytes] = secrets.token_bytes
) -> NewInstitution:
    """Draw an institution's keys: one operations key for the node and `outside_keys` for other machines."""
    network = new_network_key(name, draw)
    encryption = EncryptionKey(MLKEM768_X25519, draw(32))
    keystore = Keystore((draw(32),), (draw(32),), (network,), (encryption,), draw(32))
    outside = tuple(draw(32) for _ in range(outside_keys))
    public = Institution(
        name=name,
        status=STATUS_ACCREDITED,
        operation_keys=tuple(SigningKey(seed).public for seed in (*keystore.operations, *outside)),
        vote_key=SigningKey(keystore.votes[0]).public,
        network_certificates=(network.certificate,),
        encryption_suite=encryption.suite,
        encryption_key=encryption_digest(encryption),
    )
    return NewInstitution(public, keystore, outside)


def application(made: NewInstitution, chain: bytes) -> Application:
    """What the institution asks to be accredited as on this chain, with proof that it holds its signing keys."""
    operations = [SigningKey(seed) for seed in (*made.keystore.operations, *made.outside)]
    return apply_as(chain, made.public, operations, SigningKey(made.keystore.votes[0]))


def new_network_key(name: str, draw: Callable[[int], bytes] = secrets.token_bytes) -> NetworkKey:
    """A fresh network key, with its certificate in the institution's name."""
    seed = draw(32)
    return NetworkKey(seed, make_certificate(seed, name))


def encryption_digest(key: EncryptionKey) -> bytes:
    """What stands on the ledger for an encryption key."""
    _, public = keypair_from_seed(key.suite, key.seed)
    return encryption_key_digest(key.suite, public)


def write_card(path: Path, institution: Institution) -> None:
    """Write the public card (JSON), which whoever makes the genesis collects."""
    card = entry_of(0, institution)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")


def read_card(path: Path) -> Institution:
    """The institution on the card at `path`. Raises `GenesisUnreadable`."""
    advice = "Ask that institution for its institution.json again; `chartledger node init` made it."
    try:
        entry = msgspec.json.decode(path.read_bytes()[:CARD_BYTES], type=InstitutionEntry)
        institution = institution_of(entry)
        return decode(Institution, encode(institution))
    except OSError as error:
        raise GenesisUnreadable(f"cannot read {path}: {error.strerror}", advice=advice) from None
    except (msgspec.DecodeError, ValueError, RecursionError, ChartledgerError) as error:
        raise GenesisUnreadable(f"{path} is not an institution's card: {error}", advice=advice) from None
