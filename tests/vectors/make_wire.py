"""Writes tests/vectors/wire/*.json, one file a wire type: `python tests/vectors/make_wire.py`.

A case is a value in readable form (byte strings in hex, numbers, a union's member with its name and tag), its canonical
bytes and the digests that name it. `refused` lists bytes that a decoder of that type must not take, each made from the
first case by one change, with the error's code.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from hashlib import sha512
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).resolve().parent
if str(FOLDER.parents[1]) not in sys.path:
    sys.path.insert(0, str(FOLDER.parents[1]))

from protocol.codec.canonical import decode, encode  # noqa: E402 - needs the path above
from protocol.crypto import hashing, signing  # noqa: E402
from protocol.errors import DecodeError  # noqa: E402
from protocol.params import Params  # noqa: E402
from protocol.types import block, governance, institutions, operations, transaction, votes  # noqa: E402
from protocol.types.base import Wire  # noqa: E402

Case = dict[str, Any]


def material(name: str, length: int = 32) -> bytes:
    """Bytes that look random and depend on nothing but a name."""
    return (sha512(name.encode()).digest() * (length // 64 + 1))[:length]


def readable(value: Any) -> Any:
    """A wire value as JSON: bytes in hex, a struct by field names, a tagged one with `type` and `tag` first."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [readable(item) for item in value]
    if isinstance(value, Wire):
        members = {name: readable(getattr(value, name)) for name in value.__struct_fields__}
        tag = type(value).__struct_config__.tag
        return members if tag is None else {"type": type(value).__name__, "tag": tag} | members
    return value


# --- values ----------------------------------------------------------------------------------------------------

OWNER = signing.SigningKey(material("owner"))
SIGNER = signing.SigningKey(material("institution"))
VOTER = signing.SigningKey(material("voter"))
CHAIN = material("chain")
TAGS = tuple(material(f"tag {i}", 16) for i in range(4))


def _tag_lists(*, years: bool) -> operations.GrantTags:
    lists = [tuple(sorted(material(f"list {i} {j}", 16) for j in range(2))) for i in range(4)]
    return lists[0], lists[1] if years else None, lists[2], lists[3]


