"""The settings of a node: one TOML file, each setting with its name, default and help.

Relies on msgspec and the file system. Relative paths are relative to the folder of the file. An unknown setting is
refused, since a misspelt one would silently keep its default. configs/node.toml shows every setting; a test holds the
two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol import limits
from protocol.errors import ChartledgerError

SOCKET_PATH_BYTES = 107
"""What `sockaddr_un` holds besides the terminating zero (unix(7))."""

Address = tuple[str, int]


class ConfigInvalid(ChartledgerError):
    """The node's configuration cannot be used."""

    advice = "configs/node.toml shows every setting with its default."


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `chartledger node run` needs. Sizes are bytes and times seconds where the name says so."""

    institution: Annotated[int, Meta(ge=0, le=65_535, description="this institution's number in the genesis file")]
    genesis: Annotated[Path, Meta(description="the chain's genesis file, the same at every institution")] = Path(
        "genesis.json"
    )
    keystore: Annotated[Path, Meta(description="the sealed file with this institution's keys, mode 0600")] = Path(
        "keystore"
    )
    passphrase_file: Annotated[
        Path | None,
        Meta(
            description="a file, mode 0600, whose first line opens the keystore; without it the systemd credential "
            "chartledger-passphrase or a prompt is used"
        ),
    ] = None
    data: Annotated[Path, Meta(description="the folder for ledger, journal and records; made with mode 0700")] = Path(
        "data"
    )
    blobs: Annotated[
        str | None,
        Meta(description="the object store for large sealed records, by URL; without it, a folder in data"),
    ] = None
    socket: Annotated[Path, Meta(description="the local HTTP socket, mode 0660")] = Path("chartledger.sock")
    socket_group: Annotated[
        str | None, Meta(description="the group that may open the socket; without it, the daemon's own")
    ] = None
    submitters: Annotated[
        tuple[str, ...],
        Meta(
            description="users, and groups written @name, who may submit and read records; others who can open the "
            "socket may only look; root and the daemon's own user always may"
        ),
    ] = ()
    governors: Annotated[
        tuple[str, ...],
        Meta(
            description="users, and groups written @name, who may speak for the institution besides: motions, ballots, "
            "its keys; root and the daemon's own user always may"
        ),
    ] = ()
    listen: Annotated[str, Meta(description="host:port for the other institutions' nodes")] = "127.0.0.1:7650"
    peers: Annotated[
        dict[int, str], Meta(description="host:port of each other institution's node, by institution number")
    ] = {}
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="what is logged at least")] = (
        "info"
    )
    log_format: Annotated[Literal["json", "console"], Meta(description="json for machines, console for people")] = (
        "json"
    )
    log_file: Annotated[Path | None, Meta(description="where logs go; without it, standard error")] = None
    sensitivity_table: Annotated[
        Path | None,
        Meta(description="the institution's own table of what is sensitive; without it, the built-in rules alone"),
    ] = None
    unexamined: Annotated[
        Literal["mark", "plain"],
        Meta(description="what cannot be looked into is marked as unexamined, or taken for not sensitive"),
    ] = "mark"
    replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=limits.HOLDERS_PER_RECORD,
            description="how many other institutions hold each record written here, sealed, and a share of its key",
        ),
    ] = 3
    mempool_bytes: Annotated[
        int, Meta(ge=1 << 20, le=1 << 32, description="how many bytes of pending transactions are kept")
    ] = 64 << 20
    peer_queue_bytes: Annotated[
        int,
        Meta(ge=1 << 20, le=1 << 30, description="how many bytes may wait for a peer before the lowest class drops"),
    ] = 32 << 20
    readers: Annotated[int, Meta(ge=1, le=16, description="database connections that read")] = 2
    threads: Annotated[
        int, Meta(ge=0, le=64, description="threads that check signatures and seal records; 0 takes one per core")
    ] = 0
    disk_warning_bytes: Annotated[
        int, Meta(ge=0, le=1 << 50, description="`status` warns when less than this is free on the data folder's disk")
    ] = 1 << 30
    alert_practitioner_charts_an_hour: Annotated[
        int, Meta(ge=1, description="charts that one of our practitioners may ask for within an hour without an alert")
    ] = 12
    alert_practitioner_charts_a_day: Annotated[
        int, Meta(ge=1, description="charts that one of our practitioners may ask for within a day without an alert")
    ] = 40
    alert_institution_charts_an_hour: Annotated[
        int, Meta(ge=1, description="charts kept here that another institution may ask for within an hour, likewise")
    ] = 120
    alert_institution_charts_a_day: Annotated[
        int, Meta(ge=1, description="charts kept here that another institution may ask for within a day, likewise")
    ] = 600
    stop_seconds: Annotated[int, Meta(ge=1, le=600, description="how long a stop waits for requests under way")] = 10


PATHS = ("genesis", "keystore", "passphrase_file", "data", "socket", "log_file", "sensitivity_table")


def load_config(path: Path | str) -> Config:
    """The settings in the TOML file at `path`, paths made absolute.

    Raises `ConfigInvalid`, in one sentence that names the file and the setting.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigInvalid(
            f"cannot read the configuration {file}: {error.strerror}", advice="Make one with `chartledger node init`."
        ) from None
    try:
        config = msgspec.toml.decode(raw, type=Config, dec_hook=_decode_path)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigInvalid(f"{file}: {error}") from None
    return check_config(_absolute(config, file.resolve().parent))


def check_config(config: Config) -> Config:
    """`config` itself, if its values fit together; raises `ConfigInvalid`."""
    parse_address(config.listen)
    for number, address in config.peers.items():
        parse_address(address)
        if number == config.institution:
            raise ConfigInvalid(f"peers names institution {number}, which is this node itself")
    if config.blobs is not None and "://" not in config.blobs:
        raise ConfigInvalid(
            f"blobs is not a URL: {config.blobs!r}", advice='Write "s3://bucket/prefix" or "file:///folder".'
        )
    if len(str(config.socket).encode()) > SOCKET_PATH_BYTES:
        raise ConfigInvalid(
            f"the socket's path {config.socket} is longer than {SOCKET_PATH_BYTES} bytes",
            advice="Choose a shorter path for `socket`, for example under /run.",
        )
    return config


def parse_address(text: str) -> Address:
    """(host, port) of `host:port`, an IPv6 host in brackets. Raises `ConfigInvalid`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigInvalid(f"{text!r} is not host:port", advice='Write it as "host:7650" or "[2001:db8::1]:7650".')
    return host, int(port)


def settings() -> list[tuple[str, str, str]]:
    """(name, default as it would stand in the file, help) of each setting, in order. For docs and tests."""
    rows = []
    for field in msgspec.structs.fields(Config):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        rows.append((field.name, _toml(default), _description(field.type)))
    return rows


def _description(kind: Any) -> str:
    return next((m.description for m in getattr(kind, "__metadata__", ()) if m.description), "")


def _toml(value: object) -> str:
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, tuple):
        return str(list(value))
    return str(value) if isinstance(value, int) else f'"{value}"'


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("Expected a path")


def _absolute(config: Config, folder: Path) -> Config:
    changes: dict[str, Any] = {}
    for name in PATHS:
        value: Path | None = getattr(config, name)
        if value is not None:
            changes[name] = folder / value
    return msgspec.structs.replace(config, **changes)
