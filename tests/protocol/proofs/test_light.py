"""The light client: from the genesis to any final header with a hop an epoch, and each lie named by what it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.codec.canonical import decode, encode
from protocol.consensus.quorum import finalize, notarize
from protocol.crypto.hashing import authorities_digest, block_digest
from protocol.crypto.signing import SigningKey, sign_vote, verify
from protocol.errors import BadProof, ForkShown
from protocol.proofs.light import Checkpoint, EpochHop, LightClient
from protocol.types.institutions import Authority, AuthoritySet
from protocol.types.votes import Certificate

OTHER = SigningKey(b"\x77" * 32)


def resigned(world: Any, hop: EpochHop, **changes: Any) -> EpochHop:
    """The hop with another header, well signed by a quorum of its epoch."""
    header = replace(hop.header, **changes)
    subject = replace(hop.certificate.subject, block=block_digest(header))
    signatures = tuple(
        (index, world.consensus_vote(header.epoch, index, subject).signature) for index, _ in hop.certificate.signatures
    )
    return replace(hop, header=header, certificate=Certificate(subject, signatures))


def test_from_the_genesis_to_the_head_with_a_hop_an_epoch(epochs: Any) -> None:
    world = epochs.world
    hops = [epochs.join(), epochs.join(), epochs.leave(0), epochs.parameters(60_000), epochs.leave(2)]
    world.run(3, world.opening(world.patient(), 3))
    client = LightClient.from_genesis(world.genesis)
    assert client.chain == world.head.chain
    sizes = []
    for epoch, hop in enumerate(hops):
        assert client.epoch == epoch
        sizes.append(len(client.authorities.members))
        assert len(client.hop(decode(EpochHop, encode(hop)))) >= (2 * sizes[-1] + 3) // 3 - 1
        assert client.authorities == world.authorities(epoch + 1)
    assert sizes == [4, 5, 6, 5, 5]
    assert client.check(world.head, world.certificate()) == (1, 3, 4)  # of 1, 3, 4, 5


def test_a_hop_is_believed_for_its_quorum_alone(epochs: Any) -> None:
    world = epochs.world
    hop, second = epochs.join(), epochs.parameters(60_000)
    client = LightClient.from_genesis(world.genesis)
    voted = hop.certificate
    subject = notarize(world.head.chain, 0, 5, 4, block_digest(hop.header))
    members = hop.authorities.members
    lies = {
        "epoch: block 10 is of epoch 1, not 0": second,
        "epoch: the block at height .* does not end epoch 0": resigned(world, hop, next_authorities=None),
        "chain: ": replace(hop, header=replace(hop.header, chain=bytes(32))),
        "certificate: it does not finalize": replace(hop, header=replace(hop.header, height=9)),
        "certificate: it does not finalize this": replace(hop, certificate=Certificate(subject, voted.signatures)),
        "certificate: 2 signatures are no quorum of 4": replace(
            hop, certificate=replace(voted, signatures=voted.signatures[:2])
        ),
        "certificate: signature 1 of 3, that of authority 0": replace(
            hop, certificate=replace(voted, signatures=((0, bytes(64)), *voted.signatures[1:]))
        ),
        "certificate: there is no authority 4 among 4": replace(
            hop, certificate=replace(voted, signatures=(*voted.signatures[:2], (4, bytes(64))))
        ),
        "certificate: the certificate's indexes do not ascend": replace(
            hop, certificate=replace(voted, signatures=(voted.signatures[0],) * 3)
        ),
        "certificate: the certificate is of epoch 1": replace(
            hop, certificate=replace(voted, subject=replace(voted.subject, epoch=1))
        ),
        "authorities: ": replace(hop, authorities=replace(hop.authorities, members=members[:-1])),
        "authorities: they": replace(hop, authorities=second.authorities),
        "authorities: they are": replace(
            hop, authorities=replace(hop.authorities, members=(*members[:-1], Authority(4, OTHER.public, 1)))
        ),
        "authorities: they are not those": resigned(world, hop, next_authorities=bytes(32)),
    }
    of_epoch_7 = replace(hop.authorities, epoch=7)
    committed = resigned(world, hop, next_authorities=authorities_digest(of_epoch_7))
    lies["authorities: they are not those that the end"] = replace(committed, authorities=of_epoch_7)
    for sentence, lie in lies.items():
        with pytest.raises(BadProof, match=sentence):
            client.hop(lie)
        assert (client.epoch, client.authorities) == (0, world.authorities(0))
    client.hop(hop)
    with pytest.raises(BadProof, match=r"epoch: block .* is of epoch 0, not 1"):
        client.hop(hop)
    client.hop(second)


def test_whoever_lost_authority_signs_nothing_more(epochs: Any) -> None:
    world = epochs.world
    client = LightClient.from_genesis(world.genesis)
    client.hop(epochs.leave(0))
    world.run(1, world.opening(world.patient(), 1))
    good = world.certificate()
    assert client.check(world.head, good) == (1, 2, 3)
    old = next(key for key in world.vote_keys if key.public == world.authorities(0).members[0].vote_key)
    signature = world.consensus_vote(0, 0, good.subject).signature
    assert verify(old.public, b"", old.sign(b""))
    with pytest.raises(BadProof, match="certificate: signature 1 of 3, that of authority 0"):
        client.check(world.head, replace(good, signatures=((0, signature), *good.signatures[1:])))


def test_a_header_of_another_epoch_is_not_checked_by_this_ones_authorities(epochs: Any) -> None:
    world = epochs.world
    before, certificate = world.run(0, world.opening(world.patient())) and world.head, world.certificate()
    client = LightClient.from_genesis(world.genesis)
    assert client.check(before, certificate) == (0, 1, 2)
    client.hop(epochs.parameters(60_000))  # the very same authorities
    with pytest.raises(BadProof, match="epoch: "):
        client.check(before, certificate)


def test_a_checkpoint_stands_for_all_that_was_before(epochs: Any) -> None:
    world = epochs.world
    epochs.join()
    epochs.leave(0)
    kept = decode(Checkpoint, encode(epochs.checkpoint()))  # of the very block that ends epoch 1
    client = LightClient.from_checkpoint(kept)
    assert (client.epoch, client.chain) == (1, world.head.chain)
    client.hop(epochs.hops[1])
    client.hop(epochs.join())
    world.run(1, world.opening(world.patient(), 1))
    assert client.check(world.head, world.certificate())


def test_a_checkpoint_that_does_not_agree_with_itself_is_none(epochs: Any) -> None:
    world = epochs.world
    epochs.join()
    world.run(0, world.opening(world.patient()))
    good = epochs.checkpoint()
    lies = {
        "epoch: ": replace(good, authorities=world.authorities(0)),
        "certificate: ": replace(
            good, certificate=replace(good.certificate, signatures=good.certificate.signatures[:3])
        ),
        "certificate: it does not": replace(good, header=replace(good.header, height=99)),
    }
    for sentence, lie in lies.items():
        with pytest.raises(BadProof, match=sentence):
            LightClient.from_checkpoint(lie)


def test_a_header_below_the_certified_one_is_shown_by_the_headers_between(epochs: Any) -> None:
    world = epochs.world
    client = LightClient.from_genesis(world.genesis)
    run = []
    for _ in range(4):
        world.block()
        run.append(world.head)
    certificate = world.certificate()
    assert client.check(run[0], certificate, run[1:]) == (0, 1, 2)
    forged = replace(run[1], state_root=bytes(32))
    for above in (run[2:], [forged, *run[2:]], [run[2], run[1], run[3]], run[:3]):
        with pytest.raises(BadProof, match=r"headers: |certificate: "):
            client.check(run[0], certificate, above)
    hop = epochs.parameters(60_000)
    world.block()
    with pytest.raises(BadProof, match=r"epoch: |headers: "):
        client.check(hop.header, world.certificate(), [world.head])
    client.hop(hop)
    with pytest.raises(BadProof, match="headers: "):  # who goes on above the end of an epoch vouches for none below
        client.check(hop.header, world.certificate(), [world.head])


# --- forks: possible only if more than a third conspire, as all do here ------------------------------------------


@pytest.fixture
def fork(new_epochs: Callable[..., Any]) -> tuple[Any, Any]:
    """Two chains of one genesis that part at the first block."""
    one, other = new_epochs(), new_epochs()
    for side, times in ((one, 1), (other, 2)):
        side.world.wait(1_000 * times)
        side.world.run(0, side.world.opening(side.world.patient()))
    return one, other


def test_two_final_blocks_at_one_height_name_who_signed_both(fork: tuple[Any, Any]) -> None:
    one, other = (side.world for side in fork)
    client = LightClient.from_genesis(one.genesis)
    client.check(one.head, one.certificate())
    with pytest.raises(
        ForkShown, match=r"two different blocks are final at height 1: .*signed both: institution 1, 2$"
    ):
        client.check(other.head, other.certificate(signers=(1, 2, 3)))
    shown = other.head
    other.block()
    with pytest.raises(ForkShown, match="final at height 1"):
        client.check(shown, other.certificate(), [other.head])
    client.check(one.head, one.certificate(signers=(1, 2, 3)))  # the same block by others is none


def test_a_checkpoint_convicts_whoever_rewrites_what_is_below_it(fork: tuple[Any, Any]) -> None:
    one, other = fork
    for side in fork:
        side.parameters(60_000)
    kept = one.checkpoint()
    client = LightClient.from_checkpoint(kept)
    with pytest.raises(ForkShown, match=f"final at height {kept.header.height}: .* signed both: institution 0, 1, 2"):
        client.hop(other.hops[0])
    client = LightClient.from_genesis(one.world.genesis)
    client.hold(kept)
    with pytest.raises(ForkShown):
        client.hop(other.hops[0])
    client.hop(one.hops[0])


def test_what_stands_above_an_epochs_end_is_of_a_later_epoch(fork: tuple[Any, Any]) -> None:
    """One chain ended its epoch early; the other, longer one never did: no block has the other's height."""
    one, other = fork
    one.parameters(60_000)
    for _ in range(9):
        other.world.block()
    kept = other.checkpoint()
    client = LightClient.from_genesis(one.world.genesis)
    client.hold(kept)
    with pytest.raises(ForkShown, match="heights 4 and 10 cannot stand on one chain"):
        client.hop(one.hops[0])
    behind = LightClient.from_genesis(one.world.genesis)
    behind.hop(one.hops[0])
    with pytest.raises(ForkShown, match="heights 4 and 10"):
        behind.hold(kept)


