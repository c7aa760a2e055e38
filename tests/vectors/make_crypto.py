"""Writes tests/vectors/crypto/*.json: `python tests/vectors/make_crypto.py`.

All inputs are derived from their names, so the files come out the same each time. What libsodium and HPKE seal draws
its own randomness; those cases are made once, kept, and checked by opening them (`--fresh` makes them anew).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
for entry in (str(ROOT), str(FOLDER)):
    if entry not in sys.path:
        sys.path.insert(0, entry)

from ed25519_edges import L, edge_cases  # noqa: E402 - needs the path above

from protocol import limits  # noqa: E402
from protocol.codec.canonical import encode  # noqa: E402
from protocol.crypto import (  # noqa: E402  # noqa: E402
    commitments,
    details,
    envelopes,
    keyfiles,
    placement,
    pseudonyms,
    sealing,
    shares,
    tags,
    wallet,
)
from protocol.crypto.fields import json_fields  # noqa: E402
from protocol.crypto.hashing import Domain, digest, encryption_key_digest, keyed_digest  # noqa: E402
from protocol.crypto.merkle import merkle_path, merkle_root  # noqa: E402
from protocol.crypto.signing import (  # noqa: E402
    APPLICATION_LABEL,
    COSIGNATURE_LABEL,
    POSSESSION_LABEL,
    TRANSACTION_LABEL,
    VOTE_LABEL,
    SigningKey,
    verify,
)

Cases = list[dict[str, Any]]

RECORD = (
    '{\n  "resourceType": "Immunization",\n  "id": "a/b~c",\n  "status": "completed",\n'
    '  "vaccineCode": {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "207", '
    '"display": "Zo\\u00eb\'s dose, caf\u00e9"}]},\n  "occurrenceDateTime": "2021-05-04",\n'
    '  "doseQuantity": {"value": 0.50, "unit": "mL"},\n  "primarySource": true,\n  "note": [], "a/b": {"m~n": null}\n}'
).encode()


def material(name: str, length: int) -> bytes:
    """Bytes that look random and depend on nothing but a name."""
    blocks = (sha512(f"{name} {i}".encode()).digest() for i in range(length // 64 + 1))
    return b"".join(blocks)[:length]


def hashing() -> Cases:
    names = {value: key for key, value in vars(Domain).items() if isinstance(value, bytes)}
    cases: Cases = []
    for label, name in sorted(names.items()):
        data = material(name, 40)
        cases.append(
            {"domain": name, "label": label.decode(), "input": data.hex(), "digest": digest(label, data).hex()}
        )
    key, data = material("key", 32), material("keyed", 40)
    digested = keyed_digest(Domain.TAG, key, data)
    cases.append({"domain": "TAG", "label": "cl/tag", "key": key.hex(), "input": data.hex(), "digest": digested.hex()})
    return cases


def merkle() -> Cases:
    cases: Cases = []
    for count in (0, 1, 2, 3, 4, 5, 7, 8, 13):
        leaves = [material(f"leaf {i}", 32) for i in range(count)]
        paths = [[step.hex() for step in merkle_path(leaves, i)] for i in range(count)]
        cases.append({"leaves": [x.hex() for x in leaves], "root": merkle_root(leaves).hex(), "paths": paths})
    return cases


def signing() -> Cases:
    cases: Cases = []
    for label in (TRANSACTION_LABEL, COSIGNATURE_LABEL, VOTE_LABEL, POSSESSION_LABEL, APPLICATION_LABEL):
        seed, body = material(label.decode(), 32), material("body", 50)
        key = SigningKey(seed)
        cases.append(
            {
                "label": label.hex(),
                "seed": seed.hex(),
                "public": key.public.hex(),
                "message": (label + body).hex(),
                "signature": key.sign(label + body).hex(),
            }
        )
    return cases


def ed25519() -> Cases:
    secret = int.from_bytes(sha512(b"secret").digest(), "little") % L
    return [
        {
            "name": name,
            "public": public.hex(),
            "message": message.hex(),
            "signature": signature.hex(),
            "accepted": verify(public, message, signature),
        }
        for name, public, message, signature in edge_cases(secret)
    ]


def padme() -> Cases:
    lengths = [0, 1, 1023, 1024, 1025, 1055, 1056, 2047, 2048, 2049, 65536, 65537, 10**6, 10**9, 2**40 + 1]
    return [{"length": length, "padded": sealing.padme(length)} for length in lengths]


def secretbox() -> Cases:
    key, nonce = material("kek", 32), material("nonce", 24)
    cases: Cases = []
    for aad in (b"", b"record key of chart 7"):
        plain = material("record key", 32)
        sealed = sealing.secretbox_seal(key, nonce, plain, aad)
        cases.append({"key": key.hex(), "aad": aad.hex(), "plain": plain.hex(), "sealed": sealed.hex()})
    return cases


def fields() -> Cases:
    documents = {
        "a resource": RECORD,
        "equal names: the last counts": b'{"a":1,"b":{"c":2},"a":3,"b":{"d":4}}',
        "pointers are sorted as bytes": '{"b":1,"a":{"z":2,"\u00e9":3},"a.":4,"\U0001f600":5,"\uffee":6}'.encode(),
        "numbers stay as they stand": b'{"a":[-0,1E+5,1e999,10.50,9007199254740993]}',
        "escapes in names": b'{"\\u0061\\/~":1,"":2}',
        "white space around": b' \t\r\n{ "a" : "x" }\n',
        "empty": b"{}",
        "an array": b"[1,2]",
        "a scalar": b'"x"',
        "not JSON": b'{"a":01}',
        "two values": b'{"a":1} {"b":2}',
        "a byte order mark": b'\xef\xbb\xbf{"a":1}',
        "not UTF-8": b'{"a":"\xff"}',
        "a lone surrogate": b'{"a":"\\ud800"}',
        "as deep as may be": b'{"a":' + b"[" * 63 + b"1" + b"]" * 63 + b"}",
        "too deep": b'{"a":' + b"[" * 64 + b"1" + b"]" * 64 + b"}",
        "a pointer as long as may be": ('{"' + "\u00e9" * 511 + 'a":1}').encode(),
        "a pointer too long": ('{"' + "\u00e9" * 512 + '":1}').encode(),
        "too long a pointer to nothing": b'{"a":1,"' + b"b" * 1_024 + b'":[]}',
    }
    return [
        {"name": name, "bytes": data.hex(), "fields": [[pointer, value.hex()] for pointer, value in json_fields(data)]}
        for name, data in documents.items()
    ]


def commitment() -> Cases:
    cases: Cases = []
    many = json.dumps({f"f{i}": i for i in range(40)}).encode()
    for name, data in (("opaque bytes", material("scan", 100)), ("a resource", RECORD), ("forty fields", many)):
        opening = commitments.Opening(material(f"salt {name}", 64), material(f"secret {name}", 32))
        found = json_fields(data)
        case: dict[str, Any] = {
            "name": name,
            "bytes": data.hex(),
            "salt": opening.salt.hex(),
            "secret": opening.secret.hex(),
            "commitment": commitments.commit(data, found, opening).hex(),
            "bytes_proof": encode(commitments.bytes_proof(data, found, opening)).hex(),
            "field_proofs": [
                [pointer, value.hex(), encode(commitments.field_proof(data, found, opening, pointer)).hex()]
                for pointer, value in found[:3]
            ],
        }
        cases.append(case)
    return cases


def tag() -> Cases:
    secret = material("chart secret", 32)
    labels = [("Observation", 0), ("2021", 1), ("none", 2), ("none", 3), ("caf\u00e9", 0)]
    return [
        {
            "chart_secret": secret.hex(),
            "generation": generation,
            "position": position,
            "label": label,
            "tag": tags.tag(secret, generation, position, label).hex(),
        }
        for generation in (0, 1, 2**40)
        for label, position in labels
    ]


def wallets() -> Cases:
    cases: Cases = []
    for name in ("wallet 1", "wallet 2"):
        seed, chain = material(name, 32), material("chain", 32)
        charts = []
        for custodian, index in ((0, 0), (0, 1), (1, 0), (65535, 7)):
            keys = wallet.chart_keys(seed, chain, custodian, index)
            charts.append(
                {
                    "custodian": custodian,
                    "index": index,
                    "signing_seed": keys.signing_seed.hex(),
                    "chart_secret": keys.chart_secret.hex(),
                    "encryption_seed": keys.encryption_seed.hex(),
                }
            )
        words = wallet.words_from_entropy(seed)
        cases.append({"seed": seed.hex(), "words": words, "chain": chain.hex(), "charts": charts})
    return cases


def versions() -> Cases:
    """Keys after rotations: the chart's secret stays."""
    cases: Cases = []
    seed, chain = material("wallet 1", 32), material("chain", 32)
    for custodian, index, version in ((0, 0, 0), (0, 0, 1), (0, 0, 2), (3, 1, 1), (3, 1, 2**32 - 1)):
        keys = wallet.chart_keys(seed, chain, custodian, index, version)
        cases.append(
            {
                "seed": seed.hex(),
                "chain": chain.hex(),
                "custodian": custodian,
                "index": index,
                "version": version,
                "signing_seed": keys.signing_seed.hex(),
                "chart_secret": keys.chart_secret.hex(),
                "encryption_seed": keys.encryption_seed.hex(),
            }
        )
    return cases


