"""Why storage refuses or fails, by name."""

from __future__ import annotations

from protocol.errors import ChartledgerError


class StorageError(ChartledgerError):
    """Something on this node's disk is not as it must be."""

    advice = "Run `chartledger doctor`; docs/operators.md says how to restore from a backup or from the other nodes."


class StorageFailed(StorageError):
    """The disk or the database refused to read or write; nothing of the change was kept."""

    advice = "Look for a full or failing disk, then start the node again: nothing half-written is left."


class DatabaseTooNew(StorageError):
    """The database was written by a newer version of chartledger."""

    advice = "Start the version that wrote it, or restore a backup made by this version."


class DatabaseTooOld(StorageError):
    """The database was written by an older version and may only be read here."""

    advice = "Start the node once with this version: it brings the database up to date."


class WrongDatabase(StorageError):
    """The file is not the chartledger database that its place says."""

    advice = "Check the data folder in the configuration."


class FolderInUse(StorageError):
    """Another process is using this data folder."""

    advice = "Stop the other node first, or give this one a data folder of its own."


class OutOfOrder(StorageError):
    """A block was to be stored that does not follow the last one stored."""


class NumberTaken(StorageError):
    """Another transaction with this key and number is in the outbox already."""

    advice = "Take the next free number of the key and sign again."


class BlobMissing(StorageError):
    """The blob is not where it must be."""

    advice = "Restore the blob store from a backup; the ledger still proves what the blob was."


class BlobCorrupt(StorageError):
    """The blob's bytes are not those that were stored."""

    advice = "Restore the blob store from a backup; the ledger still proves what the blob was."