CERTIFICATE, ITS_ENC_KEY = material("certificate", 300), material("institution enc key")
INSTITUTION = institutions.Institution(
    "Klinik am See \u2014 Z\u00fcrich", 1, (SIGNER.public,), VOTER.public, (CERTIFICATE,), 1, ITS_ENC_KEY
)
assert INSTITUTION.status == institutions.STATUS_ACCREDITED
APPLICATION = signing.apply_as(CHAIN, INSTITUTION, (SIGNER,), VOTER)
CHANGES: list[governance.Change] = [
    governance.Accredit(APPLICATION),
    governance.Suspend(3),
    governance.Reinstate(3),
    governance.Remove(300),
    governance.GiveAuthority(70_000),
    governance.TakeAuthority(3),
    governance.ReplaceKeys(3, APPLICATION),
    governance.SetParameters((governance.Parameter("delta_ms", 250), governance.Parameter("drift_ms", 2**53 - 1))),
]
KEY_CHANGES: list[governance.KeyChange] = [
    governance.SetOperationsKey(
        1, SIGNER.public, signing.prove_possession(SIGNER, CHAIN, INSTITUTION.name, governance.USE_OPERATIONS)
    ),
    governance.RetireOperationsKey(0),
    governance.SetVoteKey(VOTER.public, signing.prove_possession(VOTER, CHAIN, INSTITUTION.name, governance.USE_VOTE)),
    governance.AddNetworkCertificate(material("newer certificate", 300)),
    governance.RetireNetworkCertificate(0),
    governance.SetEncryptionKey(2, material("newer enc key")),
]
EVIDENCE = governance.ReportEquivocation(
    *sorted(
        (
            signing.sign_vote(VOTER, votes.VoteSubject(votes.NULLIFY, CHAIN, 2, 15, 0, bytes(32)), 3),
            signing.sign_vote(VOTER, votes.VoteSubject(votes.FINALIZE, CHAIN, 2, 15, 0, material("block")), 3),
        ),
        key=encode,
    )
)
TERMS = operations.GrantTerms(
    (3, 5), _tag_lists(years=False), ("TREAT", "HRESCH"), 1_750_000_000_000, 1_760_000_000_000
)
TAG_LISTS = _tag_lists(years=True)
READING = signing.ReadingPassSubject(CHAIN, 300, 3, material("owner's envelope key"), 1_042, 1_900_000_600_000)
NEW_KEYS = operations.OwnerKeys(SIGNER.public, 1, material("newer enc key"))
MOVED = signing.OwnerPossessionSubject(CHAIN, 300, 4, NEW_KEYS)
POSSESSION = SIGNER.sign(signing.owner_possession_message(CHAIN, 300, 4, NEW_KEYS))
GUARDIANS = operations.Guardians(2, tuple(sorted(key.public for key in (OWNER, SIGNER, VOTER))))
BARS = (
    operations.Bar(None, (None, None, TAG_LISTS[2]), True),
    operations.Bar(70_000, (TAG_LISTS[0], TAG_LISTS[1], None)),
)
DELEGATE_TERMS = operations.DelegateTerms(
    SIGNER.public,
    1,
    material("delegate enc key"),
    operations.ACT_GRANT | operations.ACT_READ,
    TAG_LISTS,
    ("TREAT",),
    1_750_000_000_000,
    1_760_000_000_000,
)
WIDER = msgspec.structs.replace(
    TERMS, tags=TAG_LISTS, access=operations.ACCESS_READ | operations.ACCESS_WRITE, practitioners=tuple(sorted(TAGS))
)
OPERATIONS: dict[str, list[operations.Operation]] = {
    "open-chart": [operations.OpenChart(2, OWNER.public, 1, material("enc key"))],
    "move-chart": [operations.MoveChart(300, 2, 70_000)],
    "append-records": [
        operations.AppendRecords(0, (operations.RecordEntry(material("c1"), TAGS),)),
        operations.AppendRecords(
            2**40,
            (
                operations.RecordEntry(material("c1"), TAGS, 17),
                operations.RecordEntry(material("c2"), TAGS, 2**53 - 1, 600),
            ),
            (0, 3, 70_000),
            7,
        ),
    ],
    "grant": [operations.Grant(300, TERMS), operations.Grant(300, WIDER)],
    "revoke": [
        operations.Revoke(300, 2),
        operations.Revoke(
            300, 2, (operations.Reissue(5, TAG_LISTS),), (operations.DelegateReissue(1, TAG_LISTS),), BARS
        ),
    ],
    "disclose": [
        operations.Disclose(300, 2, (4, 5, 600), "TREAT"),
        operations.Disclose(300, None, (0,), "ETREAT", TAGS[0], material("details")),
    ],
    "motion": [governance.Motion(change, 1_750_000_900_000) for change in CHANGES],
    "ballot": [governance.Ballot(70, change, change is CHANGES[0]) for change in CHANGES],
    "rotate-institution-key": [governance.RotateInstitutionKey(change) for change in KEY_CHANGES],
    "report-equivocation": [EVIDENCE],
    "set-policy": [
        operations.SetPolicy(300, operations.Policy()),
        operations.SetPolicy(300, operations.Policy(operations.BreakGlassMode.FORBIDDEN, BARS)),
    ],
    "delegate": [operations.Delegate(300, DELEGATE_TERMS)],
    "end-delegate": [operations.EndDelegate(300, 63)],
    "set-guardians": [operations.SetGuardians(300, 4, GUARDIANS), operations.SetGuardians(300, 5, None)],
    "rotate-owner-key": [operations.RotateOwnerKey(300, 4, NEW_KEYS, POSSESSION)],
    "begin-recovery": [
        operations.BeginRecovery(300, 4, NEW_KEYS, POSSESSION),
        operations.BeginRecovery(300, 4, NEW_KEYS, POSSESSION, True),
    ],
    "cancel-recovery": [operations.CancelRecovery(300, 4)],
    "complete-recovery": [operations.CompleteRecovery(300, 4)],
    "break-glass": [
        operations.BreakGlass(300, (4, 5, 600), "ETREAT", material("justification")),
        operations.BreakGlass(300, (4,), "BTG", material("justification"), TAGS[0]),
    ],
    "confirm-break-glass": [operations.ConfirmBreakGlass(300, 70_000, 3, (1, 300, 69_999))],
    "review-break-glass": [
        operations.ReviewBreakGlass(300, 70_000, 3, True),
        operations.ReviewBreakGlass(300, 70_000, 3, False, material("findings")),
    ],
    "erase": [operations.Erase(300, (4, 5, 600), (0, 3, 70_000))],
    "erasure-receipt": [operations.ErasureReceipt(300, 70_000)],
    "hold": [
        operations.Hold(300, None, material("basis")),
        operations.Hold(300, (4, 5, 600), material("basis")),
    ],
    "release-hold": [operations.ReleaseHold(300, 2**24 - 1)],
}
OWNERS = (
    "open-chart",
    "grant",
    "revoke",
    "set-policy",
    "delegate",
    "end-delegate",
    "set-guardians",
    "rotate-owner-key",
    "cancel-recovery",
    "erase",
)


