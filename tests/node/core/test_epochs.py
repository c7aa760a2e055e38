"""The whole network goes from one epoch to the next: sets, parameters and keys change, and nothing stops."""

from __future__ import annotations

import asyncio
from typing import Any

from node.rotations import forget, new_certificate, new_encryption_key, new_operations_key, new_vote_key
from node.storage.journal import journals
from node.storage.ledger_store import LedgerStore
from protocol.codec.canonical import encode
from protocol.crypto.signing import SigningKey, sign_transaction, sign_vote
from protocol.ledger import keys
from protocol.sync.messages import Transactions
from protocol.types.governance import (
    Ballot,
    Change,
    GiveAuthority,
    Motion,
    Parameter,
    RetireNetworkCertificate,
    RetireOperationsKey,
    RotateInstitutionKey,
    SetParameters,
    Suspend,
)
from protocol.types.institutions import RETIRED_KEY
from protocol.types.operations import AppendRecords, RecordEntry, SignedOperation
from protocol.types.transaction import TransactionBody
from protocol.types.votes import NOTARIZE, VoteSubject

Devnet = Any  # the fixture's type stands in conftest.py, which tests do not import


def motion(devnet: Devnet, change: Change) -> SignedOperation:
    return SignedOperation(Motion(change, devnet.services(0).now_ms() + 3_600_000))


async def pass_motion(devnet: Devnet, change: Change, voters: tuple[int, ...] = (1, 2)) -> int:
    """Move it at institution 0, and have the others vote for it; the height of the block that decided it."""
    (moved,) = await devnet.submit(0, [[motion(devnet, change)]])
    number = moved.receipt.operations[0].motion
    height = moved.height
    for voter in voters:
        await devnet.height(voter, height)
        (final,) = await devnet.submit(voter, [[SignedOperation(Ballot(number, change, True))]])
        height = final.height
    return height


async def test_a_change_of_parameters_ends_the_epoch_and_the_chain_goes_on(devnet: Devnet) -> None:
    await devnet.met(0)
    height = await pass_motion(devnet, SetParameters((Parameter("delta_ms", 700),)))
    for number in range(4):
        await devnet.height(number, height)
    async with asyncio.timeout(60):
        await devnet.open_charts(3, 0, 3)
    assert devnet.services(3).head().epoch == 1
    assert devnet.services(3).driver.machine.config.delta_ms == 700
    await devnet.stop(3)
    await devnet.start(3)
    assert devnet.services(3).driver.term.epoch == 1
    await devnet.met(3)
    async with asyncio.timeout(60):
        await devnet.open_charts(3, 3, 3)


async def test_a_fifth_institution_is_accredited_given_authority_and_votes(devnet: Devnet) -> None:
    await devnet.met(0)
    number = await devnet.accredit("Hospital 4")
    assert number == 4
    await devnet.start(4)
    await devnet.height(4, devnet.services(0).head().height)
    await devnet.met(4)
    await devnet.open_charts(4, 0, 1)  # it submits before it votes
    height = await pass_motion(devnet, GiveAuthority(4))
    for one in range(5):
        await devnet.height(one, height)
    assert [member.institution for member in devnet.services(4).standing.authorities.members] == [0, 1, 2, 3, 4]
    await devnet.stop(3)  # four of five are a quorum only with the newcomer
    async with asyncio.timeout(60):
        await devnet.open_charts(4, 1, 2)
    assert devnet.services(4).driver.machine.me == 4
    await devnet.start(3)
    await devnet.met(3)
    await suspend_the_fifth(devnet)


async def suspend_the_fifth(devnet: Devnet) -> None:
    height = await pass_motion(devnet, Suspend(4), (1, 2, 3))
    for one in range(4):
        await devnet.height(one, height)
    assert all(peer["institution"] != 4 for peer in devnet.services(0).peers())
    assert [member.institution for member in devnet.services(0).standing.authorities.members] == [0, 1, 2, 3]
    async with asyncio.timeout(60):
        await devnet.open_charts(2, 10, 2)


