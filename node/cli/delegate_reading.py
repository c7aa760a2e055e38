"""Reading as a delegate on the command line: the delegate's wallet signs the asking, any institution's node carries it
and hands on what comes back."""

from __future__ import annotations

from node.cli.bulk import Denied
from node.cli.client import Document, Session
from node.cli.parts import read_handed_on
from node.parts_reading import ReaderKey, WhichRecord
from node.wallet import Wallet
from node.wallet.acting import delegacy, sign_as_delegate
from protocol.codec.canonical import decode
from protocol.crypto.envelopes import keypair_from_seed
from protocol.crypto.wallet import delegate_keys
from protocol.types.operations import Disclose, SignedOperation


def read_as_delegate(
    session: Session, wallet: Wallet, chart: int, record: int, purpose: str, disclosure: int | None
) -> tuple[int, bytes]:
    """The event number of the asking, made anew unless `disclosure` names one, and the record's exact bytes, checked.
    Raises `NotADelegate`, `Denied`, `NothingOpens`, and what the node says."""
    chain = session.chain()
    mine = delegacy(wallet, chain, session.control(chart), "read")
    seed = delegate_keys(wallet.seed, chain, chart).encryption_seed
    suite = mine["encryption_suite"]
    if disclosure is None:
        operation = Disclose(chart, None, (record,), purpose)
        signed = decode(
            SignedOperation, sign_as_delegate(wallet, chain, mine, chart, operation, session.ledger_now())
        ).cosignatures[0]
        cosignature = {
            "delegate": signed.actor,
            "number": signed.number,
            "expires_at": signed.expires_at,
            "signature": signed.signature.hex(),
        }
        answer = session.disclose_for_delegate(chart, purpose, [record], cosignature)
        disclosure = int(answer["disclosure"])
        if answer["outcome"] != "disclosed":
            raise Denied.of(answer, advice="`chartledger delegate list` shows what you may do; the owner can widen it.")
    place = f"/v1/disclosures/{chart}/{disclosure}/records/{record}"
    public = keypair_from_seed(suite, seed)[1].hex()

    def ask(holders: bool) -> Document:
        return session.client.get(f"{place}/delegate-parts", public=public, holders=str(holders).lower())

    def fetch(source: int) -> bytes:
        return session.client.read(f"{place}/sealed", source=source)

    which = WhichRecord.of_event(chain, chart, session.event(chart, record))
    return disclosure, read_handed_on([ReaderKey.from_seed(suite, seed)], which, ask, fetch).data
