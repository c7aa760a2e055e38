"""Shares of a seed: any threshold of them bring it back, and what is wrong with them is said without repeating them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from node.cli import wallet as command
from node.wallet.backup import (
    BadShare,
    BadSharing,
    MixedShares,
    RepeatedShare,
    TooFewShares,
    combine_shares,
    make_shares,
    threshold_of,
)
from protocol.crypto.wallet import words_from_entropy
from protocol.errors import ChartledgerError

SEED = bytes(range(32))


@pytest.fixture(scope="module")
def shares() -> list[str]:
    return make_shares(SEED, 3, 2)


def test_any_two_of_three_shares_bring_the_seed_back(shares: list[str]) -> None:
    assert [threshold_of(share) for share in shares] == [2, 2, 2]
    for chosen in permutations(shares, 2):
        assert combine_shares(chosen) == SEED
    assert combine_shares(shares) == SEED
    assert combine_shares(["  " + shares[0].upper(), shares[2].replace(" ", "  ")]) == SEED


def test_each_backup_makes_a_set_of_its_own(shares: list[str]) -> None:
    other = make_shares(SEED, 3, 2)
    with pytest.raises(MixedShares):
        combine_shares([shares[0], other[1]])
    with pytest.raises(MixedShares):
        combine_shares([shares[0], make_shares(SEED, 3, 3)[1]])


def test_wrong_shares_are_refused_by_name_and_not_repeated(shares: list[str]) -> None:
    words = shares[1].split()
    cases: list[tuple[list[str], type[ChartledgerError]]] = [
        ([], TooFewShares),
        ([shares[0]], TooFewShares),
        ([shares[0], shares[0]], RepeatedShare),
        ([shares[0], " ".join(["zoo", *words[1:]])], BadShare),
        ([shares[0], " ".join([*words[:-1], words[-2]])], BadShare),
        ([shares[0], " ".join(words[:-1])], BadShare),
        ([shares[0], " ".join([words[1], words[0], *words[2:]])], BadShare),
        ([shares[0], "correct horse battery staple"], BadShare),
    ]
    for given, kind in cases:
        with pytest.raises(kind) as caught:
            combine_shares(given)
        said = str(caught.value) + caught.value.advice
        assert not {"zoo", "horse", "battery", "staple"} & set(said.split()), said
        assert not any(f"{one} {two}" in said for one, two in pairwise(words)), said
        assert caught.value.advice


@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (3, 1), (2, 3), (17, 2), (0, 0)])
def test_sharings_that_make_no_sense_are_refused(count: int, threshold: int) -> None:
    with pytest.raises(BadSharing):
        make_shares(SEED, count, threshold)


def test_a_restoring_that_is_interrupted_leaves_no_half_wallet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would open, and show a part of the charts as if these were all."""

    @contextmanager
    def interrupted(socket: Path) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(command, "connect", interrupted)
    for name, text in (("words", words_from_entropy(bytes(32))), ("pass", "correct horse")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(KeyboardInterrupt):
        command.restore(tmp_path / "wallet", words_file=tmp_path / "words", passphrase_file=tmp_path / "pass")
    assert not (tmp_path / "wallet").exists()
