"""The core's face towards the socket; the shapes stand in `node.services`, where the core can reach them.

The core implements `node.services.NodeServices`; `node.app` then builds, in this order::

    records = Records(node, records_store, blob_store, RecordKeys(kek=..., encryption_seed=...), inbox_folder)
    api = ApiServer(ApiSettings(socket=..., submit_uids=..., ...), node, records, idempotency_store)
    await api.start() ; ... ; await api.stop()

and routes a peer's request whose method begins with `records.` to `await records.answer(peer, method, payload)`.
"""

from node.services import (
    Dead,
    Final,
    FinalBlock,
    NodeServices,
    Operations,
    Outcome,
    Peers,
    Prepared,
    Queries,
    Submission,
    Waiting,
)

__all__ = [
    "Dead",
    "Final",
    "FinalBlock",
    "NodeServices",
    "Operations",
    "Outcome",
    "Peers",
    "Prepared",
    "Queries",
    "Submission",
    "Waiting",
]
