"""An institution that knows one chart of a patient looks for the others in everything that stands on the ledger.

It plays with an open hand: all leaves, events and transactions of sixty patients with a chart at each of six hospitals,
the secret of the chart that it keeps, and hints (times, sizes) that leave eight candidates, the right one among them.
Keys, tags, commitments, digests and signatures must not help it: its guesses are right as often as chance has it. The
same player finds everybody where a wallet derives badly, so that it is no straw man.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from node.labels import RESOURCE_TYPES, SENSITIVITY_LABELS, YEARS
from node.practitioners import Practitioners
from node.wallet import Wallet, WalletChart, WalletFile, acting, consent
from node.wallet.consent import DelegateWish, Wish
from node.wallet.recovery import guardians_set
from protocol.codec.canonical import decode, encode
from protocol.crypto.signing import SigningKey, sign_transaction
from protocol.crypto.tags import GrantLabels, Labels, tag, tags_of
from protocol.ledger import keys
from protocol.ledger.events import decode_event
from protocol.ledger.leaves import decode_leaf
from protocol.types.operations import (
    ACT_GRANT,
    AppendRecords,
    Cosignature,
    OpenChart,
    RecordEntry,
    SignedOperation,
)
from protocol.types.transaction import Transaction, TransactionBody
from tests.node.records.fake_core import HOUR_MS, Chain, seed

PATIENTS, HOSPITALS, CANDIDATES = 60, 6, 8
FRIENDS = 12
SIGMAS = 4


class InMemory(Wallet):
    """A wallet without a file."""

    def __init__(self, own: bytes) -> None:
        super().__init__(Path("nowhere"), b"", WalletFile(2, own), b"")

    def _save(self, **changes: Any) -> None:
        self.content = msgspec.structs.replace(self.content, **changes)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        yield


class Town:
    """A ledger with many patients on it, made with the wallet's own code and the ledger's own rules."""

    def __init__(self, *, in_a_row: bool = False) -> None:
        """`in_a_row`: each patient opens all charts on one morning, and nobody else does."""
        self.random = random.Random(4711)
        self.chain = Chain(HOSPITALS)
        self.numbers = Counter[int]()
        self.wallets = [InMemory(seed(f"patient {n}")) for n in range(PATIENTS)]
        self.friends = [InMemory(seed(f"friend {n}")) for n in range(FRIENDS)]
        self.staff = [Practitioners(seed(f"encryption {n}"), self.chain.id) for n in range(HOSPITALS)]
        self.charts: dict[tuple[int, int], WalletChart] = {}
        self.owner: dict[int, int] = {}
        visits = [(patient, hospital) for patient in range(PATIENTS) for hospital in range(HOSPITALS)]
        if not in_a_row:
            self.random.shuffle(visits)
        last = None
        for patient, hospital in visits:
            pause_ms = HOUR_MS if in_a_row and patient == last else 24 * HOUR_MS
            last = patient
            self.chain.clock.ms = self.chain.header.timestamp + self.random.randrange(1_000, pause_ms)
            self._visit(patient, hospital)

    def _visit(self, patient: int, hospital: int) -> None:
        wallet = self.wallets[patient]
        chart = wallet.reserve_chart(self.chain.id, hospital)
        request = wallet.opening(chart, self.chain.clock.ms)
        number = len(self.owner)
        owner = wallet.owner_keys(chart)
        cosigned = Cosignature(1, 0, request.cosignature["number"], request.cosignature["expires_at"],
                               bytes.fromhex(request.cosignature["signature"]))  # fmt: skip
        opening = OpenChart(hospital, owner.owner_key, owner.encryption_suite, owner.encryption_key)
        self._final(hospital, SignedOperation(opening, (cosigned,)))
        chart = self.charts[patient, hospital] = wallet.opened(chart, number)
        self.owner[number] = patient
        secret = wallet.chart_secret(chart)
        entries = tuple(
            RecordEntry(self.random.randbytes(32), tags_of(secret, 0, labels)) for labels in self._illness(patient)
        )
        self._final(hospital, SignedOperation(AppendRecords(number, entries)))
        for operation in self._wishes(patient, hospital, chart):
            used = self.chain.view.leaves[keys.chart(number)]
            window = decode_leaf(keys.chart(number), used).window  # type: ignore[union-attr]
            signed = wallet.sign(chart, operation, self.chain.clock.ms, window.highest)
            self._final(self.random.randrange(HOSPITALS), decode(SignedOperation, signed))

    def _illness(self, patient: int) -> list[Labels]:
        """The same kinds of records of a patient at every hospital: what the tags must not show."""
        drawn = random.Random(patient)
        return [
            Labels(drawn.choice(RESOURCE_TYPES), drawn.choice(YEARS), drawn.choice(SENSITIVITY_LABELS))
            for _ in range(drawn.randrange(3, 8))
        ]

    def _wishes(self, patient: int, hospital: int, chart: WalletChart) -> list[Any]:
        """The same friends guard all charts of a patient, the same carer acts, the same practitioner is named."""
        wallet, number, now = self.wallets[patient], chart.number, self.chain.clock.ms
        assert number is not None
        friends = [self.friends[(patient + n) % FRIENDS] for n in range(3)]
        public = [acting.guardian_public(friend, self.chain.id, number) for friend in friends[:2]]
        card = acting.delegate_card(friends[2], self.chain.id, number)
        named = DelegateWish(
            bytes.fromhex(card.key), card.encryption_suite, card.encryption_key, ACT_GRANT,
            GrantLabels(("Observation",)), ("TREAT",), now, now + 1_000 * HOUR_MS,
        )  # fmt: skip
        reader = (hospital + 1) % HOSPITALS
        doctor = (self.staff[reader].pseudonym(number, f"doctor {patient % 3}"),)
        wish = Wish((reader,), GrantLabels(), ("TREAT",), now, now + 1_000 * HOUR_MS, practitioners=doctor)
        return [
            guardians_set(number, {"next_change": 0}, 2, public),
            consent.delegation(wallet, chart, 0, named),
            consent.grant(wallet, chart, 0, wish),
        ]

    def _final(self, hospital: int, signed: SignedOperation) -> None:
        self.numbers[hospital] += 1
        until = self.chain.clock.ms + HOUR_MS
        body = TransactionBody(self.chain.id, hospital, 0, self.numbers[hospital], until, (signed,))
        raw = encode(sign_transaction(SigningKey(seed(f"operations {hospital}")), body))
        before = len(self.chain.view.events)
        asyncio.run(self.chain.offer([raw]))
        assert len(self.chain.view.events) > before, "the world's own operations are valid"


class Player:
    """Hospital 0: it knows all that stands on the ledger, and the secrets of its own charts."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.values: dict[int, set[bytes]] = {number: set() for number in town.owner}
        self.tags: dict[int, set[bytes]] = {number: set() for number in town.owner}
        self.opened: dict[int, int] = {}
        for key, raw in town.chain.view.leaves.items():
            if key[0] in (keys.KIND_CHART, keys.KIND_GRANT, keys.KIND_POLICY, keys.KIND_RECOVERY, keys.KIND_DELEGATE):
                self._learn(int.from_bytes(key[1:6], "big"), decode_leaf(key, raw))
        for (chart, number), raw in town.chain.view.events.items():
            event = decode_event(raw)
            self._learn(chart, event)
            if number == 0:
                self.opened[chart] = event.time_ms
        for block in town.chain.blocks:
            for raw in block.transactions:
                self._read(decode(Transaction, raw).body)
        # What many charts bear is no mark of anybody.
        often = Counter(value for values in self.values.values() for value in values)
        self.common = {value for value, count in often.items() if count > HOSPITALS}

    def _read(self, body: TransactionBody) -> None:
        for signed in body.operations:
            chart = getattr(signed.operation, "chart", None)
            if chart is not None:
                self._learn(chart, signed)

    def _learn(self, chart: int, value: object) -> None:
        for one in _strings(value):
            self.values[chart].add(one)
            if len(one) == 16:
                self.tags[chart].add(one)

    def guess(self, known: int, candidates: list[int]) -> int:
        """Which of these is the chart of the same patient."""
        patient = self.town.owner[known]
        own = self.town.wallets[patient]
        secret = own.chart_secret(self.town.charts[patient, 0])  # the custodian has it
        mine = {
            tag(secret, 0, position, label)
            for position, labels in enumerate((RESOURCE_TYPES, YEARS, SENSITIVITY_LABELS, SENSITIVITY_LABELS))
            for label in labels
        }
        windows = _windows(self.values[known])

        def score(other: int) -> tuple[int, int, int, int]:
            values = self.values[other]
            equal = len((self.values[known] & values) - self.common)
            return (
                equal,
                len(mine & self.tags[other]),
                len(windows & _windows(values)),
                -_distance(self.values[known], values),
            )

        return max(candidates, key=score)

    def nearest_in_time(self) -> float:
        """How often the chart that was opened next to the known one in time, among all of a hospital, is the right
        one."""
        right = 0
        for patient in range(PATIENTS):
            known = self.opened[self.town.charts[patient, 0].number or 0]
            for hospital in range(1, HOSPITALS):
                there = [self.town.charts[other, hospital].number or 0 for other in range(PATIENTS)]
                nearest = min(there, key=lambda chart: abs(self.opened[chart] - known))
                right += self.town.owner[nearest] == patient
        return right / (PATIENTS * (HOSPITALS - 1))

    def right_guesses(self) -> tuple[int, int]:
        """(right, tried): for each patient and each other hospital, one among `CANDIDATES` that time leaves."""
        right = tried = 0
        for patient in range(PATIENTS):
            known = self.town.charts[patient, 0].number
            assert known is not None
            for hospital in range(1, HOSPITALS):
                true = self.town.charts[patient, hospital].number
                assert true is not None
                there = [self.town.charts[other, hospital].number or 0 for other in range(PATIENTS)]
                there.sort(key=lambda chart: (abs(self.opened[chart] - self.opened[true]), chart))
                candidates = sorted(there[:CANDIDATES])
                right += self.guess(known, candidates) == true
                tried += 1
        return right, tried


