"""Why the records side refuses something: named errors that never carry record content or labels."""

from __future__ import annotations

from protocol.errors import ChartledgerError


class RecordsError(ChartledgerError):
    """The records side refused."""


class NotFhir(RecordsError):
    """The bytes are not a FHIR resource in JSON."""

    advice = (
        "Send UTF-8 JSON with a resourceType, without a byte order mark; other formats go in as raw bytes under their "
        "own media type (--media-type on the command line)."
    )


class BadBundle(RecordsError):
    """The bytes are not a FHIR Bundle whose entries can be told apart."""

    advice = "Send a Bundle whose entries each hold one resource, each name once per object."


class BadRecord(RecordsError):
    """The record's description is not acceptable."""

    advice = "See docs/integrators.md for media types, labels and limits."


class SensitivitiesUnstated(RecordsError):
    """The record is FHIR that is not looked into, and nothing says how sensitive it is."""

    advice = (
        "State the codes in Sensitivities, or none; or send JSON of at most 8 MiB, or a Bundle of up to 64 MiB with "
        "split=true: those are looked into."
    )


class UnknownSensitivity(RecordsError):
    """A sensitivity that was stated is not known here."""

    advice = (
        "GET /v1/labels lists the codes that are known; to use another all the same, define it in the node's table of "
        "sensitivities, or add custom=true (--custom on the command line)."
    )


class UnknownCategory(RecordsError):
    """The category that was stated is not known here."""

    advice = (
        "GET /v1/labels lists the categories that are known; to use another all the same, define it in the node's "
        "table of sensitivities, or add custom=true (--custom on the command line)."
    )


class NotCustodian(RecordsError):
    """This institution is not the custodian of that chart."""

    advice = (
        "Send it to the custodian's own socket, which GET /v1/charts/{chart} names; to write under a patient's grant, "
        "name it (grant=G, or --grant on the command line)."
    )


class PermitRefused(RecordsError):
    """The write permit does not fit what the ledger says."""

    advice = "Have the patient's wallet make it anew: `chartledger permit CHART GRANT --wallet FILE`."


class PermitMissing(RecordsError):
    """This institution has no write permit under that grant."""

    advice = (
        "Ask the patient for one: `chartledger permit CHART GRANT --wallet FILE` hands it in at this node's socket, or "
        "writes a file for `chartledger access permit`."
    )


class PermitOutdated(RecordsError):
    """The chart's tags or its owner's key changed after this write permit was made."""

    advice = "Ask the patient for a new one: `chartledger permit CHART GRANT --wallet FILE`."


class BeyondPermit(RecordsError):
    """The write permit does not cover a label of this record."""

    advice = (
        "Give the record a label that the grant covers, if one is true of it; else ask the patient for a wider grant "
        "and its permit. A label that no wallet knows by itself must be named in the grant."
    )


class NotWriter(RecordsError):
    """This institution did not write that record."""

    advice = "Ask the institution that the record's event names, or its holders."


class NotHeld(RecordsError):
    """This institution holds no copy of that record."""

    advice = "Ask the holders that the record's event names, in their order."


class HoldRefused(RecordsError):
    """What a writer handed over to be held is not acceptable."""

    advice = "The reason says which rule of docs/spec/records.md it breaks."


class TooMuchHeld(RecordsError):
    """A writer handed over more than may wait to become final."""

    advice = "Wait until what was handed over is final, or was swept."


class TooFewHolders(RecordsError):
    """The writer does not release, and too few holders gave shares that fit."""

    advice = "Try again later: the asking stays valid until its release deadline. GET /v1/peers says who is away."


class PassRefused(RecordsError):
    """The owner's reading pass does not count here and now."""

    advice = "Make a new one with the wallet that owns the chart, for the institution whose node is asked."


class ChartUnknownHere(RecordsError):
    """The ledger knows this chart, but this custodian's secret for it is not stored here."""

    advice = "Restore the records database from its backup before writing to this chart."


class OtherSecret(RecordsError):
    """This is not the chart's secret, or the custodian keeps another already."""

    advice = "Use the wallet that opened the chart; the secret of a chart is taken over once and never replaced."


class RecordUnknownHere(RecordsError):
    """No record of this number is stored here."""

    advice = "Records are stored at the institution that wrote them, which GET /v1/charts/{chart}/records tells."


class ReasonMissing(RecordsError):
    """Whoever reads in an emergency says why."""

    advice = "Give the reason in details.reason (--reason on the command line): the patient is told it, nobody else."


class NotStated(RecordsError):
    """This institution stated no details about that asking."""

    advice = "Details lie at the institution that asked, and sealed to the owner at the chart's custodian."


class NoSuchDraft(RecordsError):
    """No note of this number waits here for its owner's co-signature."""

    advice = "Begin the note anew: drafts wait for ten minutes, and not across a restart."


class RecordErased(RecordsError):
    """The record was erased."""

    advice = "What it said is kept nowhere that the ledger knows of; GET /v1/charts/{chart}/erasures says who answered."


class NothingCovered(RecordsError):
    """The grant covers no record that could be asked for."""

    advice = "Name the records by their event numbers; a disclosure names from 1 to 10,000 of them."


class ReleaseDenied(RecordsError):
    """The disclosure on the ledger was denied."""

    advice = "The reason stands in the disclosure; ask the patient for a grant that covers it."


class NotDisclosed(RecordsError):
    """No final disclosure by this institution covers that record."""

    advice = "POST /v1/disclosures first, and read with the event number that it answers."


class GrantEnded(RecordsError):
    """The disclosure stands, but its grant is no longer in force."""

    advice = "Ask the patient for a new grant, then disclose again."


class ReleaseOverdue(RecordsError):
    """The disclosure is older than keys may be released for."""

    advice = "Disclose again: each disclosure has a release deadline."


class NotFresh(RecordsError):
    """The custodian's last final block is too old to release anything by it."""

    advice = "Wait until the chain goes on; GET /v1/status says what is wrong."


class CustodianUnreachable(RecordsError):
    """The custodian did not answer."""

    advice = "Try again later: the disclosure stays valid until its release deadline."


class CustodianRefused(RecordsError):
    """The custodian answered with what this version does not understand."""

    advice = "Compare the versions of both nodes; GET /v1/peers tells them."


class PartlyFinal(RecordsError):
    """Some of the transactions of this request are final, and others can never be."""

    advice = "GET /v1/charts/{chart}/records shows what stands; send the rest in a new request."
