"""An institution's keys in one sealed file, and the passphrase that opens it.

Relies on `protocol.crypto.keyfiles` (Argon2id and XChaCha20-Poly1305) and the file system. The file must be the
user's own and closed to everybody else; a looser mode is refused, as ssh does. Secrets never appear in a repr.

Keys rotate while the node runs: a command adds a seed to the file, and the node takes it up, and takes out the old one,
when the ledger says so. For that the node keeps the file's key, made of the passphrase once at its start, and not the
passphrase. Whoever changes the file holds its lock, so no two changes lose one another.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from node.config import Config
from protocol import limits
from protocol.codec.canonical import decode, encode
from protocol.crypto.keyfiles import (
    NONCE_BYTES,
    SALT_BYTES,
    Cost,
    KeyfileHeader,
    keyfile_header,
    open_keyfile,
    open_with_key,
    seal_keyfile,
    seal_with_key,
    stretch,
)
from protocol.errors import ChartledgerError, DecodeError, SealBroken, WrongPassphrase
from protocol.types.base import U16, Wire

CREDENTIAL = "chartledger-passphrase"
"""The name under which systemd hands over the passphrase (`LoadCredentialEncrypted=`)."""
KEYFILE_BYTES = 64 * 1024
VOTE_KEYS = 4  # the one that counts, and what rotations that did not come through left behind
NETWORK_KEYS = 4
ENCRYPTION_KEYS = 64
ENCRYPTION_KEYS_KEPT = 8
"""How many a rotation leaves: the oldest, which practitioners' pseudonyms come from, the one that counts, and the
newest others: one of them may be about to count, and a ledger that was restored may have one that did."""

Seed = Annotated[bytes, Meta(min_length=32, max_length=32)]

MISSING = (
    "Check the path; if the file is gone, `chartledger wallet restore` makes a wallet again, and a keystore comes from "
    "its backup."
)


class KeyfileRefused(ChartledgerError):
    """A key file is missing, too open, or not a key file."""

    advice = "Restore it from its backup, owned by the user who runs this, with mode 0600."


class KeystoreFull(ChartledgerError):
    """The keystore has no room for another key of this kind."""

    advice = "Nothing was changed. `chartledger keys show` tells what counts no more: retire it, and try again."


class NoPassphrase(ChartledgerError):
    """There is no passphrase to open the key file with."""

    advice = (
        "Name a file with --passphrase-file or `passphrase_file`, hand over a systemd credential named "
        f"{CREDENTIAL}, or run on a terminal to be asked."
    )


class NetworkKey(Wire, frozen=True):
    """A network key and its certificate (DER), exactly as it stands, or will stand, on the ledger."""

    seed: Seed
    certificate: Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE_DER_BYTES)]


class EncryptionKey(Wire, frozen=True):
    """The seed of a key that others seal to, and its suite."""

    suite: U16
    seed: Seed


class Keystore(Wire, frozen=True):
    """An institution's secrets: its keys, each kind oldest first, and `root`, which seals the file of the
    key-encryption key: that one is made anew with erasures, so it stands in no keystore and in no backup of one.

    The ledger says which count. `operations` are seeds of those operations keys that this node holds: others may be on
    machines of their own. `votes` is empty at an institution that is not to be an authority. Nothing at rest is sealed
    to an encryption key: a share that came so lies under the key-encryption key, and what was released was opened at
    once. So old ones go, but for the oldest.
    """

    operations: Annotated[tuple[Seed, ...], Meta(min_length=1, max_length=limits.OPERATION_KEYS_PER_INSTITUTION)]
    votes: Annotated[tuple[Seed, ...], Meta(max_length=VOTE_KEYS)]
    network: Annotated[tuple[NetworkKey, ...], Meta(min_length=1, max_length=NETWORK_KEYS)]
    encryption: Annotated[tuple[EncryptionKey, ...], Meta(min_length=1, max_length=ENCRYPTION_KEYS)]
    root: Seed

    def __repr__(self) -> str:
        return f"Keystore(operations={len(self.operations)}, votes={len(self.votes)})"


class KeystoreFile:
    """A keystore that is open: `keystore` is what it held when it was last read. Get it from `open_keystore`."""

    def __init__(self, path: Path, header: KeyfileHeader, key: bytes) -> None:
        self.path = path
        self._header = header
        self._key = key
        self.keystore = self.read()

    def __repr__(self) -> str:
        return f"KeystoreFile({str(self.path)!r})"

    def read(self) -> Keystore:
        """What it holds now. Raises `KeyfileRefused`, also when its passphrase was changed."""
        data = read_private(self.path, KEYFILE_BYTES)
        try:
            if keyfile_header(data) != self._header:
                raise KeyfileRefused(
                    f"{self.path} is sealed under another passphrase than at the start", advice="Start the node again."
                )
            plain = open_with_key(data, self._key)
            self.keystore = decode(Keystore, plain)
        except WrongPassphrase:
            raise WrongPassphrase(f"the passphrase does not open {self.path}") from None
        except SealBroken as error:
            raise KeyfileRefused(f"{self.path}: {error}") from None
        except DecodeError:
            raise KeyfileRefused(f"{self.path} is a key file, but not a node's keystore") from None
        return self.keystore

    def backup(self, path: Path) -> None:
        """Write a copy without the vote keys to a new file, under the same passphrase: a copy of a key that signs
        votes outlives the key's own end, and a node restored from it must not vote. Raises `KeyfileRefused`."""
        if path.exists():
            raise KeyfileRefused(f"{path} exists already", advice="Choose another path, or move the old file away.")
        plain = encode(replace(self.read(), votes=()))
        write_private(path, seal_with_key(plain, self._header, self._key, secrets.token_bytes(NONCE_BYTES)))

    def change(self, edit: Callable[[Keystore], Keystore], then: Callable[[Keystore], None] | None = None) -> Keystore:
        """Replace what it holds by what `edit` makes of it, whole or not at all, synced to disk; `then` comes after
        that. Nobody else changes the file, or what belongs to it, meanwhile: blocks while another process does.
        Raises `KeyfileRefused`, and `KeystoreFull` for what could not be read again."""
        with locked(self.path):
            before = self.read()
            after = edit(before)
            if after != before:
                nonce = secrets.token_bytes(NONCE_BYTES)
                write_private(self.path, seal_with_key(_readable(after), self._header, self._key, nonce))
                self.keystore = after
            if then is not None:
                then(after)
        return self.keystore


