"""Files that travel between people: whatever stands in them, they are read or refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli import wallet as commands
from node.wallet import Wallet
from node.wallet.acting import BadCard, delegate_card, guardian_public, read_card
from node.wallet.backup import TooFewShares, combine_shares, make_shares
from node.wallet.recovery import BadRequestFile, begin, read_request
from protocol.codec.canonical import encode
from protocol.types.operations import Revoke, SignedOperation
from tests.node.wallet.conftest import LOW

CHAIN = b"c" * 32


@pytest.fixture(scope="module")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    return Wallet.create(tmp_path_factory.mktemp("w") / "w", b"pass", seed=b"s" * 32, cost=LOW)


@pytest.fixture(scope="module")
def files(wallet: Wallet) -> dict[str, bytes]:
    import msgspec

    key = guardian_public(wallet, CHAIN, 7).hex()
    control = {"chart": 7, "custodian": 0, "next_change": 1, "guardians": {"threshold": 1, "keys": [key]}}
    _, request = begin(wallet, CHAIN, control, overrule=False)
    return {"request": request.file(), "card": msgspec.json.encode(delegate_card(wallet, CHAIN, 7))}


def read(name: str, raw: bytes) -> object:
    return read_request(raw, CHAIN) if name == "request" else read_card(raw, CHAIN, 7)


@pytest.mark.parametrize("name", ["request", "card"])
def test_a_file_that_was_damaged_anywhere_is_read_or_refused_by_name(name: str, files: dict[str, bytes]) -> None:
    good = files[name]
    read(name, good)
    drawn = random.Random(1)
    for _ in range(500):
        raw = bytearray(good)
        for _ in range(drawn.randrange(1, 4)):
            raw[drawn.randrange(len(raw))] = drawn.randrange(256)
        try:
            read(name, bytes(raw))
        except (BadRequestFile, BadCard) as error:
            assert error.advice  # noqa: PT017  # damage need not show where it says nothing
    for cut in range(0, len(good), 40):
        with pytest.raises((BadRequestFile, BadCard)):
            read(name, good[:cut])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("request", {"what": "other"}),
        ("request", {"encryption_public": "zz"}),
        ("request", {"chart": 8}),
        ("request", {"chart": None}),
        ("card", {"what": "other"}),
        ("card", {"encryption_suite": 1 << 40}),
        ("card", {"encryption_suite": 9}),
        ("card", {"encryption_public": "00"}),
        ("card", {"key": "00"}),
        ("card", {"chart": 8}),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, changes: dict[str, Any], files: dict[str, bytes]) -> None:
    document = json.loads(files[name]) | changes
    with pytest.raises((BadRequestFile, BadCard)):
        read(name, json.dumps(document).encode())


def test_a_request_for_anything_else_than_a_recovery_is_not_put_before_guardians(files: dict[str, bytes]) -> None:
    from base64 import b64encode

    signed = b64encode(encode(SignedOperation(Revoke(7, 0)))).decode()
    with pytest.raises(BadRequestFile):
        read("request", json.dumps(json.loads(files["request"]) | {"signed": signed}).encode())


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    for name in ("request", "card"):
        with pytest.raises((BadRequestFile, BadCard)):
            read(name, raw)


def test_on_a_terminal_shares_are_asked_for_unseen_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = make_shares(b"s" * 32, 4, 3)
    asked: list[bool] = []
    answers = iter(shares)

    def prompt(_text: str, **options: Any) -> str:
        asked.append(options["hide_input"])
        return next(answers, "")

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(commands.typer, "prompt", prompt)
    assert combine_shares(commands._shares(None)) == b"s" * 32
    assert asked == [True] * 3
    answers = iter(shares[:1])
    with pytest.raises(TooFewShares):
        commands._shares(None)


def test_words_and_shares_in_a_file_that_others_can_read_are_refused(tmp_path: Path) -> None:
    from node.keystore import KeyfileRefused

    path = tmp_path / "shares"
    path.write_text("word " * 33)
    path.chmod(0o644)
    with pytest.raises(KeyfileRefused):
        commands._shares(path)
    with pytest.raises(KeyfileRefused):
        commands._words(path)
