"""Writes tests/vectors/ledger/*.json: `python tests/vectors/make_ledger.py`.

`chain` is a whole small chain from its genesis: blocks, what each changes, the state root after it, and transactions
that must be refused on its last state, with the error's code. An implementation that replays it and gets every root
has the ledger right; the other files show the parts: events, leaves, tree, history, windows, disclosures' reasons, a
proof file. Byte strings are in hex.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from protocol.codec.canonical import encode  # noqa: E402 - needs the path above
from protocol.crypto.commitments import Opening, bytes_proof, commit  # noqa: E402
from protocol.crypto.fields import json_fields  # noqa: E402
from protocol.crypto.hashing import block_digest  # noqa: E402
from protocol.crypto.signing import transaction_message, verify  # noqa: E402
from protocol.errors import InvalidTransaction, NumberTooFar, Replayed  # noqa: E402
from protocol.ledger import history, keys, purposes, tree, windows  # noqa: E402
from protocol.ledger.events import decode_event, event_digest  # noqa: E402
from protocol.ledger.leaves import KINDS, Denials, GrantLeaf, decode_leaf  # noqa: E402
from protocol.ledger.transition import Family, classify  # noqa: E402
from protocol.proofs import bundle, inclusion  # noqa: E402
from protocol.proofs.explaining import explain  # noqa: E402
from protocol.proofs.light import EpochHop  # noqa: E402
from protocol.types.operations import (  # noqa: E402
    AppendRecords,
    Disclose,
    Grant,
    RecordEntry,
    Reissue,
    Revoke,
)

Cases = list[dict[str, Any]]
DATA = b'{"resourceType":"Immunization","status":"completed"}'
OPENING = Opening(bytes(range(64)), bytes(range(32)))


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fixtures = _module("vectors_ledger_world", ROOT / "tests" / "protocol" / "conftest.py")
patients = _module("vectors_ledger_patients", FOLDER / "ledger_patients.py")
governance = _module("vectors_ledger_governance", FOLDER / "ledger_governance.py")
readable = _module("vectors_ledger_wire", FOLDER / "make_wire.py").readable


# --- a chain ---------------------------------------------------------------------------------------------------


class Recorder:
    """A world that writes down each block that it makes."""

    def __init__(self) -> None:
        self.world = fixtures.World()
        self.blocks: Cases = []
        self.hops: list[EpochHop] = []

    def block(self, *bodies: Any) -> list[Any]:
        world = self.world
        leaves = dict(world.leaves)
        receipts = world.block(*bodies)
        ordered = sorted(zip(bodies, receipts, strict=True), key=lambda one: classify(one[0]) is Family.INSTITUTION)
        if world.head.ends_epoch:
            self.hops.append(EpochHop(world.head, world.certificate(), world.authorities()))
        changed = {key: raw for key, raw in world.leaves.items() if leaves.get(key) != raw}
        self.blocks.append(
            {
                "header": encode(world.head).hex(),
                "digest": block_digest(world.head).hex(),
                "transactions": [encode(self.signed(body)).hex() for body, _ in ordered],
                "receipts": [readable(receipt.operations) for _, receipt in ordered],
                "changed_leaves": {key.hex(): raw.hex() for key, raw in sorted(changed.items())},
                "state_root": world.head.state_root.hex(),
            }
        )
        return receipts

    def signed(self, body: Any) -> Any:
        return self.world.signed(body)


def _entry(tags: tuple[int, int, int, int], commitment: bytes, supersedes: int | None = None) -> RecordEntry:
    return RecordEntry(commitment, tuple(map(fixtures.one_tag, tags)), supersedes)  # type: ignore[arg-type]


def story() -> tuple[Recorder, list[tuple[Any, str]]]:
    """A chain in which every operation and every reason for a denial occurs, and what its last state refuses."""
    recorder = Recorder()
    world = recorder.world
    ann, ben = world.patient(), world.patient()
    commitment = commit(DATA, json_fields(DATA), OPENING)
    recorder.block(world.body(0, world.opening(ann)), world.body(1, world.opening(ben, 1), key=1))
    ann.chart, ben.chart = 0, 1
    world.wait(1_000)
    first = AppendRecords(0, (_entry((1, 2, 3, 4), commitment), _entry((1, 5, 3, 4), b"\x02" * 32)))
    amending = AppendRecords(0, (_entry((1, 2, 6, 4), b"\x03" * 32, supersedes=1),))
    recorder.block(
        world.body(0, first, amending), world.body(1, AppendRecords(1, (_entry((9, 9, 9, 9), b"\x04" * 32),)))
    )
    tags = fixtures.tag_lists([1], None, [3], [4])
    now = world.now
    terms = [
        world.terms(tags=tags),
        world.terms(tags=tags, not_before=now + 3_600_000),
        world.terms(tags=tags, purposes=("HRESCH",), not_after=now + 900),
        world.terms(tags=tags, grantee=3),
    ]
    recorder.block(world.body(2, *[world.owned(ann, Grant(0, one)) for one in terms]))
    world.wait(1_000)
    asked = [(0, (1, 2), "TREAT"), (0, (1,), "COC"), (0, (1, 3), "TREAT"), (0, (1,), "HMARKT"), (0, (1,), "BTG")]
    asked += [(1, (1,), "TREAT"), (2, (1,), "TREAT"), (3, (1,), "TREAT"), (7, (1,), "TREAT")]
    asking = [Disclose(0, grant, records, purpose) for grant, records, purpose in asked]
    recorder.block(world.body(1, *asking, Disclose(0, None, (1,), "TREAT")))
    fresh = Reissue(3, fixtures.tag_lists([1, 8], None, [3, 8], [4, 8]))
    revoking = world.body(3, world.owned(ann, Revoke(0, 0, (fresh,))))
    recorder.block(world.body(1, Disclose(0, 0, (1,), "TREAT")), revoking)
    world.wait(60_000)
    recorder.block()
    care = patients.Care(recorder, fixtures)
    care.play()
    again = world.body(3, world.owned(ann, Revoke(0, 0)))
    appended = world.body(0, AppendRecords(0, (_entry((8, 8, 8, 8), b"\x05" * 32),)))
    recorder.block(again, appended)
    governance.govern(recorder, fixtures)
    care.move()
    return recorder, _refused(recorder, ann, ben, appended) + care.refused()


def _refused(recorder: Recorder, ann: Any, ben: Any, replayed: Any) -> list[tuple[Any, str]]:
    world = recorder.world
    good = AppendRecords(0, (_entry((1, 2, 3, 4), b"\x09" * 32),))
    granting = world.owned(ann, Grant(0, world.terms()))
    bodies = {
        "replayed": replayed,
        "foreign-chain": world.body(0, good, chain=bytes(32)),
        "expired": world.body(0, good, valid_until=world.now - 1),
        "valid-too-long": world.body(0, good, valid_until=world.now + 7 * 24 * 3_600_000),
        "unknown-institution": world.body(9, good),
        "unknown-key": world.body(0, good, key=2),
        "number-too-far": world.body(0, good, number=1 << 40),
        "mixed-transaction": world.body(0, good, granting),
        "unauthorised": world.body(1, good),
        "unknown-chart": world.body(0, AppendRecords(9, good.entries)),
        "unknown-record": world.body(0, AppendRecords(0, (_entry((1, 2, 3, 4), bytes(32), supersedes=0),))),
        "chart-exists": world.body(2, world.opening(ben, 2)),
        "missing-cosignature": world.body(0, Grant(0, world.terms())),
        "bad-cosignature": world.body(0, world.owned(ben, Grant(0, world.terms()), number=9)),
        "cosignature-expired": world.body(0, world.owned(ann, Grant(0, world.terms()), expires_at=world.now - 1)),
        "cosignature-too-long": world.body(
            0, world.owned(ann, Grant(0, world.terms()), expires_at=world.now + 25 * 3_600_000)
        ),
        "unknown-grant": world.body(0, world.owned(ann, Revoke(0, 4))),
        "bad-terms": world.body(0, world.owned(ann, Grant(0, world.terms(purposes=("BTG",))))),
        "not-ascending": world.body(1, Disclose(0, 0, (2, 1), "TREAT")),
        "unknown-purpose": world.body(1, Disclose(0, 0, (1,), "CURIOUS")),
    }
    listed = [(recorder.signed(body), code) for code, body in bodies.items()]
    forged = recorder.signed(world.body(0, good))
    listed.append((type(forged)(forged.body, bytes(64)), "wrong-key"))
    return listed + [(recorder.signed(body), code) for body, code in governance.refused(world, fixtures)]


def chain() -> dict[str, Any]:
    recorder, refused = story()
    world = recorder.world
    cases = []
    for signed, code in refused:
        _expect(world, signed, code)
        cases.append({"transaction": encode(signed).hex(), "error": code})
    return {
        "genesis": encode(world.genesis).hex(),
        "genesis_header": encode(fixtures.genesis_block(world.genesis).header).hex(),
        "blocks": recorder.blocks,
        "refused_at": world.now,
        "refused": cases,
    }


def _expect(world: Any, signed: Any, code: str) -> None:
    found, message = "accepted", transaction_message(signed.body)
    try:
        world.execution(signed.body).apply(signed.body, lambda public: verify(public, message, signed.signature))
    except InvalidTransaction as error:
        found = error.code
    if found != code:
        raise AssertionError(f"{found} instead of {code}: {signed.body.operations}")


# --- its parts -------------------------------------------------------------------------------------------------


def events() -> Cases:
    recorder, _ = story()
    return [
        {
            "chart": chart,
            "number": number,
            "event": readable(decode_event(raw)),
            "bytes": raw.hex(),
            "digest": event_digest(chart, number, raw).hex(),
        }
        for (chart, number), raw in sorted(recorder.world.events.items())
    ]


def leaves() -> Cases:
    """The last state's leaves, at least one of each kind."""
    recorder, _ = story()
    state = recorder.world.leaves
    assert {key[0] for key in state} == set(KINDS)
    assert any(isinstance(decode_leaf(key, raw), Denials) for key, raw in state.items())
    assert any(isinstance(leaf := decode_leaf(key, raw), GrantLeaf) and leaf.revoked_at for key, raw in state.items())
    return [
        {
            "kind": KINDS[key[0]].__name__,
            "key": key.hex(),
            "leaf": readable(decode_leaf(key, raw)),
            "bytes": raw.hex(),
            "digest": tree.leaf_digest(key, raw).hex(),
        }
        for key, raw in sorted(state.items())
    ]


