"""The import rules of docs/adr/0001: the core is pure, consensus knows no ledger, and nothing goes back up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What a pure core may not touch: clocks, randomness, files, sockets, logs, and the daemon itself.
IMPURE = {
    "asyncio", "socket", "ssl", "selectors", "sqlite3", "aiosqlite", "time", "os", "io", "pathlib",
    "random", "secrets", "uuid", "tempfile", "subprocess", "threading", "multiprocessing", "concurrent", "logging",
    "structlog", "httpx", "starlette", "uvicorn", "obstore", "typer", "rich", "node",
}  # fmt: skip

# Layer by layer, what each part of the core may import of the core. Top-level modules are open to all.
MAY_IMPORT = {
    "types": {"types"},
    "codec": {"types", "codec"},
    "crypto": {"types", "codec", "crypto"},
    "ledger": {"types", "codec", "crypto", "ledger"},
    "consensus": {"types", "codec", "crypto", "consensus"},
    "proofs": {"types", "codec", "crypto", "ledger", "consensus", "proofs"},
    "sync": {"types", "codec", "crypto", "consensus", "ledger", "sync"},
}

# The daemon's parts: who may not know whom.
NODE_MAY_NOT = {
    "node/network": ("node.storage", "node.api", "node.records", "node.cli", "protocol.ledger"),
    "node/storage": ("node.network", "node.api", "node.records", "node.cli"),
    "node/records": ("node.api", "node.cli"),
    "node/api": ("node.cli", "node.demo", "node.devnet"),
}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a module imports, at any depth of its code."""
    found: set[str] = set()
    for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(item, ast.Import):
            found.update(alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, f"{path}: relative import"
            assert item.module is not None
            found.add(item.module)
            found.update(f"{item.module}.{alias.name}" for alias in item.names)
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules("protocol"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_is_pure(path: Path) -> None:
    impure = {name for name in imports_of(path) if name.split(".")[0] in IMPURE}
    assert not impure, f"{path.relative_to(ROOT)} imports {sorted(impure)}"


def test_the_core_never_asks_for_the_date() -> None:
    """datetime may format a time that it was given, but not look at the clock."""
    for path in modules("protocol"):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.Attribute):
                assert item.attr not in {"now", "utcnow", "today"}, f"{path.relative_to(ROOT)}:{item.lineno}"


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_layers_of_the_core(layer: str) -> None:
    assert modules(f"protocol/{layer}"), f"protocol/{layer} has vanished: mend this table"
    for path in modules(f"protocol/{layer}"):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "protocol" and len(parts) > 1 and parts[1] in MAY_IMPORT:
                assert parts[1] in MAY_IMPORT[layer], f"{path.relative_to(ROOT)} imports {name}"


def test_the_table_names_every_layer() -> None:
    here = {p.name for p in (ROOT / "protocol").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert here == set(MAY_IMPORT)


@pytest.mark.parametrize("folder", sorted(NODE_MAY_NOT))
def test_parts_of_the_daemon(folder: str) -> None:
    assert modules(folder), f"{folder} has vanished: mend this table"
    for path in modules(folder):
        for name in imports_of(path):
            for banned in NODE_MAY_NOT[folder]:
                assert name != banned and not name.startswith(banned + "."), f"{path.relative_to(ROOT)} imports {name}"