async def rotate_vote(devnet: Devnet, number: int) -> bytes:
    """As `chartledger keys rotate vote` at that node: its new public vote key."""
    services = devnet.services(number)
    own = services.standing.institution(number)
    change = new_vote_key(devnet.keys(number), devnet.config(number).data, devnet.chain, own.name, own.vote_key)
    (final,) = await devnet.submit(number, [[SignedOperation(RotateInstitutionKey(change))]])
    for one in range(4):
        await devnet.height(one, final.height)
    return change.key


async def test_a_journal_put_back_from_a_copy_stays_old_however_much_is_stored_after(devnet: Devnet) -> None:
    """Its mark is not lowered to what it has: at the second start the node would vote from the copy."""
    copy = devnet.journal(3).read_bytes()
    await devnet.stop(2)  # three of four are a quorum only with 3: what is final has its votes, however slow it is
    await devnet.open_charts(0, 0, 1)
    await devnet.height(3, devnet.services(0).head().height)
    await devnet.start(2)
    await devnet.stop(3)
    devnet.journal(3).write_bytes(copy)
    for chart in (1, 2):
        await devnet.start(3)
        assert devnet.services(3).driver.machine.me is None
        assert "old copy" in str(devnet.services(3).why_silent)
        await devnet.open_charts(0, chart, 1)
        await devnet.height(3, devnet.services(0).head().height)
        await devnet.stop(3)


async def test_a_node_that_lost_its_journal_votes_again_with_a_new_key(devnet: Devnet) -> None:
    await devnet.open_charts(0, 0, 1)
    await devnet.height(3, devnet.services(0).head().height)
    await devnet.stop(3)
    devnet.journal(3).unlink()
    await devnet.start(3)
    await devnet.met(3)
    assert devnet.services(3).driver.machine.me is None
    before = devnet.keys(3).keystore.votes
    key = await rotate_vote(devnet, 3)
    await devnet.stop(2)  # three of four are a quorum only with the one whose key was rotated
    async with asyncio.timeout(60):
        await devnet.open_charts(0, 1, 2)
    services = devnet.services(3)
    assert services.driver.machine.me == 3
    assert services.why_silent is None
    after = devnet.keys(3).keystore.votes
    assert not set(before) & set(after)
    assert [owner.vote_key for owner in journals(devnet.config(3).data).values()] == [key]


async def test_old_vote_keys_go_for_good_and_the_journal_of_the_new_one_is_not_made_again(devnet: Devnet) -> None:
    await devnet.met(0)
    old = devnet.journal(0)
    key = await rotate_vote(devnet, 0)
    async with asyncio.timeout(60):
        await devnet.open_charts(1, 0, 1)
        while devnet.services(0).driver.term.epoch == 0:
            await asyncio.sleep(0.01)  # the term changes right after the block is stored
    assert not old.exists()
    await devnet.stop(0)
    await devnet.start(0)
    assert devnet.services(0).driver.term.voting_key.key.public == key
    await devnet.stop(0)
    next(iter(journals(devnet.config(0).data))).unlink()
    await devnet.start(0)
    assert devnet.services(0).driver.machine.me is None
    assert "is missing" in devnet.services(0).why_silent


async def test_operations_and_encryption_and_network_keys_rotate_while_the_node_runs(devnet: Devnet) -> None:
    await devnet.met(0)
    services = devnet.services(0)
    own = services.standing.institution(0)
    held = devnet.keys(0)
    changes = [
        new_operations_key(held, devnet.chain, own.name, own.operation_keys),
        new_certificate(held, own.name, own.network_certificates),
        new_encryption_key(held, own.encryption_key),
    ]
    await devnet.submit(0, [[SignedOperation(RotateInstitutionKey(change))] for change in changes])
    (final,) = await devnet.submit(0, [[SignedOperation(RotateInstitutionKey(RetireOperationsKey(0)))]])
    assert services.standing.institution(0).operation_keys[0] == RETIRED_KEY
    (final,) = await devnet.submit(0, [[SignedOperation(RotateInstitutionKey(RetireNetworkCertificate(0)))]])
    for one in range(4):
        await devnet.height(one, final.height)
    await devnet.met(0)  # reconnected under the new certificate
    await devnet.stop(0)
    await devnet.start(0)
    await devnet.met(0)
    async with asyncio.timeout(60):
        await devnet.open_charts(0, 0, 1)


