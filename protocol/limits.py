"""Bounds that hold on every chain, whatever its parameters. Units stand last in a name.

A decoder refuses what is larger before it allocates; docs/spec/limits.md lists each with its reason.
"""

from __future__ import annotations

TRANSACTION_BYTES = 256 * 1024
OPERATIONS_PER_TRANSACTION = 64
ENTRIES_PER_OPERATION = 1_000
COSIGNATURES_PER_OPERATION = 16  # all guardians, or the owner
BLOCK_BYTES = 4 * 1024 * 1024  # hard bound; `Params.block_bytes` is at most this
TRANSACTIONS_PER_BLOCK = 20_000
BLOCK_COST = 24_000  # what a block's operations may cost in all, in units of about 10 us
TRANSACTION_COST = 12_000
OPERATION_COST = 4  # each; then for what it names:
ITEM_COST = 1  # a record, or an entry
GRANT_COST = 16  # a grant, whose leaf may hold 37 kB of tags
POLICY_COST = 4  # a policy, whose leaf may hold 13 kB of tags
DELEGATE_COST = 16  # a delegate, whose leaf is as large as a grant's
GUARDIANS_COST = 96  # as many signatures as there may be guardians
HOLDS_COST = 32
EMERGENCY_COST = 16
TAGS_PER_POSITION = 512
PURPOSES_PER_GRANT = 64
GRANTS_PER_CHART = 1_024  # ever made
GRANTS_BY_DELEGATES = 768  # no delegate makes one beyond these: the rest is for the owner
EVENTS_PER_CHART = 1 << 24  # storage finds an event by one 63-bit integer: 39 bits of chart, 24 of event
REISSUES_PER_REVOKE = 256
DELEGATES_PER_REVOKE = 64
GRANTEES_PER_GRANT = 64
PRACTITIONERS_PER_GRANT = 64
BARS_PER_CHART = 16
TAGS_PER_BAR = 16
DELEGATES_PER_CHART = 64  # ever named
GUARDIANS_PER_CHART = 16
RECORDS_PER_DISCLOSURE = 10_000
RECORD_EVENT_BYTES = 1_024  # no record's event is larger; operations look at no other events
HOLDERS_PER_RECORD = 8
RECORDS_PER_ERASURE = 1_000
HOLDERS_PER_ERASURE = 256
RECORDS_PER_HOLD = 256
HOLDS_PER_CHART = 32  # in force at once
ERASED_PAGE_EVENTS = 4_096  # a leaf of the erased ones' bitmap covers so many events
EMERGENCIES_UNREVIEWED = 256  # of one institution; until some are reviewed it may open no more
DETAIL_CHARACTERS = 120  # each thing said of who asks, in confidence
DETAIL_REASON_CHARACTERS = 2_000
DETAILS_BYTES = 12 * 1024  # sealed details are padded to this, so that their size tells nothing
OPERATION_KEYS_PER_INSTITUTION = 8
AUTHORITIES = 256
HOPS_PER_PROOF = 256  # ends of epochs, of at most 32 kB each, so that a proof fits a frame
PROOF_BYTES = 16 * 1024 * 1024  # of a file
EVENTS_PER_PROOF = 65_536  # of a chart's history, in one proof
EVENTS_BYTES_PER_PROOF = 4 * 1024 * 1024  # after these a node ends the run of events, and another proof goes on
HEADERS_PER_PROOF = 512  # from a block to the one above it whose certificate is at hand
INSTITUTIONS = 65_535
NAME_BYTES = 80
LABEL_BYTES = 64  # a label behind a tag, never on the ledger
FIELDS_PER_RECORD = 4_095  # what a commitment opens one by one
FIELD_DEPTH = 64
POINTER_BYTES = 1_024  # of a JSON pointer to anything in a record
FIELDS_BYTES = 1024 * 1024  # a JSON record above this commits to its bytes alone
CERTIFICATE_DER_BYTES = 2_048
CERTIFICATES_PER_INSTITUTION = 2
MOTIONS_PER_PROPOSER = 8  # open at once
MOTIONS_OPEN = AUTHORITIES * MOTIONS_PER_PROPOSER  # no authority can use up another's share
PARAMETERS_PER_MOTION = 16
MOTION_COST = 112  # a motion or a ballot, which may carry a whole application beside 2,048 open motions
KEY_CHANGE_COST = 16
EVIDENCE_COST = 32  # two signatures, and another epoch's set
WINDOW_BITS_INSTITUTION = 4_096
WINDOW_BITS_OWNER = 64
NUMBER_JUMP = 1 << 20  # how far above the highest number used a new one may lie
UNFINALIZED_DEPTH = 16  # notarized but not final blocks in a row
FRAME_BYTES = 8 * 1024 * 1024
U53 = (1 << 53) - 1  # integers stay exact in every JSON reader
