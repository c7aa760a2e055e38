"""How the demo tells its steps: a line each for people, a document for programs, and which one failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from node.cli.output import prose, say
from protocol.errors import ChartledgerError


class StepFailed(ChartledgerError):
    """A step of the demo did not show what it should."""

    advice = "`chartledger demo --keep` leaves the nodes up to look at; each one's log is in its folder, node.log."


class Step(Struct):
    """One step: what it is about, what it showed, and how long it took."""

    name: str
    done: bool = False
    showed: str = ""
    seconds: float = 0.0


class Report(Struct):
    """What the demo found. `final` counts records that are final on every node."""

    records: int = 0
    final: int = 0
    read_back_identical: int = 0
    records_per_second: float = 0.0
    bytes: int = 0
    patients: int = 0
    skipped: list[dict[str, str]] = []
    steps: list[Step] = []
    ok: bool = False
    failed: str | None = None
    folder: str | None = None

    def play(self, name: str, act: Callable[[], str], quiet: bool) -> None:
        """Do one step and note what it showed. Raises `StepFailed`, naming the step, if it goes wrong."""
        step = Step(name)
        self.steps.append(step)
        began = time.monotonic()
        try:
            step.showed = act()
        except Exception as error:  # whatever it is, the demo must say in which step it happened
            step.showed = str(error) if isinstance(error, ChartledgerError) else f"{type(error).__name__}: {error}"
            self.failed = f"{name}: {step.showed}"
            raise StepFailed(self.failed) from error
        finally:
            step.seconds = round(time.monotonic() - began, 3)
        step.done = True
        if not quiet:
            say(f"  ok  {name} ({step.seconds:.1f} s)", "green")
            prose(step.showed, "dim", indent=6)


def expect(holds: bool, sentence: str) -> None:
    """Raise `StepFailed` with `sentence` unless what the step is to show holds."""
    if not holds:
        raise StepFailed(sentence)


def refused(act: Callable[[], Any], *codes: str) -> str:
    """The sentence with which `act` is refused. Raises `StepFailed` if it is not, or for another reason."""
    try:
        act()
    except ChartledgerError as error:
        if error.code not in codes:
            raise StepFailed(f"it was refused as {error.code}, not as {' or '.join(codes)}: {error}") from error
        return str(error)
    raise StepFailed("it was not refused")
