"""One place on the socket: what answers there, to whom, and what goes in and out. The table is `node.api.places`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from node.api.context import Handler
from node.api.peercred import Role

JSON = "application/json"
BYTES = "application/octet-stream"
ANY = "*/*"
TEXT = "text/plain"
EVENTS = "text/event-stream"


class Query(Struct, frozen=True):
    """A query parameter."""

    name: str
    kind: str
    says: str


class Place(Struct, frozen=True):
    """One method of one path. `body` and `answer` map a media type to a type of `schemas`, or to None for bytes."""

    method: str
    path: str
    role: Role
    handler: Handler
    says: str
    answer: dict[str, Any]
    body: dict[str, Any] = {}
    query: tuple[Query, ...] = ()
    headers: tuple[Query, ...] = ()
    draft: bool = False
    """A POST that changes nothing on the ledger."""

    @property
    def writes(self) -> bool:
        """Whether it takes Idempotency-Key and wait=final."""
        return self.method == "POST" and not self.draft


Kinds = dict[str, Any]
