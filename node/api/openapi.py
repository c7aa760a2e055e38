"""OpenAPI 3.1 for the socket, from the table of places and the types of `schemas`.

https://spec.openapis.org/oas/v3.1.1; the schemas are msgspec's.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from node import __version__
from node.api.place import Place, Query
from node.api.places import PLACES
from node.api.problems import PROBLEM_JSON, Problem
from node.api.schemas import Accepted

_INT = re.compile(r"\{(\w+):int\}")


def openapi() -> dict[str, Any]:
    """The whole document."""
    kinds = [kind for place in PLACES for kind in (*place.body.values(), *place.answer.values()) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        [*kinds, Accepted, Problem], ref_template="#/components/schemas/{name}"
    )
    by_kind = {repr(kind): schema for kind, schema in zip([*kinds, Accepted, Problem], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for place in PLACES:
        paths.setdefault(_INT.sub(r"{\1}", place.path), {})[place.method.lower()] = _operation(place, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chartledger",
            "version": __version__,
            "description": "The local socket of a node. Digests are hex, bytes in JSON base64, times ledger ms.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(place: Place, by_kind: dict[str, Any]) -> dict[str, Any]:
    names = _INT.findall(place.path)
    parameters = [_parameter(Query(name, "integer", f"the {name}'s number"), "path") for name in names]
    parameters += [_parameter(query, "query") for query in place.query]
    parameters += [_parameter(header, "header") for header in place.headers]
    answers: dict[str, Any] = {"200": {"description": "done", "content": _content(place.answer, by_kind)}}
    if place.writes:
        parameters.append(
            _parameter(Query("wait", "string", "final: answer when final; absent: when durable"), "query")
        )
        parameters.append(
            _parameter(Query("Idempotency-Key", "string", "a repeat with it never writes twice"), "header")
        )
        answers["202"] = {
            "description": "durable, not final yet",
            "content": {"application/json": {"schema": by_kind[repr(Accepted)]}},
        }
    answers["default"] = {"description": "a named error", "content": {PROBLEM_JSON: {"schema": by_kind[repr(Problem)]}}}
    role = place.role.name.lower()
    operation: dict[str, Any] = {
        "operationId": f"{place.handler.__module__.rpartition('.')[2]}_{place.handler.__name__}",
        "summary": place.says,
        "description": f"Role: {role}.",
        "parameters": parameters,
        "responses": answers,
    }
    if place.body:
        operation["requestBody"] = {"required": True, "content": _content(place.body, by_kind)}
    return operation


def _content(kinds: dict[str, Any], by_kind: dict[str, Any]) -> dict[str, Any]:
    return {media_type: {} if kind is None else {"schema": by_kind[repr(kind)]} for media_type, kind in kinds.items()}


def _parameter(query: Query, where: str) -> dict[str, Any]:
    return {
        "name": query.name,
        "in": where,
        "required": where == "path",
        "description": query.says,
        "schema": {"type": query.kind},
    }
