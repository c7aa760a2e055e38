"""What the demo is played with: Bundles from a folder or made up, each cut into the exact bytes of its resources."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from node.cli.exits import BadArgument
from node.demo.generator import generate
from node.records.errors import BadBundle, NotFhir
from node.records.fhir import FHIR_JSON, Described, bundle_slices
from protocol.crypto.tags import Labels

NAMED = 5
"""Files named when none is usable."""


class Patient(Struct, frozen=True):
    """One patient's Bundle, and what each of its resources is to be when it comes back."""

    name: str
    raw: bytes
    resources: list[bytes]
    labels: list[Labels]


def made_up(count: int, seed: int) -> list[Patient]:
    """Patients from the generator."""
    return [read_bundle(bundle.name, bundle.raw) for bundle in generate(count, seed)]


def from_folder(folder: Path) -> tuple[list[Patient], list[dict[str, str]]]:
    """The Bundles in a folder's .json files, and which files were skipped and why. Raises `BadArgument` if none is
    usable."""
    if not folder.is_dir():
        raise BadArgument(f"there is no folder {folder}", advice="Name a folder of FHIR R4 Bundles in JSON.")
    patients: list[Patient] = []
    skipped: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            patients.append(read_bundle(path.name, path.read_bytes()))
        except (BadBundle, NotFhir) as error:
            skipped.append({"file": path.name, "why": str(error)})
        except OSError as error:
            skipped.append({"file": path.name, "why": error.strerror or "unreadable"})
    if not patients:
        why = "; ".join(f"{one['file']}: {one['why']}" for one in skipped[:NAMED]) or "it has no .json file"
        more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        raise BadArgument(
            f"no file in {folder} is a FHIR Bundle ({why}{more})",
            advice="Name a folder of FHIR R4 Bundles, one .json file each.",
        )
    return patients, skipped


def read_bundle(name: str, raw: bytes) -> Patient:
    """A Bundle and its resources. Raises `BadBundle` or `NotFhir`."""
    if not raw.strip():
        raise BadBundle("the file is empty")
    resources = bundle_slices(raw)
    return Patient(name, raw, resources, [Described().plain(one, FHIR_JSON).labels for one in resources])