def state_tree() -> dict[str, Any]:
    """A tree that grows, and paths that show what is and what is not there."""
    batches = [
        {keys.PARAMS: b"p"},
        {keys.chart(0): b"a", keys.chart(1): b"b", keys.grant(0, 0): b"c"},
        {keys.chart(1): b"b2", keys.chart(16): b"d", keys.chart(1 << 30): b"e"},
        {keys.chart(n): bytes([n]) for n in range(2, 20)},
    ]
    nodes, steps, values = dict(tree.EMPTY_TREE), [], {}
    for batch in batches:
        after = tree.update(nodes, batch)
        nodes.update(after.nodes)
        values.update(batch)
        changes = {key.hex(): value.hex() for key, value in batch.items()}
        steps.append({"changes": changes, "root": after.root.hex()})
    shown = [*values, keys.chart(20), keys.chart(1 << 20), keys.grant(0, 1), keys.COUNTERS]
    return {
        "empty_root": tree.EMPTY_ROOT.hex(),
        "steps": steps,
        "nodes": {path.decode(): raw.hex() for path, raw in sorted(nodes.items())},
        "paths": [
            {
                "key": key.hex(),
                "value": values[key].hex() if key in values else None,
                "path": [raw.hex() for raw in tree.prove(nodes, key)],
            }
            for key in shown
        ],
    }


