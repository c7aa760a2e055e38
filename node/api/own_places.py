"""The places on the socket where owners and delegates read with keys of their own; a part of `node.api.places`."""

from __future__ import annotations

from typing import Any

from node.api import own_reading, own_schemas
from node.api.context import Handler
from node.api.peercred import Role
from node.api.place import BYTES, JSON, Kinds, Place, Query

PUBLIC = Query("public", "string", "the delegate's public encryption key in hex")
HOLDERS = Query("holders", "boolean", "from the holders alone: what the writer gave does not open")
SOURCE = Query("source", "integer", "from this institution alone")

CHART = "/v1/charts/{chart:int}"
RECORD = CHART + "/records/{record:int}"
DISCLOSED = "/v1/disclosures/{chart:int}/{disclosure:int}/records/{record:int}"


def _owner(path: str, handler: Handler, body: Any, answer: Kinds, says: str, query: tuple[Query, ...] = ()) -> Place:
    """What an owner reads by a pass, through whichever institution's node; nothing of it reaches the ledger."""
    return Place("POST", path, Role.SUBMIT, handler, says, answer, {JSON: body}, query, draft=True)


def _delegate(path: str, handler: Handler, answer: Kinds, says: str, *query: Query) -> Place:
    return Place("GET", path, Role.SUBMIT, handler, says, answer, query=query)


OWN_READING = (
    _owner(
        f"{RECORD}/owner-parts",
        own_reading.owner_parts,
        own_schemas.OwnerReadIn,
        {JSON: own_schemas.PartsOut},
        "What opens any record of the chart, for its owner, from its writer or holders wherever they are",
        (HOLDERS,),
    ),
    _owner(
        f"{RECORD}/owner-sealed",
        own_reading.owner_sealed,
        own_schemas.OwnerReadIn,
        {BYTES: None},
        "The blob of any record of the chart, for its owner, from wherever it is",
        (SOURCE,),
    ),
    _owner(
        f"{CHART}/owner-details",
        own_reading.owner_details,
        own_schemas.OwnerDetailsIn,
        {JSON: own_schemas.OwnerDetailsOut},
        "What askers said to the chart's owner, from them and from its custodian",
    ),
    _delegate(
        f"{DISCLOSED}/sealed",
        own_reading.delegate_sealed,
        {BYTES: None},
        "The record's blob, for the delegate who asked",
        SOURCE,
    ),
    _delegate(
        f"{DISCLOSED}/delegate-envelope",
        own_reading.delegate_envelope,
        {BYTES: None},
        "What opens the blob, for the delegate who asked, from the record's writer",
        PUBLIC,
    ),
    _delegate(
        f"{DISCLOSED}/delegate-parts",
        own_reading.delegate_parts,
        {JSON: own_schemas.PartsOut},
        "What opens the blob, for the delegate who asked, from the writer or from holders",
        PUBLIC,
        HOLDERS,
    ),
)