async def test_who_contradicts_itself_is_reported_and_loses_its_authority(devnet: Devnet) -> None:
    """Two honest nodes hold both votes and report it; the ledger takes one report, and no transaction is left over."""
    await devnet.met(0)
    await devnet.met(1)
    traitor = SigningKey(devnet.keys(3).keystore.votes[0])
    for witness in (0, 1):
        driver = devnet.services(witness).driver
        for block in (b"a" * 32, b"b" * 32):
            subject = VoteSubject(NOTARIZE, devnet.chain, 0, driver.machine.view, 0, block)
            driver.on_payload(3, encode(sign_vote(traitor, subject, 3)))
    async with asyncio.timeout(60):
        async with devnet.services(2).subscribe() as blocks:
            while len(devnet.services(2).standing.authorities.members) == 4:
                await anext(blocks)
        await devnet.open_charts(2, 0, 1)
    assert [member.institution for member in devnet.services(2).standing.authorities.members] == [0, 1, 2]
    (evidence,) = [one for one in (devnet.services(0).driver.evidence.get(3),) if one is not None]
    key = keys.evidence(evidence.epoch, evidence.index)
    assert await devnet.services(2).leaves([key])
    async with asyncio.timeout(60):
        while any(devnet.services(number).submission.pending for number in (0, 1)):
            await devnet.open_charts(2, 100 + devnet.services(2).head().height, 1)


async def test_refused_transactions_are_counted_by_who_signed_them(devnet: Devnet) -> None:
    """Institution 1 passes on what 2 signed, and 2 answers for it; for what is not signed at all 1 does."""
    services = devnet.services(0)
    owner = SigningKey(b"o" * 32)
    wrong = SignedOperation(AppendRecords(77, (RecordEntry(bytes(32), (bytes(16),) * 4),)))  # there is no such chart
    until = services.head().timestamp + 600_000
    body = TransactionBody(devnet.chain, 2, 1, 5, max(until, services.now_ms() + 600_000), (wrong,))
    signed = encode(sign_transaction(devnet.outside[2], body))
    forged = encode(sign_transaction(owner, body))
    services.gossip.on_payload(1, encode(Transactions((signed, forged))))
    async with asyncio.timeout(60):
        while not services.refused_of or not services.gossip.refused_from:
            await devnet.open_charts(0, services.head().height, 1)
    assert services.refused_of == {2: 1}
    assert services.gossip.refused_from == {1: 1}


async def test_a_node_whose_chain_was_dropped_catches_up_although_every_certificate_changed(devnet: Devnet) -> None:
    """It begins at the genesis, whose certificates nobody accepts any more, itself not even having its own."""
    await devnet.met(0)
    for number in range(4):
        own, held = devnet.services(number).standing.institution(number), devnet.keys(number)
        add = new_certificate(held, own.name, own.network_certificates)
        # One after the other, as operators are told to: whose old certificate is retired before it heard that the new
        # one counts is let in by neither.
        for change in (add, RetireNetworkCertificate(0)):
            final = await devnet.submit(number, [[SignedOperation(RotateInstitutionKey(change))]])
            for one in range(4):
                await devnet.height(one, final[-1].height)
        forget(held, own.network_certificates[0])
    await rotate_vote(devnet, 3)
    await devnet.open_charts(0, 0, 1)
    height = devnet.services(0).head().height
    await devnet.height(3, height)
    await devnet.stop(3)
    store = await LedgerStore.open(devnet.config(3).data / "ledger.db")
    await store.forget_chain()
    await store.close()
    await devnet.start(3)
    async with asyncio.timeout(60):
        await devnet.height(3, height)
        await devnet.stop(2)  # three of four: it votes again, with the key of the epoch that goes on
        await devnet.open_charts(3, 10, 2)
    assert devnet.services(3).driver.term.voting_key is not None
