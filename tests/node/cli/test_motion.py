"""Before a risky change the operator is asked; and what `motion` prints of how a motion stands."""

from __future__ import annotations

import io
from typing import Any

import pytest
import typer

from node.cli.motion import Unconfirmed, _confirm, convicted_in_words, state, votes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "wanted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks_and_takes_silence_for_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, wanted: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt="": answer.strip())
    if wanted:
        _confirm(["this would stop the chain"], False)
    else:
        with pytest.raises(Unconfirmed):
            _confirm(["this would stop the chain"], False)
    assert "warning: this would stop the chain" in capsys.readouterr().err


def test_without_a_terminal_only_yes_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(Unconfirmed, match="stop the chain"):
        _confirm(["this would stop the chain"], False)
    _confirm(["this would stop the chain"], True)
    assert "warning: this would stop the chain" in capsys.readouterr().err


def test_without_a_reason_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: pytest.fail("asked"))
    _confirm([], False)


def motion(**changes: Any) -> dict[str, Any]:
    found = {"state": "open", "awaits": False, "counted": 1, "needed": 3, "against": [], "decided_at": None}
    return found | {"assigned": None} | changes


def test_how_a_motion_stands_in_words() -> None:
    assert state(motion()) == "open"
    assert state(motion(awaits=True)) == "open, awaits your vote"
    assert state(motion(state="expired")) == "expired"
    assert state(motion(state="passed", decided_at=7)) == "passed in block 7"
    assert state(motion(state="passed", decided_at=7, assigned=4)) == "passed in block 7, institution 4"
    assert votes(motion()) == "1 of 3 in favour"
    assert votes(motion(against=[1, 2])) == "1 of 3 in favour, 2 against"


def test_the_votes_on_a_decided_motion_are_not_counted_against_todays_authorities() -> None:
    decided = motion(state="passed", favour=[0, 1, 2], against=[3], counted=2, needed=4)
    assert votes(decided) == "3 in favour, 1 against"


def test_a_conviction_in_words() -> None:
    one = {"institution": 3, "epoch": 2, "view": 9, "height": 40, "reporter": 0}
    assert convicted_in_words(one, {3: "University Hospital", 0: "St. Anna"}) == (
        "3, University Hospital signed contradicting votes in view 9 of epoch 2; the evidence stands in block 40, "
        "reported by 0, St. Anna"
    )