def acting() -> Cases:
    """What delegates and guardians of a chart sign with."""
    cases: Cases = []
    seed, chain = material("wallet 1", 32), material("chain", 32)
    for chart in (0, 7, 2**40 - 1):
        delegate = wallet.delegate_keys(seed, chain, chart)
        cases.append(
            {
                "seed": seed.hex(),
                "chain": chain.hex(),
                "chart": chart,
                "delegate_signing_seed": delegate.signing_seed.hex(),
                "delegate_encryption_seed": delegate.encryption_seed.hex(),
                "guardian_public": wallet.guardian_key(seed, chain, chart).public.hex(),
            }
        )
    return cases


def practitioners() -> Cases:
    stable, chain = material("encryption seed", 32), material("chain", 32)
    secret = pseudonyms.practitioner_secret(stable, chain)
    return [
        {
            "encryption_seed": stable.hex(),
            "chain": chain.hex(),
            "secret": secret.hex(),
            "chart": chart,
            "staff": staff,
            "pseudonym": pseudonyms.pseudonym(secret, chart, staff).hex(),
        }
        for chart, staff in ((0, "4711"), (7, "4711"), (7, "4712"), (2**40 - 1, "caf\u00e9"))
    ]


def keyfile() -> Cases:
    passphrase, plain = "correct horse, caf\u00e9".encode(), material("keys", 96)
    cost = keyfiles.Cost(passes=2, memory_kib=64)
    data = keyfiles.seal_keyfile(plain, passphrase, material("salt", 16), material("nonce", 24), cost)
    return [{"passphrase": passphrase.hex(), "plain": plain.hex(), "file": data.hex()}]


