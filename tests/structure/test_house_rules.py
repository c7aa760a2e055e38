"""House rules that a reader cannot keep by eye: sizes, markers, and what must not stand in the repo."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES = 440
FUNCTION_LINES = 75


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_files_and_functions_stay_small() -> None:
    long: list[str] = []
    for path in tracked("*.py"):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > FILE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for item in ast.walk(ast.parse(text)):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (item.end_lineno or item.lineno) - item.lineno + 1
                if length > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{item.lineno} {item.name}: {length} lines")
    assert not long, "\n".join(long)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked("protocol/*.py", "node/*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, silent


def test_nothing_is_swallowed_or_left_for_later() -> None:
    found: list[str] = []
    for path in tracked("protocol/*.py", "node/*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|except\s*:", line):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
    assert not found, "\n".join(found)


def test_the_lock_file_has_hashes_and_no_index_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "--index" not in text


def test_every_operation_has_a_vector_and_a_row_in_the_docs() -> None:
    from typing import get_args

    from protocol.types.operations import Operation

    rows = (ROOT / "docs/spec/operations.md").read_text(encoding="utf-8")
    vectors = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests/vectors").rglob("*.json"))
    for operation in get_args(Operation):
        assert f"`{operation.__name__}`" in rows, operation.__name__
        assert operation.__name__ in vectors, operation.__name__


def test_who_writes_a_second_decoder_finds_every_tag_and_field() -> None:
    from typing import get_args

    from protocol.ledger.events import Event
    from protocol.types.operations import Operation

    encoding = (ROOT / "docs/spec/encoding.md").read_text(encoding="utf-8")
    for operation in get_args(Operation):
        assert re.search(rf"`{operation.__name__}` {operation.__struct_config__.tag}\b", encoding), operation.__name__
    ledger = (ROOT / "docs/spec/ledger.md").read_text(encoding="utf-8").splitlines()
    for event in get_args(Event):
        begins = f"| `{event.__name__}` ({event.__struct_config__.tag}) |"
        (row,) = [line for line in ledger if line.startswith(begins)]
        fields = [one for one in row.split("|")[2].strip().split(", ") if one]
        assert fields == list(event.__struct_fields__[3:]), event.__name__


def test_every_limit_is_documented() -> None:
    from protocol import limits

    text = (ROOT / "docs/spec/limits.md").read_text(encoding="utf-8")
    missing = [n for n in dir(limits) if n.isupper() and f"`{n}`" not in text]
    assert not missing, missing


def test_relative_links_in_the_docs_lead_somewhere() -> None:
    broken: list[str] = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not broken, broken
