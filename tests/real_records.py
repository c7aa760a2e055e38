"""Where real FHIR R4 records lie, for the tests that want them: `CHARTLEDGER_FHIR`, or a folder beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bundles() -> list[Path]:
    """Paths of FHIR bundles; skips the test where there are none."""
    folder = Path(os.environ.get("CHARTLEDGER_FHIR", ROOT.parent / "shared" / "fhir"))
    found = sorted((folder / "bundles").glob("*.json")) or sorted(folder.glob("*.json"))
    if not found:
        pytest.skip("no FHIR bundles here: name their folder in CHARTLEDGER_FHIR")
    return found
