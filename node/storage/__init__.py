"""What a node keeps on disk: the ledger, its journal of votes, the records of its own charts and their blobs."""
