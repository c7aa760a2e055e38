"""Who is at the other end of the Unix socket, and what that process may do.

Relies on Linux: SO_PEERCRED tells the process, user and group as they were when it connected (unix(7)); SO_PEERGROUPS
its further groups. A role is decided once a connection.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct

from protocol.errors import ChartledgerError

SO_PEERGROUPS = 59
"""Not in the standard library; asm-generic/socket.h, Linux 4.13 and newer."""
_UCRED = struct.Struct("3i")
_GROUPS_BYTES = 65_536 * 4  # NGROUPS_MAX of Linux


class Role(IntEnum):
    """What a caller may do; each includes those before it. Whoever can open the socket may look: its mode decides that.

    GOVERN speaks for the institution: motions, ballots and its keys. An EHR that submits records has no business there.
    """

    LOOK = 1
    SUBMIT = 2
    GOVERN = 3


class Peer(Struct, frozen=True):
    """The process at the other end."""

    pid: int
    uid: int
    groups: frozenset[int]


class UnknownSubmitter(ChartledgerError):
    """`submitters` or `governors` names a user or group that this machine does not have."""

    advice = "Write users by name or number, and groups with a leading @, in the node's configuration."


class RoleMap(Struct, frozen=True):
    """Which users and groups (by number) may submit and read records, and which may govern; everybody else may look."""

    submit_uids: frozenset[int]
    submit_gids: frozenset[int] = frozenset()
    govern_uids: frozenset[int] = frozenset()
    govern_gids: frozenset[int] = frozenset()

    def role(self, peer: Peer) -> Role:
        if peer.uid in self.govern_uids or peer.groups & self.govern_gids:
            return Role.GOVERN
        may = peer.uid in self.submit_uids or bool(peer.groups & self.submit_gids)
        return Role.SUBMIT if may else Role.LOOK


def role_map(submitters: Sequence[str] = (), governors: Sequence[str] = ()) -> RoleMap:
    """The roles that the configuration names: users by name or number, groups likewise with a leading @.

    Root and the daemon's own user always govern. Raises `UnknownSubmitter`.
    """
    own = {0, os.getuid()}
    submit_uids, submit_gids = _numbers(submitters)
    govern_uids, govern_gids = _numbers(governors)
    return RoleMap(frozenset(submit_uids | own), submit_gids, frozenset(govern_uids | own), govern_gids)


def _numbers(names: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    uids: set[int] = set()
    gids: set[int] = set()
    for name in names:
        try:
            if name.startswith("@"):
                gids.add(int(name[1:]) if name[1:].isdecimal() else grp.getgrnam(name[1:]).gr_gid)
            else:
                uids.add(int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UnknownSubmitter(f"there is no user or group {name!r} on this machine") from None
    return frozenset(uids), frozenset(gids)


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who connected. Raises OSError where it does not say (not a connected Unix socket)."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # an older kernel: the first group alone counts
        raw = b""
    further = struct.unpack(f"{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
    return Peer(pid, uid, frozenset({gid, *further}))
