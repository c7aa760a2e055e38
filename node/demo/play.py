"""Plays the demo: sets up the network, goes through the story, and takes everything down again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from node.cli.output import say, warn
from node.demo.consortium import Consortium
from node.demo.control import RECOVERY_MS, Control
from node.demo.input import Patient, from_folder, made_up
from node.demo.report import Report, StepFailed
from node.demo.stage import set_stage
from node.demo.story import Story, best_first
from node.demo.trouble import Trouble
from node.devnet import Devnet, wish_for

NODES = 4
PATIENTS = 6


def play(fhir: Path | None, *, seed: int, keep: bool, quiet: bool) -> Report:
    """Play the whole story and return what it showed; `ok` is false if a step failed, which `failed` names.

    With `keep` the network is left running, in the folder that the report names; without, nothing is left.
    """
    report = Report()
    if fhir is None:
        patients = made_up(PATIENTS, seed)
    else:
        patients, report.skipped = from_folder(fhir)
        for one in report.skipped:
            warn(f"skipped {one['file']}: {one['why']}")
    patients = best_first(patients)
    report.patients = len(patients)
    folder = Path(tempfile.mkdtemp(prefix="chartledger-demo-"))
    devnet = Devnet.create(folder / "net", wish_for(NODES, params={"recovery_ms": RECOVERY_MS}))
    report.folder = str(devnet.folder)
    try:
        _play(devnet, patients, report, quiet)
        report.ok = True
    except StepFailed as error:
        if not quiet:
            say(f"  FAILED  {error}", "bold red")
    finally:
        if not keep:
            devnet.stop()
            shutil.rmtree(folder)
            report.folder = None
    return report


def _play(devnet: Devnet, patients: list[Patient], report: Report, quiet: bool) -> None:
    def start() -> str:
        devnet.start()
        return f"{NODES} institutions' nodes run as processes, chain {devnet.plan.chain[:16]}"

    report.play("four institutions start", start, quiet)
    with set_stage(devnet) as stage:
        story = Story(stage, patients, report, quiet)
        steps: list[tuple[str, Callable[[], str]]] = [
            ("patients open charts at two hospitals", story.open_charts),
            ("the hospitals submit what they have", story.ingest),
            ("every record is final on every node", story.final_everywhere),
            ("every record reads back byte for byte", story.read_back),
            ("a patient grants some categories for treatment", story.give_permission),
            ("the grantee reads what was granted", story.read_under_grant),
            ("whatever lies outside is refused", story.refuse_the_rest),
            ("the patient revokes", story.take_it_back),
            ("the patient sees who looked, and why", story.who_looked),
            ("a record is proved offline", story.prove),
        ]
        for name, act in steps:
            report.play(name, act, quiet)
        control = Control(stage, story.another())
        report.play("a patient forbids one hospital, which beats every grant", control.forbid, quiet)
        report.play("an emergency is read while the custodian is dead", control.emergency, quiet)
        report.play("a lost wallet's chart is recovered by guardians", control.recover, quiet)
        report.play("a record is erased wherever it lies", control.erase, quiet)
        consortium = Consortium(stage, story.chart)
        report.play("the institutions take in a fifth, by vote", consortium.change, quiet)
        trouble = Trouble(stage, story.chart)
        report.play("a node is killed under load and comes back", trouble.kill_under_load, quiet)
        report.play("a changed byte is found and named", trouble.change_a_byte, quiet)