def mountain_ranges() -> Cases:
    digests = [bytes([n]) * 32 for n in range(16)]
    cases = []
    for count in (0, 1, 2, 3, 7, 8, 13):
        peaks = history.append_all((), 0, digests[:count])
        paths = []
        for index in range(count):
            _, first, height = history.mountain(count, index)
            path = history.path(digests[first : first + (1 << height)], index - first)
            paths.append([step.hex() for step in path])
        cases.append(
            {
                "leaves": [one.hex() for one in digests[:count]],
                "peaks": [peak.hex() for peak in peaks],
                "root": history.root(count, peaks).hex(),
                "paths": paths,
            }
        )
    return cases


def window_steps() -> Cases:
    """Numbers used one after the other in a window of 64 bits that begins fresh."""
    window, cases = windows.FRESH, []
    for number in (0, 0, 3, 1, 3, 70, 7, 6, 8, 1 << 20, (1 << 21) + 1, 1 << 21, (1 << 21) - 63, (1 << 21) - 64):
        error = None
        try:
            window = windows.use(window, number, 64)
        except (Replayed, NumberTooFar) as refused:
            error = refused.code
        cases.append({"number": number, "error": error, "highest": window.highest, "bitmap": window.bitmap.hex()})
    return cases


def purpose_codes() -> dict[str, Any]:
    return {
        code: {"above": above, "emergency": purposes.is_emergency(code)} for code, above in purposes.PARENTS.items()
    }


def proof() -> dict[str, Any]:
    recorder, _ = story()
    world = recorder.world
    chart, number = 0, 1
    leaf = world.leaves[keys.chart(chart)]
    needed = inclusion.events_needed(decode_leaf(keys.chart(chart), leaf), number)  # type: ignore[arg-type]
    made = inclusion.prove(
        world.head,
        world.certificate(),
        chart=chart,
        leaf=leaf,
        state_path=tree.prove(world.nodes, keys.chart(chart)),
        number=number,
        events=[world.events[(chart, at)] for at in needed],
        hops=recorder.hops,
        record=bytes_proof(DATA, json_fields(DATA), OPENING),
    )
    claim = inclusion.check(made, world.genesis, record=DATA)
    return {
        "genesis": encode(world.genesis).hex(),
        "file": bundle.write(made).hex(),
        "record": DATA.hex(),
        "signers": list(claim.final.signers),
        "event": readable(claim.event),
        "explanation": explain(claim, world.genesis),
    }


FILES: dict[str, Callable[[], Any]] = {
    "chain": chain,
    "events": events,
    "leaves": leaves,
    "tree": state_tree,
    "history": mountain_ranges,
    "windows": window_steps,
    "purposes": purpose_codes,
    "proof": proof,
}


def main() -> None:
    """Write every file."""
    folder = FOLDER / "ledger"
    folder.mkdir(exist_ok=True)
    for name, make in FILES.items():
        text = json.dumps(make(), indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