def test_other_authorities_of_a_checkpoints_epoch_are_a_fork_before_it(fork: tuple[Any, Any]) -> None:
    one, other = fork
    one.join()
    other.leave(0)
    one.world.wait(10_000)  # so that no time tells
    for side in fork:
        side.world.block()
    client = LightClient.from_genesis(one.world.genesis)
    client.hold(one.checkpoint())
    with pytest.raises(ForkShown, match="other authorities of epoch 1"):
        client.hop(other.hops[0])


def test_nobody_is_accused_on_a_checkpoints_word_alone(epochs: Any) -> None:
    """Somebody made up a checkpoint of a later epoch, with keys of their own for institutions that never saw it."""
    world = epochs.world
    hop = epochs.parameters(60_000)
    made_up = AuthoritySet(7, tuple(Authority(number, OTHER.public, 7) for number in range(3)))
    header = replace(hop.header, epoch=7, height=2, next_authorities=None)
    subject = finalize(header.chain, 7, 1, block_digest(header))
    signatures = tuple((index, sign_vote(OTHER, subject, index).signature) for index in range(3))
    client = LightClient.from_genesis(world.genesis)
    client.hold(Checkpoint(header, Certificate(subject, signatures), made_up))
    with pytest.raises(ForkShown, match="unless the checkpoint never was one of this chain") as shown:
        client.hop(hop)
    assert "institution" not in str(shown.value)
    made_up = replace(made_up, epoch=0)
    header = replace(header, epoch=0)
    subject = finalize(header.chain, 0, 1, block_digest(header))
    signatures = tuple((index, sign_vote(OTHER, subject, index).signature) for index in range(3))
    with pytest.raises(ForkShown, match="has other authorities of epoch 0 than the chain leads to"):
        LightClient.from_genesis(world.genesis).hold(Checkpoint(header, Certificate(subject, signatures), made_up))