def signed(operation: operations.Operation, owners: bool) -> operations.SignedOperation:
    """With the owner's co-signature where the operation needs one."""
    if not owners:
        return operations.SignedOperation(operation)
    given = signing.cosign(OWNER, CHAIN, operation, operations.ROLE_OWNER, 9, 1_750_000_100_000)
    return operations.SignedOperation(operation, (given,))


def a_transaction(name: str) -> transaction.Transaction:
    listed = tuple(signed(operation, name in OWNERS) for operation in OPERATIONS[name])
    body = transaction.TransactionBody(CHAIN, 3, 0, 70_000, 1_750_000_060_000, listed)
    return signing.sign_transaction(SIGNER, body)


RAWS = tuple(encode(a_transaction(name)) for name in ("revoke", "append-records"))
HEADER = block.Header(
    block.BLOCK_VERSION,
    CHAIN,
    0,
    12,
    material("parent"),
    2,
    1_750_000_000_123,
    material("root"),
    material("state"),
    None,
)
AUTHORITIES = institutions.AuthoritySet(1, (institutions.Authority(1, VOTER.public, 0),))
ENDING = msgspec.structs.replace(HEADER, next_authorities=hashing.authorities_digest(AUTHORITIES))
BLOCK = block.Block(HEADER, RAWS)
NOTARIZE = votes.VoteSubject(votes.NOTARIZE, CHAIN, 0, 14, 12, hashing.block_digest(HEADER))
SUBJECTS = [
    NOTARIZE,
    votes.VoteSubject(votes.NULLIFY, CHAIN, 0, 15, 0, bytes(32)),
    votes.VoteSubject(votes.FINALIZE, CHAIN, 0, 14, 0, hashing.block_digest(HEADER)),
]
GENESIS = institutions.Genesis("vectors", 1_750_000_000_000, Params(), (INSTITUTION, INSTITUTION), (0, 1))


def certificate(subject: votes.VoteSubject) -> votes.Certificate:
    return votes.Certificate(
        subject, tuple((index, signing.sign_vote(VOTER, subject, index).signature) for index in (0, 2, 3))
    )


