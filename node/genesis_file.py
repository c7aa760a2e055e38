"""The genesis file: a chain's beginning as JSON that people can read and compare.

Relies on `protocol.types` and `protocol.crypto.hashing`. The file states its chain id, and reading recomputes it, so
that an edited file is refused rather than starting a chain of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from protocol.codec.canonical import decode, encode
from protocol.crypto.hashing import chain_id
from protocol.errors import ChartledgerError, DecodeError, GenesisMismatch
from protocol.params import Params
from protocol.types.institutions import Genesis, Institution

FORMAT: Final = "chartledger-genesis-1"
FILE_BYTES = 64 << 20


class GenesisUnreadable(ChartledgerError):
    """The genesis file cannot be read."""

    advice = "Get the file again from the consortium; every institution's copy is the same."


class InstitutionEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An institution as it stands in the file; bytes are hex."""

    number: int
    name: str
    status: int
    operation_keys: list[str]
    vote_key: str
    network_certificates: list[str]
    encryption_suite: int
    encryption_key: str


class GenesisFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `chain` is the digest of everything else."""

    format: Literal["chartledger-genesis-1"]
    chain: str
    name: str
    created_at: int
    params: dict[str, int]
    institutions: list[InstitutionEntry]
    authorities: list[int]

    @classmethod
    def of(cls, genesis: Genesis) -> GenesisFile:
        """The file of `genesis`."""
        return cls(
            format=FORMAT,
            chain=chain_id(genesis).hex(),
            name=genesis.name,
            created_at=genesis.created_at,
            params={name: getattr(genesis.params, name) for name in genesis.params.__struct_fields__},
            institutions=[entry_of(number, one) for number, one in enumerate(genesis.institutions)],
            authorities=list(genesis.authorities),
        )

    def genesis(self) -> Genesis:
        """What the file says, its chain id checked. Raises `GenesisUnreadable` or `GenesisMismatch`."""
        if [entry.number for entry in self.institutions] != list(range(len(self.institutions))):
            raise GenesisUnreadable("institutions must be numbered 0, 1, 2 and so on, in order")
        if sorted(self.params) != sorted(Params.__struct_fields__):
            raise GenesisUnreadable(f"params must be exactly {', '.join(Params.__struct_fields__)}")
        try:
            genesis = Genesis(
                name=self.name,
                created_at=self.created_at,
                params=Params(**self.params),
                institutions=tuple(institution_of(entry) for entry in self.institutions),
                authorities=tuple(self.authorities),
            )
            genesis = decode(Genesis, encode(genesis))
        except (ValueError, OverflowError, DecodeError) as error:
            raise GenesisUnreadable(f"a value is out of bounds: {error}") from None
        genesis.params.check()
        if chain_id(genesis).hex() != self.chain:
            raise GenesisMismatch(
                f"its content belongs to chain {chain_id(genesis).hex()[:16]}, but it states {self.chain[:16]}",
                advice="The file was altered: get it again from the consortium.",
            )
        return genesis


def read_genesis(path: Path) -> Genesis:
    """The genesis in the file at `path`. Raises `GenesisUnreadable` or `GenesisMismatch`, naming the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise GenesisUnreadable(f"cannot read the genesis file {path}: {error.strerror}") from None
    if len(raw) > FILE_BYTES:
        raise GenesisUnreadable(f"{path} is larger than {FILE_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=GenesisFile).genesis()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GenesisUnreadable(f"{path} is not a genesis file: {error}") from None
    except ChartledgerError as error:
        raise type(error)(f"{path}: {error}", advice=error.advice) from None


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Write `genesis` to `path` (mode 0644: it is public)."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(GenesisFile.of(genesis)), indent=2) + b"\n")


def entry_of(number: int, one: Institution) -> InstitutionEntry:
    """How `one` stands in a file."""
    return InstitutionEntry(
        number=number,
        name=one.name,
        status=one.status,
        operation_keys=[key.hex() for key in one.operation_keys],
        vote_key=one.vote_key.hex(),
        network_certificates=[der.hex() for der in one.network_certificates],
        encryption_suite=one.encryption_suite,
        encryption_key=one.encryption_key.hex(),
    )


def institution_of(entry: InstitutionEntry) -> Institution:
    """What `entry` says, bounds not checked yet. Raises ValueError for what is not hex."""
    return Institution(
        name=entry.name,
        status=entry.status,
        operation_keys=tuple(bytes.fromhex(key) for key in entry.operation_keys),
        vote_key=bytes.fromhex(entry.vote_key),
        network_certificates=tuple(bytes.fromhex(der) for der in entry.network_certificates),
        encryption_suite=entry.encryption_suite,
        encryption_key=bytes.fromhex(entry.encryption_key),
    )