def keypairs() -> Cases:
    seed = material("encryption seed", 32)
    pairs = [(suite, envelopes.keypair_from_seed(suite, seed)[1]) for suite in envelopes.SUITES]
    return [{"suite": suite, "seed": seed.hex(), "public": public.hex()} for suite, public in pairs]


def said() -> Cases:
    """What askers say in confidence."""
    longest = "\U0001f3e5" * limits.DETAIL_CHARACTERS
    reason = "\U0001f3e5" * limits.DETAIL_REASON_CHARACTERS
    cases: Cases = []
    for name, one in (
        ("nothing", details.Details()),
        ("an emergency", details.Details("s-17", "O'Neill", "Zoë", "registrar", "found unconscious", "case 4711")),
        ("the longest", details.Details(longest, longest, longest, longest, reason, longest)),
    ):
        opening = details.DetailsOpening(material(f"salt {name}", 64), one)
        commitment = details.commit_details(opening).hex()
        fields = {field: getattr(one, field) for field in one.__struct_fields__}
        opened = encode(opening).hex()
        cases.append({"name": name, "details": fields, "opening": opened, "commitment": commitment})
    return cases


def sealed() -> Cases:
    """Drawn: opened, never compared."""
    cases: Cases = []
    for name, plain in (("empty", b""), ("a resource", RECORD), ("incompressible", material("noise", 3000))):
        key = material(f"key {name}", 32)
        cases.append({"name": name, "key": key.hex(), "plain": plain.hex(), "sealed": sealing.seal(plain, key).hex()})
    long, key = material("two chunks", 66_000), material("key long", 32)
    cases.append(
        {
            "name": "two chunks",
            "key": key.hex(),
            "plain_sha256": sha256(long).hexdigest(),
            "sealed": sealing.seal(long, key).hex(),
        }
    )
    return cases