def _readable(keystore: Keystore) -> bytes:
    """Its encoding, which is held against the bounds of reading: what does not open again would be all keys lost."""
    raw = encode(keystore)
    try:
        decode(Keystore, raw)
    except DecodeError:
        raise KeystoreFull("the keystore would hold more keys than can be read back") from None
    return raw


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else who asks for it has the lock of the key file at `path`; blocks while another process has."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def open_keystore(path: Path, passphrase: bytes) -> KeystoreFile:
    """The keystore at `path`. Raises `KeyfileRefused`, or `WrongPassphrase`, in one sentence."""
    try:
        header = keyfile_header(read_private(path, KEYFILE_BYTES))
    except SealBroken as error:
        raise KeyfileRefused(f"{path}: {error}") from None
    return KeystoreFile(path, header, stretch(header, passphrase))


def write_keystore(path: Path, keystore: Keystore, passphrase: bytes, cost: Cost | None = None) -> None:
    """Write `keystore` sealed under `passphrase` to a new file at `path`, mode 0600, synced to disk."""
    write_file(path, encode(keystore), passphrase, cost)


def open_file(path: Path, passphrase: bytes) -> tuple[bytes, bytes]:
    """What the key file at `path` holds, and its bytes as they lie there. Raises `KeyfileRefused` or
    `WrongPassphrase`."""
    data = read_private(path, KEYFILE_BYTES)
    try:
        return open_keyfile(data, passphrase), data
    except WrongPassphrase:
        raise WrongPassphrase(f"the passphrase does not open {path}") from None
    except SealBroken as error:
        raise KeyfileRefused(f"{path}: {error}") from None


def write_file(
    path: Path, plain: bytes, passphrase: bytes, cost: Cost | None = None, *, replace: bool = False
) -> bytes:
    """Seal `plain` into a key file at `path`, mode 0600, whole or not at all, synced to disk; its bytes.

    Raises `KeyfileRefused` if `path` exists and `replace` is false.
    """
    if path.exists() and not replace:
        raise KeyfileRefused(f"{path} exists already", advice="Choose another path, or move the old file away.")
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    data = seal_keyfile(plain, passphrase, salt, nonce, cost or Cost())
    write_private(path, data)
    return data


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` with mode 0600: a reader sees the old file or the whole new one. Raises `KeyfileRefused`
    for what is no file, such as a device, whose name it would take."""
    if path.exists() and not path.is_file():
        raise KeyfileRefused(f"{path} is not a regular file", advice="Name a file.")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        error.filename = str(path)  # whoever is told of it asked for this one
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def close_to_others(path: Path) -> None:
    """The file at `path`, made if there is none, has mode 0600 from now on; what is no file stays as it is."""
    path.touch(mode=0o600)
    if path.is_file():
        path.chmod(0o600)


def read_private(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file that must be closed to group and others. Raises `KeyfileRefused`."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyfileRefused(f"{path} is not a regular file")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise KeyfileRefused(
                    f"{path} has mode {mode:04o}, so that others can open it", advice=f"Run `chmod 600 {path}`."
                )
            if status.st_uid not in (os.geteuid(), 0):
                raise KeyfileRefused(f"{path} belongs to another user", advice="Give it to the user who runs this.")
            data = file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise KeyfileRefused(f"cannot read {path}: {error.strerror}", advice=MISSING) from None
    except OSError as error:
        raise KeyfileRefused(f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit_bytes:
        raise KeyfileRefused(f"{path} is larger than {limit_bytes} bytes")
    return data


def read_passphrase(path: Path) -> bytes:
    """The first line of the passphrase file at `path`, which must be as closed as a key file. Raises `KeyfileRefused`
    or `NoPassphrase`."""
    if not path.exists():  # and its loss is no loss of a key
        raise NoPassphrase(f"there is no passphrase file {path}")
    line = read_private(path, 4096).split(b"\n", 1)[0].removesuffix(b"\r")
    if not line:
        raise NoPassphrase(f"the passphrase file {path} is empty")
    return line


def find_passphrase(
    config: Config | None = None,
    passphrase_file: Path | None = None,
    *,
    prompt: str = "Passphrase: ",
    ask: Callable[[str], str] = getpass.getpass,
) -> bytes:
    """The passphrase, from the first of: `passphrase_file`, the config's, the systemd credential, a terminal.

    Raises `NoPassphrase` if there is none of them.
    """
    file = passphrase_file or (config.passphrase_file if config else None)
    if file is not None:
        return read_passphrase(file)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / CREDENTIAL).exists():
        return read_passphrase(Path(credentials) / CREDENTIAL)
    if not sys.stdin.isatty():
        raise NoPassphrase
    answer = ask(prompt).encode()
    if not answer:
        raise NoPassphrase("an empty passphrase opens nothing")
    return answer