def _values() -> dict[str, tuple[Any, list[Wire]]]:
    """File name -> (type to decode as, values)."""
    table: dict[str, tuple[Any, list[Wire]]] = {
        name: (operations.Operation, list(listed)) for name, listed in OPERATIONS.items()
    }
    table |= {
        "record-entry": (operations.RecordEntry, [operations.RecordEntry(material("c1"), TAGS)]),
        "grant-terms": (operations.GrantTerms, [TERMS, WIDER]),
        "reissue": (operations.Reissue, [operations.Reissue(5, _tag_lists(years=True))]),
        "delegate-reissue": (operations.DelegateReissue, [operations.DelegateReissue(1, TAG_LISTS)]),
        "bar": (operations.Bar, list(BARS)),
        "policy": (operations.Policy, [operations.Policy(), operations.Policy(bars=BARS)]),
        "delegate-terms": (operations.DelegateTerms, [DELEGATE_TERMS]),
        "guardians": (operations.Guardians, [GUARDIANS]),
        "owner-keys": (operations.OwnerKeys, [NEW_KEYS]),
        "reading-pass-subject": (signing.ReadingPassSubject, [READING]),
        "owner-possession-subject": (signing.OwnerPossessionSubject, [MOVED]),
        "cosignature": (operations.Cosignature, [signed(OPERATIONS["grant"][0], True).cosignatures[0]]),
        "cosignature-subject": (
            signing.CosignatureSubject,
            [
                signing.CosignatureSubject(
                    CHAIN, hashing.operation_digest(OPERATIONS["grant"][0]), 1, 0, 9, 1_750_000_100_000
                )
            ],
        ),
        "signed-operation": (
            operations.SignedOperation,
            [signed(listed[0], name in OWNERS) for name, listed in OPERATIONS.items()],
        ),
        "transaction-body": (transaction.TransactionBody, [a_transaction("grant").body]),
        "transaction": (transaction.Transaction, [a_transaction(name) for name in OPERATIONS]),
        "header": (block.Header, [HEADER, ENDING]),
        "block": (block.Block, [BLOCK, block.Block(HEADER, ())]),
        "vote-subject": (votes.VoteSubject, list(SUBJECTS)),
        "vote": (votes.ConsensusMessage, [signing.sign_vote(VOTER, subject, 3) for subject in SUBJECTS]),
        "certificate": (votes.ConsensusMessage, [certificate(subject) for subject in SUBJECTS]),
        "proposal": (votes.ConsensusMessage, [votes.Proposal(BLOCK, signing.sign_vote(VOTER, NOTARIZE, 3))]),
        "fetch": (votes.ConsensusMessage, [votes.Fetch(0, 3, 5), votes.Fetch(0, 3, 300, (material("block"),))]),
        "body": (votes.ConsensusMessage, [votes.Body(BLOCK)]),
        "params": (Params, [Params()]),
        "institution": (
            institutions.Institution,
            [INSTITUTION, msgspec.structs.replace(INSTITUTION, vote_key_at=1_750_000_000_123)],
        ),
        "authority": (institutions.Authority, [AUTHORITIES.members[0]]),
        "authority-set": (institutions.AuthoritySet, [AUTHORITIES]),
        "application": (governance.Application, [APPLICATION]),
        "application-subject": (signing.ApplicationSubject, [signing.ApplicationSubject(CHAIN, INSTITUTION)]),
        "possession-subject": (
            signing.PossessionSubject,
            [
                signing.PossessionSubject(CHAIN, INSTITUTION.name, use, key.public)
                for use, key in ((governance.USE_OPERATIONS, SIGNER), (governance.USE_VOTE, VOTER))
            ],
        ),
        "parameter": (governance.Parameter, [governance.Parameter("delta_ms", 250)]),
        "genesis": (institutions.Genesis, [GENESIS]),
    }
    table |= {_kebab(change): (governance.Change, [change]) for change in CHANGES}
    table |= {_kebab(change): (governance.KeyChange, [change]) for change in KEY_CHANGES}
    return table


def _kebab(value: Wire) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(value).__name__).lower()


def digests(value: Any) -> dict[str, str]:
    """What names this value, and what is signed of it."""
    found: dict[str, bytes] = {}
    if isinstance(value, operations.Operation):
        found["operation_digest"] = hashing.operation_digest(value)
    elif isinstance(value, transaction.TransactionBody):
        found["transaction_id"] = hashing.transaction_id(value)
        found["signed_message"] = signing.transaction_message(value)
    elif isinstance(value, transaction.Transaction):
        found["transaction_id"] = hashing.transaction_id(value.body)
        found["transaction_digest"] = hashing.transaction_digest(encode(value))
    elif isinstance(value, block.Header):
        found["block_digest"] = hashing.block_digest(value)
    elif isinstance(value, votes.VoteSubject):
        found["signed_message"] = signing.vote_message(value)
    elif isinstance(value, signing.CosignatureSubject):
        found["signed_message"] = signing.cosignature_message(
            value.chain, value.operation, value.role, value.actor, value.number, value.expires_at
        )
    elif isinstance(value, signing.ReadingPassSubject):
        found["signed_message"] = signing.reading_pass_message(value)
    elif isinstance(value, signing.OwnerPossessionSubject):
        found["signed_message"] = signing.owner_possession_message(value.chain, value.chart, value.change, value.keys)
    elif isinstance(value, signing.ApplicationSubject):
        found["signed_message"] = signing.application_message(value.chain, value.institution)
    elif isinstance(value, signing.PossessionSubject):
        found["signed_message"] = signing.possession_message(value.chain, value.institution, value.use, value.key)
    elif isinstance(value, institutions.AuthoritySet):
        found["authorities_digest"] = hashing.authorities_digest(value)
    elif isinstance(value, institutions.Genesis):
        found["chain_id"] = hashing.chain_id(value)
    return {name: data.hex() for name, data in found.items()}


