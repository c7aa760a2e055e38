"""The demo itself: it plays to the end, with made-up and with given Bundles, and says what it skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.demo.generator import generate

pytestmark = pytest.mark.processes


def demo(*arguments: str, code: int) -> tuple[dict, str]:
    command = [sys.executable, "-m", "node.cli.main", "demo", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else {}, done.stderr


def check(report: dict) -> None:
    assert report["ok"] is True
    assert report["final"] == report["records"] == report["read_back_identical"] > 0
    assert report["records_per_second"] > 0
    assert len(report["steps"]) == 18
    assert all(step["done"] for step in report["steps"])
    assert report["folder"] is None


def test_it_plays_with_given_bundles_and_names_what_it_skips(tmp_path: Path) -> None:
    resources = 0
    for bundle in generate(3, seed=5):
        (tmp_path / bundle.name).write_bytes(bundle.raw)
        resources += len(json.loads(bundle.raw)["entry"])
    (tmp_path / "broken.json").write_text('{"resourceType": "Bundle", "entry": [')
    (tmp_path / "empty.json").touch()
    (tmp_path / "patient.json").write_text('{"resourceType": "Patient"}')
    report, told = demo("--fhir", str(tmp_path), code=3)
    check(report)
    assert report["records"] == resources
    assert [one["file"] for one in report["skipped"]] == ["broken.json", "empty.json", "patient.json"]
    assert "empty.json" in told


def test_it_plays_with_one_patient_whose_records_one_hospital_alone_holds(tmp_path: Path) -> None:
    bundle = generate(1, seed=5)[0]
    (tmp_path / bundle.name).write_bytes(bundle.raw)
    report, _ = demo("--fhir", str(tmp_path), code=0)
    check(report)


def test_a_folder_without_bundles_is_refused(tmp_path: Path) -> None:
    _, told = demo("--fhir", str(tmp_path), code=1)
    assert "no file in" in told
    (tmp_path / "empty.json").touch()
    _, told = demo("--fhir", str(tmp_path), code=1)
    assert "empty.json: the file is empty" in told
    (tmp_path / "empty.json").unlink()
    _, told = demo("--fhir", str(tmp_path / "none"), code=1)
    assert "there is no folder" in told


@pytest.mark.real_records
def test_every_resource_of_the_real_bundles_comes_back_byte_for_byte() -> None:
    folder = Path(os.environ.get("CHARTLEDGER_FHIR", "../shared/fhir")) / "bundles"
    if not folder.is_dir():
        pytest.skip(f"no real Bundles: {folder} is not there; name their parent folder in CHARTLEDGER_FHIR")
    report, _ = demo("--fhir", str(folder), code=0)
    check(report)
    assert report["patients"] == len(list(folder.glob("*.json")))
