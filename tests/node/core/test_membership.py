"""Who may connect follows the ledger, a bad certificate is one institution's trouble, a dropped chain finds back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from node import membership
from node.institution_keys import new_institution, new_network_key
from node.keystore import KeystoreFile, open_keystore, write_keystore
from node.membership import FILE, Membership, Remembered, members, remembered
from node.network.interface import Member
from node.standing import Standing
from protocol.codec.canonical import encode
from protocol.crypto.keyfiles import Cost
from protocol.ledger import keys
from protocol.ledger.genesis import genesis_block
from protocol.params import Params
from protocol.types.institutions import STATUS_SUSPENDED, Genesis, Institution

MADE = [new_institution(f"Hospital {number}") for number in range(3)]
BEGIN = genesis_block(Genesis("test", 1_700_000_000_000, Params(), tuple(one.public for one in MADE), (0,)))
ADDRESSES = {1: "one:1", 2: "two:2"}


class World:
    """Institution 0's node, and what it was told to use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.standing = Standing(BEGIN.changes.leaves)
        self.head = BEGIN.header
        self.told: dict[str, Any] = {}
        write_keystore(folder / "keystore", MADE[0].keystore, b"sesame", Cost(passes=1, memory_kib=8))
        self.membership = Membership(
            institution=0,
            addresses=ADDRESSES,
            data=folder,
            head=lambda: self.head,
            keys=self.keys(),
            standing=self.standing,
            set_members=lambda found: self.told.update(members=found),
            set_identity=lambda identity: self.told.update(identity=identity.certificate),
            set_operation_keys=lambda found: self.told.update(operations=[key.public for key in found.values()]),
            set_encryption_key=lambda key: self.told.update(encryption=key.seed),
        )

    def keys(self) -> KeystoreFile:
        return open_keystore(self.folder / "keystore", b"sesame")

    def change(self, number: int, **values: Any) -> None:
        """A final block, on disk, that changed one institution."""
        self.head = msgspec.structs.replace(self.head, height=self.head.height + 1)
        before = self.standing.institution(number)
        assert before is not None
        leaves = {keys.institution(number): encode(msgspec.structs.replace(before, **values))}
        self.standing.update(leaves)
        self.membership.on_final(Executed(leaves))

    def pass_block(self) -> None:
        """A final block, on disk, that changed no institution."""
        self.head = msgspec.structs.replace(self.head, height=self.head.height + 1)
        self.membership.on_final(Executed({}))


class Executed:
    """As much of an executed block as is looked at."""

    def __init__(self, leaves: dict[bytes, bytes]) -> None:
        self.overlay = self
        self.changes = self
        self.leaves = leaves


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def member(one: Institution, number: int) -> Member:
    return Member(one.network_certificates, ADDRESSES[number])


def test_only_accredited_institutions_may_connect(world: World) -> None:
    assert members(world.standing, 0, ADDRESSES) == {n: member(MADE[n].public, n) for n in (1, 2)}
    world.change(1, status=STATUS_SUSPENDED)
    assert world.told["members"] == {2: member(MADE[2].public, 2)}
    assert "identity" not in world.told  # nothing of this node's own changed


def test_a_disk_that_takes_no_file_of_members_keeps_nobody_from_connecting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(membership, "write_private", full)
    world.change(1, status=STATUS_SUSPENDED)
    assert world.told["members"] == {2: member(MADE[2].public, 2)}


def test_what_changed_nothing_of_institutions_changes_nothing_here(world: World) -> None:
    world.membership.on_final(Executed({keys.PARAMS: encode(Params())}))
    assert world.told == {}


def test_a_certificate_that_cannot_be_read_costs_its_own_institution_alone(world: World) -> None:
    good = MADE[1].public.network_certificates[0]
    world.change(1, network_certificates=(b"no certificate", good))
    assert world.told["members"][1] == Member((good,), "one:1")
    world.change(2, network_certificates=(b"no certificate",))
    assert list(world.told["members"]) == [1]


def test_own_keys_are_taken_up_once_the_ledger_has_them(world: World) -> None:
    fresh = new_network_key("Hospital 0")
    held = MADE[0].keystore
    world.keys().change(lambda keystore: msgspec.structs.replace(keystore, network=(*keystore.network, fresh)))
    world.change(1, status=STATUS_SUSPENDED)
    assert "identity" not in world.told
    world.change(0, network_certificates=(held.network[0].certificate, fresh.certificate))
    assert world.told["identity"] == fresh.certificate
    assert world.told["encryption"] == held.encryption[0].seed
    assert world.told["operations"] == list(MADE[0].public.operation_keys)


def test_a_keystore_that_went_away_is_said_and_the_node_goes_on_with_the_keys_it_has(world: World) -> None:
    (world.folder / "keystore").unlink()
    world.change(0, operation_keys=(*MADE[0].public.operation_keys, b"k" * 32))
    assert world.told["operations"] == list(MADE[0].public.operation_keys)


def test_a_node_that_begins_anew_may_connect_to_whom_it_knew_before(world: World) -> None:
    """All peers changed their certificates since the genesis: without the file, it could reach nobody."""
    fresh = [new_network_key(f"Hospital {number}").certificate for number in range(3)]
    for number in (1, 2):
        world.change(number, network_certificates=(fresh[number],))
    again = remembered(world.folder, BEGIN.header)
    assert again is not None
    expected = {n: Member((fresh[n],), ADDRESSES[n]) for n in (1, 2)}
    assert again.members(0, ADDRESSES) == expected
    assert remembered(world.folder, world.head) is None  # the ledger here is as new: it alone decides
    world.standing.update(BEGIN.changes.leaves)
    world.head = BEGIN.header
    world.membership.refresh()
    assert world.told["members"] == expected
    world.change(1, network_certificates=MADE[1].public.network_certificates)
    assert world.told["members"] == expected  # a block on the way there, from before
    world.change(2, network_certificates=(fresh[2],))
    assert world.told["members"] == {1: member(MADE[1].public, 1), 2: expected[2]}


def test_a_node_that_caught_up_takes_up_its_own_keys_whatever_the_last_block_changed(world: World) -> None:
    """As a newcomer does, whose file of members another node wrote long after it was accredited."""
    old = MADE[0].public.operation_keys
    Remembered(3, {1: [MADE[1].public.network_certificates[0].hex()]}).write(world.folder)
    world.membership.refresh()
    assert list(world.told) == ["members"]
    world.change(0, operation_keys=(b"k" * 32, *old))
    assert list(world.told) == ["members"]
    world.pass_block()
    assert list(world.told) == ["members"]
    world.pass_block()
    assert world.told["operations"] == list(old)
    assert list(world.told["members"]) == [1, 2]
    world.told.clear()
    world.pass_block()
    assert world.told == {}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"height": 9, "certificates": {"1": ["00"]}}', b'{"height": 9}'])
def test_a_damaged_file_of_members_is_passed_over(world: World, content: bytes) -> None:
    (world.folder / FILE).write_bytes(content)
    assert remembered(world.folder, BEGIN.header) is None
