"""The core's face towards the socket; the shapes stand in `node.services`, where the core can reach them.

The core implements `node.services.NodeServices`; `node.app` then builds, in this order::

    records = Records(node, store=ledger_store.records, blobs=blob_store, keys=RecordKeys(kek, suite, seed),
                      folder=data_folder, threads=pool)
    settings = ApiSettings(socket=config.socket, roles=role_map(config.submitters), group=config.socket_group,
                           stop_s=config.stop_seconds)
    api = make_api(settings, node, records, ledger_store.idempotency, secret=kek)
    await records.start()   # once the outbox is loaded
    await api.start()       # ... and at the end: await api.stop()

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
