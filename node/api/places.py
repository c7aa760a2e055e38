"""Every place on the socket, in one table: what answers there, to whom, and what goes in and out.

Routes and /openapi.json are both made from it, so they cannot differ; docs/integrators.md is held to it by a test.
"""

from __future__ import annotations

from typing import Any

from node.api import (
    access,
    access_schemas,
    control,
    control_schemas,
    erasing,
    erasing_schemas,
    governance,
    labels,
    look,
    motion_schemas,
    proofs,
    records,
    schemas,
    stream,
    submit,
)
from node.api.context import Handler
from node.api.own_places import OWN_READING
from node.api.peercred import Role
from node.api.place import ANY, BYTES, EVENTS, JSON, TEXT, Kinds, Place, Query

FIRST = Query("first", "integer", "the number to begin with")
EPOCH = Query("epoch", "integer", "the epoch whose authorities the verifier trusts; 0, the genesis's, without it")
COUNT = Query("count", "integer", "how many at most")
PAGED = (FIRST, COUNT)
LABELS = (
    Query("Category", "string", "the record's category, when it is not FHIR or to overrule it"),
    Query("Year", "string", "the clinical year, or none"),
    Query("Sensitivities", "string", "HL7 v3 sensitivity codes, separated by commas; added to those in the record"),
    Query("Supersedes", "integer", "the event number of the record that this one amends"),
)


def _look(path: str, handler: Handler, answer: Kinds, says: str, query: tuple[Query, ...] = ()) -> Place:
    return Place("GET", path, Role.LOOK, handler, says, answer, query=query)


def _read(path: str, handler: Handler, answer: Kinds, says: str, query: tuple[Query, ...] = ()) -> Place:
    """What bears record contents or labels, and so is for submitters."""
    return Place("GET", path, Role.SUBMIT, handler, says, answer, query=query)


def _send(path: str, handler: Handler, body: Kinds, answer: Any, says: str) -> Place:
    return Place("POST", path, Role.SUBMIT, handler, says, {JSON: answer}, body)


def _govern(path: str, handler: Handler, body: Any, answer: Any, says: str) -> Place:
    """What speaks for the institution."""
    return Place("POST", path, Role.GOVERN, handler, says, {JSON: answer}, {JSON: body})


BLOCK = "/v1/blocks/{height:int}"
MOTION = "/v1/motions/{motion:int}"
CHART = "/v1/charts/{chart:int}"
RECORD = "/v1/charts/{chart:int}/records/{record:int}"
DISCLOSED = "/v1/disclosures/{chart:int}/{disclosure:int}/records"
PROOFS = "/v1/proofs/charts/{chart:int}"
HEIGHT = Query("height", "integer", "of which block, instead of the head")
EMERGENCY = "/v1/emergencies/{chart:int}/{emergency:int}"

