"""docs/spec/cryptography.md written down again from its text, without the code, and checked against the vectors.

Nothing of `protocol` is imported here: if the page and the code part, one of these fails.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Vectors = Callable[[str], Any]


def digest(label: str, *data: bytes) -> bytes:
    return hashlib.blake2b(b"".join(data), digest_size=32, person=label.encode().ljust(16, b"\0")).digest()


def keyed_digest(label: str, key: bytes, data: bytes, size: int = 32) -> bytes:
    return hashlib.blake2b(data, digest_size=size, key=key, person=label.encode().ljust(16, b"\0")).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    return digest("cl/merkle/root", len(leaves).to_bytes(8, "big"), top(leaves) if leaves else b"")


def top(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962's recursion: the left part is the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return digest("cl/merkle/node", top(leaves[:split]), top(leaves[split:]))


def commitment(record: bytes, fields: Sequence[tuple[str, bytes]], salt: bytes, secret: bytes) -> bytes:
    count = 16
    while count < len(fields) + 1:
        count *= 2
    stream = hashlib.shake_256(b"cl/commit/stream" + secret).digest(32 * count + 8 * (count - 1))
    salts = [stream[32 * i : 32 * i + 32] for i in range(count)]
    order = stream[32 * count :]
    items = sorted(range(count - 1), key=lambda j: (order[8 * j : 8 * j + 8], j))
    leaves = [digest("cl/commit/bytes", salts[0], record)]
    for position, item in enumerate(items, 1):
        if item < len(fields):
            pointer, value = fields[item][0].encode(), fields[item][1]
            size = len(pointer).to_bytes(4, "big")
            leaves.append(digest("cl/commit/field", salts[position], size, pointer, value))
        else:
            leaves.append(digest("cl/commit/dummy", salts[position]))
    return digest("cl/commit", salt, root(leaves))


def test_digests_and_trees(vectors: Vectors) -> None:
    for case in vectors("crypto/hashing"):
        data = bytes.fromhex(case["input"])
        if "key" in case:
            assert keyed_digest(case["label"], bytes.fromhex(case["key"]), data).hex() == case["digest"]
        else:
            assert digest(case["label"], data).hex() == case["digest"]
    for case in vectors("crypto/merkle"):
        assert root([bytes.fromhex(leaf) for leaf in case["leaves"]]).hex() == case["root"]


def test_commitments(vectors: Vectors) -> None:
    listed = {case["bytes"]: case["fields"] for case in vectors("crypto/fields")}
    for case in vectors("crypto/commitments"):
        if case["name"] == "forty fields":
            fields = sorted((f"/f{i}", str(i).encode()) for i in range(40))
        else:
            fields = [(pointer, bytes.fromhex(value)) for pointer, value in listed.get(case["bytes"], [])]
        salt, secret = bytes.fromhex(case["salt"]), bytes.fromhex(case["secret"])
        assert commitment(bytes.fromhex(case["bytes"]), fields, salt, secret).hex() == case["commitment"]


def test_details(vectors: Vectors) -> None:
    """The opening is an array of two: 64 bytes (MessagePack's bin 8), then the details as they are hashed."""
    for case in vectors("crypto/details"):
        opening = bytes.fromhex(case["opening"])
        assert opening[:3] == b"\x92\xc4\x40"
        assert digest("cl/details", opening[3:67], opening[67:]).hex() == case["commitment"]


def test_tags_and_wallet(vectors: Vectors) -> None:
    for case in vectors("crypto/tags"):
        data = case["generation"].to_bytes(8, "big") + bytes([case["position"]]) + case["label"].encode()
        assert keyed_digest("cl/tag", bytes.fromhex(case["chart_secret"]), data, 16).hex() == case["tag"]
    for case in vectors("crypto/wallet"):
        for chart in case["charts"]:
            place = chart["custodian"].to_bytes(8, "big") + chart["index"].to_bytes(4, "big")
            own = keyed_digest("cl/wallet/chart", bytes.fromhex(case["seed"]), bytes.fromhex(case["chain"]) + place)
            assert keyed_digest("cl/wallet/sign", own, b"").hex() == chart["signing_seed"]
            assert keyed_digest("cl/wallet/tags", own, b"").hex() == chart["chart_secret"]
            assert keyed_digest("cl/wallet/enc", own, b"").hex() == chart["encryption_seed"]


def test_rotated_keys_and_those_of_delegates_and_guardians(vectors: Vectors) -> None:
    for case in vectors("crypto/versions"):
        place = case["custodian"].to_bytes(8, "big") + case["index"].to_bytes(4, "big")
        root = keyed_digest("cl/wallet/chart", bytes.fromhex(case["seed"]), bytes.fromhex(case["chain"]) + place)
        version = case["version"]
        turned = keyed_digest("cl/wallet/vers", root, version.to_bytes(4, "big")) if version else root
        assert keyed_digest("cl/wallet/sign", turned, b"").hex() == case["signing_seed"]
        assert keyed_digest("cl/wallet/tags", root, b"").hex() == case["chart_secret"]
        assert keyed_digest("cl/wallet/enc", turned, b"").hex() == case["encryption_seed"]
    for case in vectors("crypto/acting"):
        seed, place = bytes.fromhex(case["seed"]), bytes.fromhex(case["chain"]) + case["chart"].to_bytes(8, "big")
        delegate = keyed_digest("cl/wallet/deleg", seed, place)
        assert keyed_digest("cl/wallet/sign", delegate, b"").hex() == case["delegate_signing_seed"]
        assert keyed_digest("cl/wallet/enc", delegate, b"").hex() == case["delegate_encryption_seed"]
        guardian = keyed_digest("cl/wallet/sign", keyed_digest("cl/wallet/guard", seed, place), b"")
        assert public_of(guardian).hex() == case["guardian_public"]


def public_of(seed: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.public_key().public_bytes_raw()


def test_practitioners_pseudonyms(vectors: Vectors) -> None:
    for case in vectors("crypto/practitioners"):
        secret = keyed_digest("cl/staff/secret", bytes.fromhex(case["encryption_seed"]), bytes.fromhex(case["chain"]))
        assert secret.hex() == case["secret"]
        of = case["chart"].to_bytes(8, "big") + case["staff"].encode()
        assert keyed_digest("cl/staff", secret, of, 16).hex() == case["pseudonym"]


def test_padme(vectors: Vectors) -> None:
    for case in vectors("crypto/padme"):
        length = case["length"]
        padded = 1024
        if length > 1024:
            e = length.bit_length() - 1
            unit = 1 << (e - math.floor(math.log2(e)) - 1)
            padded = -(-length // unit) * unit
        assert padded == case["padded"]


def test_names_of_what_is_on_the_wire(vectors: Vectors) -> None:
    for name, label, of in (
        ("genesis", "cl/chain", "chain_id"),
        ("header", "cl/block", "block_digest"),
        ("transaction-body", "cl/tx/id", "transaction_id"),
        ("transaction", "cl/tx/leaf", "transaction_digest"),
        ("grant", "cl/operation", "operation_digest"),
        ("motion", "cl/operation", "operation_digest"),
        ("authority-set", "cl/authorities", "authorities_digest"),
    ):
        for case in vectors(f"wire/{name}")["cases"]:
            assert digest(label, bytes.fromhex(case["bytes"])).hex() == case[of]
    for name, label in (
        ("transaction-body", "chartledger transaction v1"),
        ("cosignature-subject", "chartledger cosignature v1"),
        ("vote-subject", "chartledger vote v1"),
        ("possession-subject", "chartledger possession v1"),
        ("reading-pass-subject", "chartledger reading pass v1"),
        ("application-subject", "chartledger application v1"),
    ):
        for case in vectors(f"wire/{name}")["cases"]:
            assert bytes.fromhex(case["signed_message"]) == label.encode() + b"\0" + bytes.fromhex(case["bytes"])