def _strings(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        if len(value) >= 16:
            yield value
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from _strings(getattr(value, name))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _strings(one)


def _windows(values: set[bytes]) -> set[bytes]:
    """Six bytes in a row, wherever they stand: two strings that share some were made of one another."""
    return {value[at : at + 6] for value in values for at in range(len(value) - 5)}


def _distance(mine: set[bytes], theirs: set[bytes]) -> int:
    """The fewest bits by which a 32-byte value of one chart differs from one of the other."""
    first = [int.from_bytes(value, "big") for value in mine if len(value) == 32]
    second = [int.from_bytes(value, "big") for value in theirs if len(value) == 32]
    return min((one ^ other).bit_count() for one in first for other in second)


def chance(tried: int) -> tuple[float, float]:
    """How many right guesses to expect, and the standard deviation."""
    p = 1 / CANDIDATES
    return tried * p, math.sqrt(tried * p * (1 - p))


@pytest.fixture(scope="module")
def player() -> Player:
    return Player(Town())


def test_the_best_guess_is_chance(player: Player) -> None:
    right, tried = player.right_guesses()
    expected, deviation = chance(tried)
    assert abs(right - expected) < SIGMAS * deviation, f"{right} of {tried} right, {expected:.0f} by chance"


def test_no_value_of_one_chart_stands_in_another(player: Player) -> None:
    seen: dict[bytes, int] = {}
    for chart, values in player.values.items():
        for value in values:
            assert seen.setdefault(value, chart) == chart, value.hex()
    assert len(seen) > 20 * len(player.values)


def test_an_old_friend_as_guardian_or_a_doctor_of_both_links_nothing(player: Player) -> None:
    """The same people guard, act for, and treat many: their keys and pseudonyms are others at each chart."""
    town = player.town
    friend = town.friends[0]
    known = [acting.guardian_public(friend, town.chain.id, chart) for chart in town.owner]
    known += [bytes.fromhex(acting.delegate_card(friend, town.chain.id, chart).key) for chart in town.owner]
    known += [town.staff[1].pseudonym(chart, "doctor 0") for chart in town.owner]
    assert len(set(known)) == 3 * len(town.owner)


@pytest.mark.parametrize("flaw", ["guardians", "secrets", "owner keys"])
def test_the_same_player_finds_everybody_where_a_wallet_derives_badly(
    flaw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flaw == "guardians":
        monkeypatch.setattr(acting, "guardian_key", lambda own, _chain, _chart: SigningKey(own[:32]))
    elif flaw == "secrets":
        monkeypatch.setattr(Wallet, "chart_secret", lambda self, _chart: self.seed[::-1])
    else:
        monkeypatch.setattr(Wallet, "encryption_public", lambda self, _chart, *_: b"")
        whole = Wallet.owner_keys

        def careless(self: Wallet, chart: WalletChart, *of: int | None) -> Any:
            return msgspec.structs.replace(whole(self, chart, *of), encryption_key=self.seed[::-1])

        monkeypatch.setattr(Wallet, "owner_keys", careless)
    right, tried = Player(Town()).right_guesses()
    assert right > 0.5 * tried, f"{right} of {tried}"


def test_times_and_numbers_are_hints_that_no_key_takes_away(player: Player) -> None:
    """What remains, as docs/threat-model.md says: whoever opens charts one right after the other, at two hospitals, is
    found by that alone; and a long history looks like a long history everywhere."""
    scattered = player.nearest_in_time()
    in_a_row = Player(Town(in_a_row=True)).nearest_in_time()
    assert scattered < 0.1
    assert in_a_row > 0.9
    sizes = {number: len(player.tags[number]) for number in player.town.owner}
    alike = sum(
        sizes[one] == sizes[other]
        for one in player.town.owner
        for other in player.town.owner
        if one < other and player.town.owner[one] == player.town.owner[other]
    )
    assert alike > 0.5 * PATIENTS * HOSPITALS * (HOSPITALS - 1) / 2
    page = (Path(__file__).parents[3] / "docs" / "threat-model.md").read_text("utf-8")
    assert "one right after the other" in page


def test_requests_to_open_a_chart_carry_no_mark_of_the_wallet(player: Player) -> None:
    wallet = player.town.wallets[0]
    requests = [wallet.opening(player.town.charts[0, hospital], 0).json() for hospital in range(2)]
    texts = [{requests[n]["owner_key"], requests[n]["encryption_public"], requests[n]["chart_secret"]} for n in (0, 1)]
    assert len(texts[0] | texts[1]) == 6