def envelope() -> Cases:
    """Drawn: opened, never compared."""
    cases: Cases = []
    for suite in envelopes.SUITES:
        seed, plain = material("recipient seed", 32), material("record key", 32)
        _, public = envelopes.keypair_from_seed(suite, seed)
        info = envelopes.envelope_info(material("chain", 32), 7, material("record", 32), material("recipient", 32))
        made = envelopes.seal_envelope(suite, public, info, plain)
        cases.append(
            {"suite": suite, "seed": seed.hex(), "info": info.hex(), "plain": plain.hex(), "sealed": made.hex()}
        )
    return cases


def placement_lists() -> Cases:
    cases: Cases = []
    for chart, writer, institutions in ((0, 0, 4), (7, 2, 5), (7, 3, 5), (1_000_000, 65_534, 12)):
        chain = material("chain", 32)
        order = placement.ranked(chain, chart, writer, range(institutions))
        scores = [placement.score(chain, chart, writer, one).hex() for one in range(institutions)]
        names = {"chain": chain.hex(), "chart": chart, "writer": writer}
        cases.append(names | {"scores": scores, "ranked": order})
    return cases


def split() -> Cases:
    cases: Cases = []
    for threshold, count in ((2, 2), (2, 3), (3, 4), (5, 8)):
        key = material(f"split {count}", 32)
        made = shares.split_key(key, threshold, count)
        listed = [{"index": one.index, "share": one.share.hex()} for one in made]
        cases.append({"key": key.hex(), "threshold": threshold, "shares": listed})
    return cases


def sealed_details() -> Cases:
    """Drawn: opened, never compared."""
    cases: Cases = []
    for suite in envelopes.SUITES:
        seed, chain = material("owner seed", 32), material("chain", 32)
        _, public = envelopes.keypair_from_seed(suite, seed)
        opening = details.DetailsOpening(material("salt", 64), details.Details("s-17", "O'Neill", reason="follow-up"))
        commitment = details.commit_details(opening)
        info = details.details_info(chain, 7, commitment, encryption_key_digest(suite, public))
        made = details.seal_details(suite, public, info, opening)
        cases.append(
            {
                "suite": suite,
                "seed": seed.hex(),
                "chain": chain.hex(),
                "chart": 7,
                "commitment": commitment.hex(),
                "opening": encode(opening).hex(),
                "sealed": made.hex(),
            }
        )
    return cases


COMPUTED: dict[str, Callable[[], Cases]] = {
    "hashing": hashing,
    "merkle": merkle,
    "signing": signing,
    "ed25519": ed25519,
    "padme": padme,
    "secretbox": secretbox,
    "fields": fields,
    "commitments": commitment,
    "tags": tag,
    "wallet": wallets,
    "versions": versions,
    "acting": acting,
    "practitioners": practitioners,
    "keyfiles": keyfile,
    "keypairs": keypairs,
    "placement": placement_lists,
    "details": said,
}
DRAWN: dict[str, Callable[[], Cases]] = {
    "sealed": sealed,
    "envelopes": envelope,
    "shares": split,
    "sealed_details": sealed_details,
}


def main() -> None:
    """Write every file."""
    folder = FOLDER / "crypto"
    folder.mkdir(exist_ok=True)
    for name, make in (COMPUTED | DRAWN).items():
        path = folder / f"{name}.json"
        if name in DRAWN and path.exists() and "--fresh" not in sys.argv:
            continue
        path.write_text(json.dumps(make(), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