NODE = (
    _look("/v1/status", look.status, {JSON: Kinds}, "The status document: is all well, and what to do if not"),
    _look("/v1/health", look.health, {JSON: schemas.Health}, "200 when healthy, 503 when not"),
    _look("/v1/peers", look.peers, {JSON: list[Kinds]}, "The other institutions' nodes as seen from here"),
    _look("/v1/labels", labels.known, {JSON: schemas.LabelsOut}, "Which labels are known here, and what they mean"),
    _look("/metrics", look.metrics, {TEXT: None}, "Metrics in Prometheus' text format"),
    Place(
        "GET",
        "/v1/events",
        Role.LOOK,
        stream.events,
        "Server-sent events: final blocks, and what they did to one chart",
        {EVENTS: None},
        query=(Query("chart", "integer", "also tell what happens to this chart"),),
        headers=(Query("Last-Event-ID", "integer", "the height of the last block seen, to go on from there"),),
    ),
)
CHAIN = (
    _look("/v1/institutions", look.institutions, {JSON: list[schemas.InstitutionOut]}, "All institutions"),
    _look("/v1/genesis", proofs.genesis, {BYTES: None}, "What the chain started from; the digest is the chain's id"),
    _look("/v1/blocks", look.blocks, {JSON: list[schemas.BlockOut]}, "Final blocks; the last without first", PAGED),
    _look(BLOCK, look.block, {JSON: schemas.BlockOut}, "One final block"),
    _send(
        "/v1/transactions",
        submit.transactions,
        {JSON: schemas.TransactionsIn, BYTES: None},
        schemas.TransactionsDone,
        "Submit transactions that clients signed",
    ),
)
PROVING = (
    _look(
        "/v1/proofs/final",
        proofs.final,
        {BYTES: None},
        "The proof that a block is final, which checkpoints are made of",
        (EPOCH, HEIGHT),
    ),
    _look(
        PROOFS + "/events/{event:int}",
        proofs.inclusion,
        {BYTES: None},
        "The inclusion proof of an event, for chartledger verify",
        (EPOCH,),
    ),
    _look(
        f"{PROOFS}/history",
        proofs.history,
        {BYTES: None},
        "The proof of all that happened to a chart, or of as much as one proof carries",
        (EPOCH, FIRST),
    ),
    _look(
        PROOFS + "/grants/{grant:int}",
        proofs.grant,
        {BYTES: None},
        "The proof that a grant is in force or is not, now or at a height",
        (
            EPOCH,
            HEIGHT,
            Query("institution", "integer", "for whom"),
            Query("record", "integer", "as to reading this record; not with height"),
        ),
    ),
    _look(
        PROOFS + "/erasures/{erasure:int}",
        proofs.erasure,
        {BYTES: None},
        "The proof of who acknowledged an erasure and who did not",
        (EPOCH,),
    ),
    _read(
        PROOFS + "/records/{record:int}",
        proofs.record,
        {BYTES: None},
        "The inclusion proof of a record stored here, which also shows its bytes to who holds them",
        (EPOCH,),
    ),
    _read(
        PROOFS + "/records/{record:int}/field",
        proofs.one_field,
        {BYTES: None},
        "The proof of one field of a record stored here",
        (EPOCH, Query("pointer", "string", "the field, as a JSON pointer (RFC 6901)")),
    ),
)
CHARTS = (
    _send(
        "/v1/charts",
        submit.open_chart,
        {JSON: schemas.ChartIn},
        schemas.ChartOpened,
        "Open a chart with this institution as custodian",
    ),
    _look(
        "/v1/charts",
        look.charts,
        {JSON: list[schemas.ChartOut]},
        "The chart of an owner key, or the charts that this institution keeps",
        (
            Query("owner_key", "string", "the owner's Ed25519 key in hex"),
            Query("former", "boolean", "also the chart that this key was the owner's of, or was to be"),
            *PAGED,
        ),
    ),
    _look(CHART, look.chart, {JSON: schemas.ChartOut}, "A chart at the final head"),
    _look(f"{CHART}/events", look.history, {JSON: schemas.EventsOut}, "All that happened to a chart", PAGED),
    _look(f"{CHART}/records", look.records, {JSON: schemas.EventsOut}, "The records among a chart's events", PAGED),
    _look(f"{CHART}/disclosures", look.disclosures, {JSON: schemas.EventsOut}, "Who looked, when and why", PAGED),
    _look(CHART + "/grants/{grant:int}", control.grant, {JSON: control_schemas.GrantOut}, "A grant as it stands"),
    _look(
        f"{CHART}/control",
        control.control,
        {JSON: control_schemas.ControlOut},
        "All grants, the policy, delegates, guardians, and what waits",
    ),
    Place(
        "PUT",
        f"{CHART}/owner-key",
        Role.SUBMIT,
        control.hand_in_owner_key,
        "Hand in the owner's new envelope key, at the custodian or another writer",
        {JSON: control_schemas.OwnerKeyDone},
        {JSON: control_schemas.OwnerKeyIn},
    ),
    Place(
        "PUT",
        f"{CHART}/custody",
        Role.SUBMIT,
        control.take_over,
        "Take over a chart whose former custodian was removed: its secret and the owner's envelope key",
        {JSON: control_schemas.CustodyDone},
        {JSON: control_schemas.CustodyIn},
    ),
    _read(
        f"{CHART}/secret-envelope",
        control.secret_envelope,
        {BYTES: None},
        "The chart's secret, sealed to its owner, at the custodian",
    ),
    _read(
        f"{CHART}/pseudonym",
        control.pseudonym,
        {JSON: control_schemas.PseudonymOut},
        "What this institution calls one of its staff towards the chart's owner",
        (Query("staff", "string", "the id that the institution has for the person"),),
    ),
    _send(
        "/v1/operations",
        submit.operation,
        {JSON: schemas.OperationIn},
        schemas.OperationDone,
        "Submit what the owner, a delegate or guardians signed",
    ),
)
RECORDS = (
    Place(
        "POST",
        f"{CHART}/records",
        Role.SUBMIT,
        records.submit,
        "Submit records: one raw body, a FHIR Bundle with split=true, or a JSON list",
        {JSON: schemas.RecordsStored},
        {ANY: None, "application/fhir+json": None, JSON: schemas.RecordsIn},
        query=(
            Query("split", "boolean", "the body is a FHIR Bundle: each entry's resource becomes a record"),
            Query("grant", "integer", "write under this grant, to a chart that another institution keeps"),
            Query("custom", "boolean", "the labels stated may be such as are not known here"),
        ),
        headers=LABELS,
    ),
    Place(
        "PUT",
        f"{CHART}/write-permit",
        Role.SUBMIT,
        records.hand_in_permit,
        "Hand in what the owner's wallet made for writing under a grant, at the institution that is to write",
        {JSON: schemas.PermitDone},
        {JSON: schemas.PermitIn},
    ),
    _read(RECORD, records.own, {JSON: schemas.RecordOut}, "A record at its writer"),
    _read(f"{RECORD}/content", records.own_content, {ANY: None}, "The writer's own record, exact bytes"),
    _read(f"{RECORD}/sealed", records.sealed, {BYTES: None}, "The record's blob, for its owner"),
    _read(f"{RECORD}/owner-envelope", records.owner_envelope, {BYTES: None}, "What opens the blob, for its owner"),
)
ERASING = (
    _look(
        f"{CHART}/erasures",
        erasing.listed,
        {JSON: list[erasing_schemas.ErasureOut]},
        "What was ordered erased, and which institutions have answered",
    ),
    _read(
        f"{CHART}/erasure-holders",
        erasing.holders,
        {JSON: erasing_schemas.HoldersOut},
        "Whom an erasure of these records must name",
        (Query("records", "string", "event numbers of records, separated by commas"),),
    ),
    _look(f"{CHART}/holds", erasing.holds, {JSON: list[erasing_schemas.HoldOut]}, "Legal holds in force on a chart"),
    _govern(
        f"{CHART}/holds",
        erasing.place_hold,
        erasing_schemas.HoldIn,
        erasing_schemas.HoldDone,
        "Place a legal hold: nothing that it keeps can be erased",
    ),
    Place(
        "POST",
        CHART + "/holds/{hold:int}/release",
        Role.GOVERN,
        erasing.release_hold,
        "Release a legal hold",
        {JSON: erasing_schemas.HoldDone},
    ),
    _look(
        f"{RECORD}/standing",
        erasing.record_standing,
        {JSON: erasing_schemas.StandingOut},
        "Whether a record was amended, disputed or erased",
    ),
    Place(
        "POST",
        f"{CHART}/notes",
        Role.SUBMIT,
        erasing.draft_note,
        "Seal a note of dispute, for the owner to sign: nothing reaches the ledger yet",
        {JSON: erasing_schemas.NoteDraft},
        {JSON: erasing_schemas.NoteIn},
        draft=True,
    ),
    _send(
        CHART + "/notes/{draft:int}",
        erasing.sign_note,
        {JSON: erasing_schemas.NoteSigned},
        schemas.RecordsStored,
        "Put a note of dispute beside its record, with the owner's co-signature",
    ),
)
READING = (
    _send(
        "/v1/disclosures",
        access.disclose,
        {JSON: access_schemas.DisclosureIn},
        access_schemas.DisclosureDone,
        "Ask to read; the rules decide and the ledger remembers",
    ),
    _read(DISCLOSED, records.read_many, {JSON: schemas.ReadOut}, "Disclosed records, as many as go at once", PAGED),
    _read(DISCLOSED + "/{record:int}", records.read, {ANY: None}, "One disclosed record, exact bytes"),
    _read(
        "/v1/disclosures/{chart:int}/{disclosure:int}/details",
        access.details_stated,
        {JSON: access_schemas.DetailsOut},
        "What this institution stated about an asking of its own",
    ),
    _read(
        f"{CHART}/details",
        access.details_for_owner,
        {JSON: access_schemas.SealedDetailsOut},
        "What askers said to the owner of a chart kept here, sealed to it",
        PAGED,
    ),
    _send(
        "/v1/emergencies",
        access.break_glass,
        {JSON: access_schemas.EmergencyIn},
        access_schemas.DisclosureDone,
        "Read in an emergency, without a grant, and answer for it",
    ),
    _look(
        "/v1/emergencies",
        access.emergencies,
        {JSON: access_schemas.EmergenciesOut},
        "Emergencies that wait for a second institution or a review, and each institution's count",
    ),
    _read(
        "/v1/alerts",
        access.alerts,
        {JSON: list[access_schemas.AlertOut]},
        "What looks like snooping, for the privacy officer",
        (Query("days", "integer", "how many days to look back; 30 without it"),),
    ),
    _send(
        f"{EMERGENCY}/confirm",
        access.confirm,
        {},
        access_schemas.EmergencyDone,
        "Vouch for another institution's emergency",
    ),
    _send(
        f"{EMERGENCY}/review",
        access.review,
        {JSON: access_schemas.ReviewIn},
        access_schemas.EmergencyDone,
        "State whether another institution's emergency was justified",
    ),
)
GOVERNANCE = (
    _look(
        "/v1/motions",
        governance.listed,
        {JSON: list[motion_schemas.MotionOut]},
        "Motions that can be voted on; all that ever were with all=true",
        (Query("all", "boolean", "also those that passed, were lost or expired"), *PAGED),
    ),
    _look(MOTION, governance.shown, {JSON: motion_schemas.MotionOut}, "One motion, and how the votes stand"),
    _look(
        "/v1/evidence",
        governance.evidence,
        {JSON: list[motion_schemas.EvidenceOut]},
        "Authorities that contradicted themselves, with the votes that convict them",
        (COUNT,),
    ),
    _govern(
        "/v1/motions",
        governance.propose,
        motion_schemas.MotionIn,
        motion_schemas.MotionDone,
        "Move a change of the consortium, and vote for it",
    ),
    _govern(
        f"{MOTION}/ballots", governance.vote, motion_schemas.BallotIn, motion_schemas.MotionDone, "Vote on a motion"
    ),
    _govern(
        "/v1/institution/keys",
        governance.rotate_key,
        motion_schemas.KeyChangeIn,
        motion_schemas.KeyChanged,
        "Change one of this institution's own keys",
    ),
)
PLACES: tuple[Place, ...] = (*NODE, *CHAIN, *PROVING, *CHARTS, *RECORDS, *ERASING, *READING, *OWN_READING, *GOVERNANCE)
