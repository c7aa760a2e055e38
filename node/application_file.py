"""The application file: what a candidate hands to the consortium, as JSON that people can read and compare.

Only `application` counts, the canonical bytes that the ledger will check; the rest is for the eye, and reading refuses
a file whose rest says something else. Relies on `node.genesis_file` for how an institution stands in a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from node.genesis_file import InstitutionEntry, entry_of
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.errors import ChartledgerError, DecodeError, ForeignChain
from protocol.types.governance import Application

FORMAT: Final = "chartledger-application-1"
FILE_BYTES = 1 << 20


class ApplicationUnreadable(ChartledgerError):
    """The application file cannot be used."""

    advice = "Get it again from the candidate, who makes it with `chartledger institution apply`."


class ApplicationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file; bytes are hex. `institution` shows what `application` holds; its number is nobody's yet, and 0."""

    format: Literal["chartledger-application-1"]
    chain: str
    institution: InstitutionEntry
    application: str


def write_application(path: Path, application: Application, chain: bytes) -> None:
    """Write what asks to be accredited on `chain` (its id) to `path`."""
    shown = entry_of(0, application.institution)
    file = ApplicationFile(FORMAT, chain.hex(), shown, encode(application).hex())
    path.write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")


def read_application(path: Path, chain: bytes) -> Application:
    """The application in the file at `path`. Raises `ApplicationUnreadable`, or `ForeignChain` if it is for another.

    Proofs of possession are not checked here: the ledger does that.
    """
    try:
        with path.open("rb") as opened:
            raw = opened.read(FILE_BYTES + 1)
    except OSError as error:
        raise ApplicationUnreadable(f"cannot read the application {path}: {error.strerror}") from None
    if len(raw) > FILE_BYTES:
        raise ApplicationUnreadable(f"{path} is larger than {FILE_BYTES} bytes")
    try:
        file = msgspec.json.decode(raw, type=ApplicationFile)
        application = decode(Application, bytes.fromhex(file.application), limits.TRANSACTION_BYTES)
    except (ValueError, RecursionError, DecodeError) as error:
        raise ApplicationUnreadable(f"{path} is not an application: {error}") from None
    if entry_of(0, application.institution) != file.institution:
        raise ApplicationUnreadable(f"{path} shows another institution than it applies for: it was altered")
    if file.chain != chain.hex():
        raise ForeignChain(f"{path} was made for chain {file.chain[:16]}, and this one is {chain.hex()[:16]}")
    return application
