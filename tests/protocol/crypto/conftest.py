"""Where the golden vectors are, and their generators as modules."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


@cache
def _generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vectors_{name}", VECTORS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generator() -> Callable[[str], ModuleType]:
    """A generator script of tests/vectors, by name."""
    return _generator


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """What a vector file holds, by its path below tests/vectors without the suffix."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