# --- what must be refused --------------------------------------------------------------------------------------


def pack(item: Any, longer: list[type]) -> bytes:
    """MessagePack as canonical, except that the first item of each type in `longer` takes one form too long."""
    if type(item) in longer:
        longer.remove(type(item))
        if isinstance(item, int):
            return b"\xcf" + item.to_bytes(8, "big") if item < 2**32 else b"\xcb" + _double(item)
        if isinstance(item, bytes):
            return b"\xc6" + len(item).to_bytes(4, "big") + item
        if isinstance(item, str):
            return b"\xdb" + len(item.encode()).to_bytes(4, "big") + item.encode()
        if isinstance(item, list):
            return b"\xdd" + len(item).to_bytes(4, "big") + b"".join(pack(x, longer) for x in item)
    if isinstance(item, list):
        head = bytes([0x90 | len(item)]) if len(item) < 16 else b"\xdc" + len(item).to_bytes(2, "big")
        return head + b"".join(pack(x, longer) for x in item)
    return msgspec.msgpack.encode(item)


def _double(number: int) -> bytes:
    import struct

    return struct.pack(">d", number)


def changed(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """(what was changed, bytes): one change each to the canonical bytes of a value."""
    tree = msgspec.msgpack.decode(raw)
    yield "empty", b""
    yield "last byte missing", raw[:-1]
    yield "a byte too many", raw + b"\xc0"
    yield "the value twice", raw + raw
    yield "array in a longer form", pack(tree, [list])
    if _holds(tree, int):
        yield "integer in a longer form, or a float", pack(tree, [int])
    if _holds(tree, bytes):
        yield "byte string in a longer form", pack(tree, [bytes])
    if _holds(tree, str):
        yield "text in a longer form", pack(tree, [str])
    yield "one item more", msgspec.msgpack.encode([*tree, None])
    yield "last item missing", msgspec.msgpack.encode(tree[:-1])
    yield "last item nil", msgspec.msgpack.encode([*tree[:-1], None])
    yield "first item negative", msgspec.msgpack.encode([-1, *tree[1:]])
    yield "first item beyond 53 bits", msgspec.msgpack.encode([2**53, *tree[1:]])
    yield "a map instead", msgspec.msgpack.encode(dict(enumerate(tree)))
    yield "not MessagePack", b"\xc1" + raw[1:]


def _holds(item: Any, kind: type) -> bool:
    return type(item) is kind or (isinstance(item, list) and any(_holds(x, kind) for x in item))


def refusals(kind: Any, raw: bytes) -> list[Case]:
    """The changes that this type's decoder refuses, which must be all but the ones that make another value."""
    listed: list[Case] = []
    for name, data in changed(raw):
        try:
            decode(kind, data)
        except DecodeError as error:
            listed.append({"name": name, "bytes": data.hex(), "error": error.code})
    return listed


def files() -> dict[str, Any]:
    """File name -> content."""
    made: dict[str, Any] = {}
    for name, (kind, values) in _values().items():
        cases = [{"fields": readable(value), "bytes": encode(value).hex(), **digests(value)} for value in values]
        made[name] = {
            "type": type(values[0]).__name__,
            "cases": cases,
            "refused": refusals(kind, encode(values[0])),
        }
    return made


def main() -> None:
    """Write every file."""
    folder = FOLDER / "wire"
    folder.mkdir(exist_ok=True)
    for name, content in files().items():
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
