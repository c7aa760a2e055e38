"""What every handler can reach. One object a daemon, made by `node.api.app`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from starlette.responses import Response

from node.api.call import Call
from node.api.errors import BodyTooLarge
from node.api.server import ApiSettings
from node.api.writes import Writes
from node.records.service import Records
from node.services import NodeServices


class Context(Struct, frozen=True):
    """The node's core, its records side, the way in, the event that is set when the daemon
    stops, and what stands for each event stream that is open."""

    settings: ApiSettings
    node: NodeServices
    records: Records
    writes: Writes
    closing: asyncio.Event
    streams: set[object] = msgspec.field(default_factory=set)

    def check_room(self, length: int) -> None:
        """Raise `BodyTooLarge` for a record that is too large to stand inside JSON."""
        if length > self.settings.request_bytes:
            raise BodyTooLarge("this record is too large for a list: read it by itself")


Handler = Callable[[Context, Call], Awaitable[Response]]
