"""Writes tests/vectors/records/*.json, one file a message between reader and custodian and the owner's secret, and
tests/vectors/network/*.json, the messages of a connection: `python tests/vectors/make_node.py`. The form of a file is
that of tests/vectors/make_wire.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
for place in (str(FOLDER), str(FOLDER.parents[1])):
    if place not in sys.path:
        sys.path.insert(0, place)

from make_sync import write  # noqa: E402 - needs the path above
from make_wire import CHAIN, OWNER, material  # noqa: E402

from node.network import messages as network  # noqa: E402
from node.reading_pass import ReadingPass  # noqa: E402
from node.records import detail_messages, messages, owner_messages  # noqa: E402
from node.records import holding_messages as holding  # noqa: E402
from node.records.seal import Secret  # noqa: E402
from node.write_permits import UNSIGNED, WritePermit, sign_permit  # noqa: E402
from protocol.crypto.commitments import Opening  # noqa: E402
from protocol.crypto.shares import KeyShare  # noqa: E402
from protocol.crypto.tags import Labels, tag  # noqa: E402

OPENING = Opening(material("salt", 64), material("secret"))
LABELS = Labels("Observation", "2024", "MH", "none")

TABLES: tuple[Any, Any, Any, Any] = tuple(  # type: ignore[assignment]  # as many as there are positions
    tuple((name, tag(material("chart secret"), 2, position, name)) for name in names)
    for position, names in enumerate((("Condition", "Observation"), ("2024", "none"), ("MH", "none"), ("none",)))
)

RECORDS: dict[str, tuple[Any, list[Any]]] = {
    "release-request": (
        messages.ReleaseRequest,
        [messages.ReleaseRequest(7, 38, (1, 2, 300), material("public", 1_216))],
    ),
    "released": (
        messages.Released,
        [messages.Released(1, b"envelope", 6, b"sealed"), messages.Released(2, b"e", 9, None)],
    ),
    "release-answer": (
        messages.ReleaseAnswer,
        [messages.ReleaseAnswer((messages.Released(1, b"envelope", 6, b"sealed"),))],
    ),
    "released-key": (
        messages.ReleasedKey,
        [messages.ReleasedKey(material("key"), OPENING, "application/fhir+json", 1_700)],
    ),
    "blob-request": (messages.BlobRequest, [messages.BlobRequest(7, 38, 1, 4 * 1024 * 1024)]),
    "blob-piece": (messages.BlobPiece, [messages.BlobPiece(b"sealed bytes"), messages.BlobPiece(b"")]),
    "owner-key-request": (detail_messages.OwnerKeyRequest, [detail_messages.OwnerKeyRequest(7)]),
    "owner-key-answer": (
        detail_messages.OwnerKeyAnswer,
        [detail_messages.OwnerKeyAnswer(1, material("public", 1_216)), detail_messages.OwnerKeyAnswer(2, bytes(32))],
    ),
    "details-request": (detail_messages.DetailsRequest, [detail_messages.DetailsRequest(7, 42, b"sealed details")]),
    "details-taken": (detail_messages.DetailsTaken, [detail_messages.DetailsTaken(7, 42)]),
    "write-permit": (
        WritePermit,
        [
            sign_permit(OWNER, CHAIN, WritePermit(7, 3, 2, 1, material("public", 1_216), TABLES, UNSIGNED)),
            sign_permit(OWNER, CHAIN, WritePermit(0, 0, 0, 2, bytes(32), (TABLES[0][:1], *TABLES[1:]), UNSIGNED)),
        ],
    ),
    "secret": (Secret, [Secret(material("key"), OPENING, "text/plain", 0, LABELS)]),
}

HANDOVER = holding.Handover(
    material("commitment"), None, material("blob"), 6, b"sealed", material("details", 296), b"envelope"
)
FINAL = holding.Handover(
    material("commitment 2"), 38, material("blob 2"), 2_000_000, None, material("details 2", 296), b""
)
SHARE = KeyShare(3, 2, material("share"))

HOLDING: dict[str, tuple[Any, list[Any]]] = {
    "holder-key-request": (holding.HolderKeyRequest, [holding.HolderKeyRequest(material("chain"))]),
    "holder-key-answer": (holding.HolderKeyAnswer, [holding.HolderKeyAnswer(1, material("public", 1_216))]),
    "handover": (holding.Handover, [HANDOVER, FINAL]),
    "hold-request": (
        holding.HoldRequest,
        [holding.HoldRequest(7, 1, material("owner", 1_216), b"envelope", (HANDOVER, FINAL))],
    ),
    "hold-answer": (holding.HoldAnswer, [holding.HoldAnswer(2)]),
    "key-share": (KeyShare, [SHARE]),
    "shares": (holding.Shares, [holding.Shares((SHARE, KeyShare(1, 2, material("other share"))))]),
    "share-request": (
        holding.ShareRequest,
        [holding.ShareRequest(7, 39, (1, 2, 300), material("public", 1_216), 1_042, blobs=True)],
    ),
    "shared": (
        holding.Shared,
        [
            holding.Shared(1, material("details", 296), 6, b"sealed"),
            holding.Shared(2, material("details", 296), 9, None),
        ],
    ),
    "share-answer": (
        holding.ShareAnswer,
        [holding.ShareAnswer(b"envelope", (holding.Shared(1, material("details", 296), 6, b"sealed"),))],
    ),
    "lacking-request": (holding.LackingRequest, [holding.LackingRequest(7, (1, 2, 300))]),
    "lacking-answer": (holding.LackingAnswer, [holding.LackingAnswer((2,)), holding.LackingAnswer(())]),
    "sealed-request": (
        holding.SealedRequest,
        [
            holding.SealedRequest(7, 38, material("blob"), 4_194_304),
            holding.SealedRequest(7, None, material("blob"), 0),
        ],
    ),
    "held-details": (holding.HeldDetails, [holding.HeldDetails(OPENING, "application/fhir+json", 1_700)]),
}

SHOWN = ReadingPass(7, 3, material("owner", 1_216), 1_042, 1_900_000_600_000, material("signature", 64))

OWNERS: dict[str, tuple[Any, list[Any]]] = {
    "reading-pass": (ReadingPass, [SHOWN, ReadingPass(0, 0, bytes(32), 0, 0, bytes(64))]),
    "owner-share-request": (owner_messages.OwnerShareRequest, [owner_messages.OwnerShareRequest(SHOWN, 38)]),
    "owner-share-answer": (
        owner_messages.OwnerShareAnswer,
        [
            owner_messages.OwnerShareAnswer(b"envelope", b"", b"", 6),
            owner_messages.OwnerShareAnswer(b"", b"envelope of a share", material("details", 296), 2_000_000),
        ],
    ),
    "owner-blob-request": (owner_messages.OwnerBlobRequest, [owner_messages.OwnerBlobRequest(SHOWN, 38, 1_048_576)]),
    "owner-details-request": (
        owner_messages.OwnerDetailsRequest,
        [owner_messages.OwnerDetailsRequest(SHOWN, (39, 42))],
    ),
    "said-to-owner": (owner_messages.SaidToOwner, [owner_messages.SaidToOwner(42, b"sealed details")]),
    "owner-details-answer": (
        owner_messages.OwnerDetailsAnswer,
        [
            owner_messages.OwnerDetailsAnswer((owner_messages.SaidToOwner(42, b"sealed details"),)),
            owner_messages.OwnerDetailsAnswer(()),
        ],
    ),
}

NETWORK: dict[str, tuple[Any, list[Any]]] = {
    "hello": (network.Hello, [network.Hello(1, 1, material("chain"), 3, 7_000_000_001, 42, "chartledger 0.1.0")]),
    "goodbye": (network.Goodbye, [network.Goodbye("other-chain", "this node is on another chain")]),
    "request": (network.Request, [network.Request(1, "sync.range", b"payload"), network.Request(2, "m", b"")]),
    "response": (
        network.Response,
        [network.Response(1, "", b"payload"), network.Response(2, "not-disclosed", b"a sentence")],
    ),
}


if __name__ == "__main__":
    write(FOLDER / "records", RECORDS | HOLDING | OWNERS)
    write(FOLDER / "network", NETWORK)
