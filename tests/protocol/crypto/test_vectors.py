"""The golden vectors of tests/vectors/crypto: each is what this code computes, and what it accepts."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from protocol.codec.canonical import decode
from protocol.crypto import commitments, envelopes, fields, hashing, keyfiles, merkle, sealing, shares, signing, wallet
from protocol.errors import SealBroken

Vectors = Callable[[str], Any]
COMPUTED = (
    "hashing", "merkle", "signing", "ed25519", "padme", "secretbox",
    "fields", "commitments", "tags", "wallet", "versions", "acting", "practitioners", "keyfiles", "keypairs",
    "placement", "details",
)  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_is_as_published(name: str, vectors: Vectors, generator: Callable[[str], ModuleType]) -> None:
    assert generator("make_crypto").COMPUTED[name]() == vectors(f"crypto/{name}")


def test_no_vector_file_is_left_unread(generator: Callable[[str], ModuleType]) -> None:
    module = generator("make_crypto")
    assert set(COMPUTED) == set(module.COMPUTED)
    present = {path.stem for path in (Path(module.FOLDER) / "crypto").glob("*.json")}
    assert present == set(module.COMPUTED) | set(module.DRAWN)


def test_every_label_has_a_vector(vectors: Vectors) -> None:
    labels = {name for name, value in vars(hashing.Domain).items() if isinstance(value, bytes)}
    assert labels == {case["domain"] for case in vectors("crypto/hashing")}


def test_ed25519_edges(vectors: Vectors) -> None:
    cases = vectors("crypto/ed25519")
    for case in cases:
        key, message, signature = (bytes.fromhex(case[name]) for name in ("public", "message", "signature"))
        assert signing.verify(key, message, signature) is case["accepted"], case["name"]
    # The rules themselves, so that a new libsodium with other ones is noticed even if the file is made anew.
    accepted = {case["name"] for case in cases if case["accepted"]}
    assert accepted == {"honest", "key and R of mixed order, equation holds", "key of mixed order, equation holds"}


def test_merkle_paths_lead_to_the_published_root(vectors: Vectors) -> None:
    for case in vectors("crypto/merkle"):
        leaves = [bytes.fromhex(leaf) for leaf in case["leaves"]]
        for index, path in enumerate(case["paths"]):
            steps = [bytes.fromhex(step) for step in path]
            merkle.merkle_check(bytes.fromhex(case["root"]), leaves[index], index, len(leaves), steps)


def test_sealed_records_open(vectors: Vectors) -> None:
    for case in vectors("crypto/sealed"):
        plain = sealing.open_sealed(bytes.fromhex(case["sealed"]), bytes.fromhex(case["key"]))
        if "plain" in case:
            assert plain == bytes.fromhex(case["plain"])
        else:
            assert sha256(plain).hexdigest() == case["plain_sha256"]


def test_envelopes_open(vectors: Vectors) -> None:
    for case in vectors("crypto/envelopes"):
        private, _ = envelopes.keypair_from_seed(case["suite"], bytes.fromhex(case["seed"]))
        info, sealed = bytes.fromhex(case["info"]), bytes.fromhex(case["sealed"])
        assert envelopes.open_envelope(case["suite"], private, info, sealed) == bytes.fromhex(case["plain"])
        with pytest.raises(SealBroken):
            envelopes.open_envelope(case["suite"], private, info + b"\0", sealed)


def test_shares_give_their_key(vectors: Vectors) -> None:
    for case in vectors("crypto/shares"):
        made = [shares.KeyShare(x["index"], case["threshold"], bytes.fromhex(x["share"])) for x in case["shares"]]
        for chosen in combinations(made, case["threshold"]):
            assert shares.combine_shares(chosen).hex() == case["key"]


def test_commitments_open_as_published(vectors: Vectors) -> None:
    for case in vectors("crypto/commitments"):
        data, commitment = bytes.fromhex(case["bytes"]), bytes.fromhex(case["commitment"])
        opening = commitments.Opening(bytes.fromhex(case["salt"]), bytes.fromhex(case["secret"]))
        commitments.check_record(commitment, data, opening)
        commitments.check_bytes(commitment, data, decode(commitments.LeafProof, bytes.fromhex(case["bytes_proof"])))
        found = dict(fields.json_fields(data))
        for pointer, value, proof in case["field_proofs"]:
            assert found[pointer] == bytes.fromhex(value)
            shown = decode(commitments.LeafProof, bytes.fromhex(proof))
            commitments.check_field(commitment, pointer, bytes.fromhex(value), shown)


def test_key_files_and_words_open(vectors: Vectors) -> None:
    for case in vectors("crypto/keyfiles"):
        plain = keyfiles.open_keyfile(bytes.fromhex(case["file"]), bytes.fromhex(case["passphrase"]))
        assert plain == bytes.fromhex(case["plain"])
    for case in vectors("crypto/wallet"):
        assert wallet.entropy_from_words(case["words"]) == bytes.fromhex(case["seed"])


def test_published_vectors_of_others() -> None:
    """BIP39's own (Trezor's list), X-Wing's (draft-connolly-cfrg-xwing-kem, appendix) and RFC 8032's first."""
    assert wallet.words_from_entropy(bytes(32)) == "abandon " * 23 + "art"
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    _, public = envelopes.keypair_from_seed(envelopes.MLKEM768_X25519, seed)
    assert public.hex().startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d")
    key = signing.SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