def test_what_vouches_for_a_block_is_held_against_the_rest_too(new_epochs: Callable[..., Any]) -> None:
    """Two chains share a block and part above it: it is shown by the one that parts from what is known."""
    one, other = (new_epochs().world for _ in range(2))
    for world, times in ((one, 1), (other, 2)):
        world.block()
        world.shared = world.head
        world.wait(1_000 * times)
        world.block()
    assert one.shared == other.shared
    client = LightClient.from_genesis(one.genesis)
    client.check(one.head, one.certificate())
    client.check(one.shared, one.certificate(), [one.head])
    with pytest.raises(ForkShown, match="final at height 2"):
        client.check(other.shared, other.certificate(), [other.head])


def test_a_parent_and_a_time_that_do_not_fit_are_seen(fork: tuple[Any, Any]) -> None:
    one, other = (side.world for side in fork)
    client = LightClient.from_genesis(one.genesis)
    client.check(one.head, one.certificate())
    other.block()
    with pytest.raises(ForkShown, match="heights 1 and 2"):
        client.check(other.head, other.certificate())
    other.block()
    header = replace(other.head, timestamp=one.head.timestamp + 1)  # two blocks in a millisecond
    other.head = header
    with pytest.raises(ForkShown, match="heights 1 and 3"):
        client.check(header, other.certificate())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["join", "leave", "parameters", "block"]), min_size=1, max_size=6), st.data())
def test_any_walk_of_epochs_is_followed_and_no_hop_can_be_left_out(
    new_epochs: Callable[..., Any], steps: list[str], data: st.DataObject
) -> None:
    epochs = new_epochs()
    world = epochs.world
    for number, step in enumerate(steps):
        if step == "join":
            epochs.join()
        elif step == "leave" and len(world.authorities().members) > 1:
            epochs.leave(world.authorities().members[0].institution)
        elif step == "parameters":
            epochs.parameters(60_000 + number)
    world.block()
    client = LightClient.from_genesis(world.genesis)
    for hop in epochs.hops:
        client.hop(hop)
    assert client.check(world.head, world.certificate())
    if epochs.hops:
        left_out = data.draw(st.integers(0, len(epochs.hops) - 1))
        client = LightClient.from_genesis(world.genesis)
        for hop in epochs.hops[:left_out]:
            client.hop(hop)
        above = epochs.hops[left_out + 1 :]
        with pytest.raises(BadProof, match="epoch: "):
            client.hop(above[0]) if above else client.check(world.head, world.certificate())
