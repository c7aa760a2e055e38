"""What follows when institutions change on the ledger: who may connect, and which of this node's own keys it uses.

Told of every final block once it is on disk. A key that a command put into the keystore is taken up when the ledger
says that it counts, without a restart; vote keys alone change at an epoch's end and are `node.epochs`' concern.

The newest members are also kept in a file of their own. A node whose copy of the chain was dropped, or that is new,
starts from a state in which its peers may have had other certificates, and could not connect to fetch what says so:
until its head is as high as the file's, that file says who may connect, and by which key this node is known. It decides
about connections and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from node.execution import Executed
from node.keystore import EncryptionKey, Keystore, KeystoreFile, write_private
from node.logs import get_logger
from node.network.certificates import BadNetworkCertificate, read_certificate
from node.network.interface import Member
from node.network.tls import Identity
from node.own_keys import encryption_key, network_key, operation_keys
from node.standing import Standing
from protocol.crypto.signing import SigningKey
from protocol.errors import ChartledgerError
from protocol.ledger import keys
from protocol.types.block import Header
from protocol.types.institutions import STATUS_ACCREDITED, Institution

log = get_logger("membership")

FILE: Final = "members.json"


def members(standing: Standing, own: int, addresses: Mapping[int, str]) -> dict[int, Member]:
    """Who may connect to institution `own`: every other accredited one, as it stands at the head.

    A certificate that cannot be read is skipped, or one institution could keep all others from connecting.
    """
    found = {}
    for number, one in standing.institutions.items():
        if number == own or one.status != STATUS_ACCREDITED:
            continue
        certificates = []
        for der in one.network_certificates:
            try:
                read_certificate(der)
                certificates.append(der)
            except BadNetworkCertificate as error:
                log.warning("unreadable network certificate", institution=number, reason=str(error))
        if certificates:
            found[number] = Member(tuple(certificates), addresses.get(number))
    return found


def identity(keystore: Keystore, leaf: Institution | None, number: int) -> Identity | None:
    """Who this node is on the network; None if the keystore holds no network key that counts."""
    key = network_key(keystore, leaf)
    return None if key is None else Identity(number, key.certificate, key.seed)


class MembersUnreadable(ChartledgerError):
    """The file of members cannot be used."""

    advice = "Copy members.json again from the data folder of a running node."


class Remembered(Struct, frozen=True, forbid_unknown_fields=True):
    """The file: certificates (DER, hex) of the institutions that were accredited at a height, by number."""

    height: int
    certificates: dict[int, list[str]]

    def members(self, own: int, addresses: Mapping[int, str]) -> dict[int, Member]:
        """As `members`, of this file."""
        return {
            number: Member(tuple(map(bytes.fromhex, listed)), addresses.get(number))
            for number, listed in self.certificates.items()
            if number != own
        }

    def write(self, data: Path) -> None:
        """Into a data folder."""
        write_private(data / FILE, msgspec.json.encode(self))

    def identity(self, keystore: Keystore, number: int) -> Identity:
        """Who this node is by this file; with its newest key if the file does not know it."""
        listed = self.certificates.get(number, [])
        fit = [key for key in keystore.network if key.certificate.hex() in listed]
        key = fit[-1] if fit else keystore.network[-1]
        return Identity(number, key.certificate, key.seed)


def read_members(path: Path) -> Remembered:
    """The file at `path`. Raises `MembersUnreadable`."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Remembered)
        for listed in found.certificates.values():
            for der in listed:
                read_certificate(bytes.fromhex(der))
    except OSError as error:
        raise MembersUnreadable(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, BadNetworkCertificate) as error:
        raise MembersUnreadable(f"{path} is not a file of members: {error}") from None
    return found


def remembered(data: Path, head: Header) -> Remembered | None:
    """The file in the data folder if it knows more than this head. What cannot be read is passed over, and said."""
    if not (data / FILE).exists():
        return None
    try:
        found = read_members(data / FILE)
    except MembersUnreadable as error:
        log.warning("the file of members cannot be read", reason=str(error))
        return None
    return found if found.height > head.height else None


class Membership:
    """Carries changes of institutions into the parts of a running node that they concern."""

    def __init__(
        self,
        *,
        institution: int,
        addresses: Mapping[int, str],
        data: Path,
        head: Callable[[], Header],
        keys: KeystoreFile,
        standing: Standing,
        set_members: Callable[[Mapping[int, Member]], None],
        set_identity: Callable[[Identity], None],
        set_operation_keys: Callable[[Mapping[int, SigningKey]], None],
        set_encryption_key: Callable[[EncryptionKey], None],
    ) -> None:
        self._institution = institution
        self._addresses = addresses
        self._data = data
        self._head = head
        self._keys = keys
        self._standing = standing
        self._set_members = set_members
        self._set_identity = set_identity
        self._set_operation_keys = set_operation_keys
        self._set_encryption_key = set_encryption_key
        self._behind: int | None = None  # the file's height, while the ledger here has not got there

    def refresh(self) -> None:
        """Take everything over as it stands at the head, or as the file has it."""
        further = remembered(self._data, self._head())
        self._behind = None if further is None else further.height
        if further is not None:
            self._set_members(further.members(self._institution, self._addresses))
        else:
            self._take_own()
            self._take_members()

    def on_final(self, executed: Executed) -> None:
        """A block is final and on disk."""
        if self._behind is not None:
            # What changed on the way there was not taken up, so it is not the change of an institution that ends it.
            if self._head().height >= self._behind:
                self.refresh()
            return
        changed = [key for key in executed.overlay.changes.leaves if key[0] == keys.KIND_INSTITUTION]
        if not changed:
            return
        if keys.institution(self._institution) in changed:
            self._take_own()
        self._take_members()

    def _take_members(self) -> None:
        found = members(self._standing, -1, self._addresses)
        certificates = {number: [der.hex() for der in one.certificates] for number, one in found.items()}
        try:
            Remembered(self._head().height, certificates).write(self._data)
        except OSError as error:  # it is a help for a node that begins anew; this one needs it not
            log.warning("the file of members could not be written", reason=error.strerror)
        found.pop(self._institution, None)
        self._set_members(found)

    def _take_own(self) -> None:
        """Raises nothing for a keystore that cannot be read: the node goes on with the keys that it has."""
        try:
            keystore = self._keys.read()
        except ChartledgerError as error:
            log.warning("the keystore could not be read again", reason=str(error), advice=error.advice)
            keystore = self._keys.keystore
        leaf = self._standing.institution(self._institution)
        self._set_operation_keys(operation_keys(keystore, leaf))
        mine, sealed_to = identity(keystore, leaf, self._institution), encryption_key(keystore, leaf)
        if mine is None:
            log.warning("the keystore holds no network key that stands on the ledger: peers will not connect")
        else:
            self._set_identity(mine)
        if sealed_to is None:
            log.warning("the keystore holds no encryption key that stands on the ledger: nothing released can be read")
        else:
            self._set_encryption_key(sealed_to)
