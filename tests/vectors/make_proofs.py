"""Writes tests/vectors/proofs/*.json: `python tests/vectors/make_proofs.py`.

`epoch-hop`, `checkpoint` and `finality-proof` are wire types, in the form of tests/vectors/make_wire.py. `walk` is a
light client's way through a chain of four epochs, with what must be refused on it and the check that each fails; its
files are what `chartledger verify` reads. `claims` has one file of each kind of proof with what it shows, and files
that are refused with the check that says so. Byte strings are in hex.
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
for place in (str(FOLDER), str(ROOT)):
    if place not in sys.path:
        sys.path.insert(0, place)

from make_sync import files as wire_files  # noqa: E402 - needs the path above
from msgspec.structs import replace  # noqa: E402

from protocol.codec.canonical import encode  # noqa: E402
from protocol.errors import BadProof  # noqa: E402
from protocol.ledger import keys, tree  # noqa: E402
from protocol.ledger.leaves import Erasure  # noqa: E402
from protocol.proofs import bundle, final, inclusion, past, scan  # noqa: E402
from protocol.proofs.explaining import explain  # noqa: E402
from protocol.proofs.final import FinalityProof  # noqa: E402
from protocol.proofs.light import Checkpoint, EpochHop, LightClient  # noqa: E402
from protocol.types.governance import GiveAuthority, Parameter, SetParameters, TakeAuthority  # noqa: E402
from protocol.types.institutions import Genesis  # noqa: E402
from tests.protocol.proofs.proving import DATA, Prover, story  # noqa: E402


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fixtures = _module("vectors_proofs_world", ROOT / "tests" / "protocol" / "conftest.py")


class Walk:
    """A chain of four epochs: an institution joins, a founder leaves, a parameter changes; a chart of epoch 0."""

    def __init__(self) -> None:
        world = self.world = fixtures.World()
        self.patient = world.open_chart()
        newcomer = world.accredit(fixtures.Keys(4))
        self.hops = [self._end(GiveAuthority(newcomer)), self._end(TakeAuthority(0))]
        self.kept = Checkpoint(world.head, world.certificate(), world.authorities(1))
        self.hops.append(self._end(SetParameters((Parameter("heartbeat_ms", 60_000),))))
        world.append(self.patient)
        self.shown = world.head
        self.above = []
        for _ in range(2):
            world.block()
            self.above.append(world.head)

    def _end(self, change: Any) -> EpochHop:
        self.world.decide(change)
        return EpochHop(self.world.head, self.world.certificate(), self.world.authorities())

    @property
    def final(self) -> FinalityProof:
        """Of a block with two above it that share its certificate."""
        return FinalityProof(self.shown, tuple(self.above), self.world.certificate(), tuple(self.hops))

    @property
    def inclusion(self) -> inclusion.InclusionProof:
        """Of the record, at the head."""
        world, chart = self.world, self.patient.chart
        needed = inclusion.events_needed(world.chart(self.patient), 1)
        return inclusion.prove(
            world.head,
            world.certificate(),
            chart=chart,
            leaf=world.leaves[keys.chart(chart)],
            state_path=tree.prove(world.nodes, keys.chart(chart)),
            number=1,
            events=[world.events[(chart, at)] for at in needed],
            hops=self.hops,
        )

    def lies(self) -> dict[str, EpochHop]:
        """Ways of ending epoch 0 that are refused, by the name of the check."""
        hop, second = self.hops[0], self.hops[1]
        votes = hop.certificate.signatures
        return {
            "chain": replace(hop, header=replace(hop.header, chain=bytes(32))),
            "epoch": second,
            "certificate": replace(hop, certificate=replace(hop.certificate, signatures=votes[:2])),
            "authorities": replace(hop, authorities=second.authorities),
        }


def walk() -> dict[str, Any]:
    made = Walk()
    genesis: Genesis = made.world.genesis
    shown = final.check(made.final, genesis=genesis)
    claim = inclusion.check(made.inclusion, genesis)
    return {
        "genesis": encode(genesis).hex(),
        "hops": [encode(hop).hex() for hop in made.hops],
        "sets": [encode(hop.authorities).hex() for hop in made.hops],
        "refused": [
            {"check": _check(genesis, hop, name), "hop": encode(hop).hex()} for name, hop in made.lies().items()
        ],
        "header": encode(made.shown).hex(),
        "above": [encode(header).hex() for header in made.above],
        "certificate": encode(made.world.certificate()).hex(),
        "signers": list(shown.signers),
        "finality_file": bundle.write(made.final).hex(),
        "finality_explained": explain(shown, genesis),
        "inclusion_file": bundle.write(made.inclusion).hex(),
        "inclusion_explained": explain(claim, genesis),
        "checkpoint_file": bundle.write_checkpoint(made.kept).hex(),
        "inclusion_explained_by_checkpoint": explain(inclusion.check(made.inclusion, None, checkpoint=made.kept), None),
    }


def _check(genesis: Genesis, hop: EpochHop, name: str) -> str:
    try:
        LightClient.from_genesis(genesis).hop(hop)
    except BadProof as refused:
        if str(refused).startswith(f"{name}: "):
            return name
    raise AssertionError(f"the hop was not refused by {name}")


CHECKS = ("certificate", "state", "history", "field", "grant", "epoch", "file", "text", "record")


def claims() -> dict[str, Any]:
    """One true file of each kind, and files that are refused, each by the check that it names."""
    prover, proofs = story(fixtures.World())
    genesis = prover.world.genesis

    def shown(name: str, proof: Any) -> dict[str, Any]:
        raw = bundle.write(proof)
        record = DATA if name == "opened" else None
        claim = bundle.check(proof, genesis=genesis, record=record)
        return {
            "kind": bundle.WORDS[type(proof)],
            "record": None if record is None else record.decode(),
            "bytes": raw.hex(),
            "text": scan.to_text(raw),
            "explained": explain(claim, genesis),
        }

    return {
        "genesis": encode(genesis).hex(),
        "true": {name: shown(name, proof) for name, proof in proofs.items()},
        "refused": [
            {"what": what, "check": _refused(genesis, raw), "bytes": raw.hex()}
            for what, raw in _lies(prover, proofs).items()
        ],
    }


def _lies(prover: Prover, proofs: dict[str, Any]) -> dict[str, bytes]:
    history, grant, erasure, field = (proofs[name] for name in ("history", "grant", "erasure", "field"))
    votes = grant.anchor.certificate.signatures
    few = replace(grant.anchor, certificate=replace(grant.anchor.certificate, signatures=votes[:2]))
    raw = bundle.write(grant)
    lies = {
        "a history without its last event": replace(history, events=history.events[:-1]),
        "a history without its second event": replace(history, events=(history.events[0], *history.events[2:])),
        "a part of a history, one number higher": replace(proofs["part"], first=2),
        "a field with another value": replace(field, field=replace(field.field, value=b'"2026-03-15"')),
        "a grant signed by two of three": replace(grant, anchor=few),
        "a grant without its epoch's hop": replace(grant, anchor=replace(grant.anchor, hops=())),
        "a grant that is said not to exist": replace(grant, grant_leaf=None),
        "a grant for another institution": replace(grant, institution=2),
        "a grant in the past of another number": replace(proofs["past"], grant=1),
        "a grant in the past whose history ends too early": past.prove(
            proofs["past"].block, prover.history(0, 3), 0, 1
        ),
        "an erasure that nobody acknowledged": replace(erasure, erasure=encode(Erasure(1, (0, 1, 2)))),
    }
    return {what: bundle.write(proof) for what, proof in lies.items()} | {
        "a file cut short": raw[:-1],
        "a file that goes on": raw + b"\x00",
        "a text cut short": scan.to_text(raw).encode()[:-1],
    }


def _refused(genesis: Genesis, raw: bytes) -> str:
    try:
        bundle.check(bundle.read(raw), genesis=genesis)
    except BadProof as refused:
        check = str(refused).partition(": ")[0]
    else:
        raise AssertionError("it was not refused")
    if check not in CHECKS:
        raise AssertionError(f"{check} is no check's name")
    return check


def wire() -> dict[str, Any]:
    """File name -> content of the wire types."""
    made = Walk()
    return wire_files(
        {
            "epoch-hop": (EpochHop, list(made.hops)),
            "checkpoint": (Checkpoint, [made.kept]),
            "finality-proof": (
                FinalityProof,
                [made.final, FinalityProof(made.kept.header, (), made.kept.certificate, ())],
            ),
        }
    )


FILES: dict[str, Callable[[], Any]] = {
    "walk": walk,
    "claims": claims,
    "epoch-hop": lambda: wire()["epoch-hop"],
    "checkpoint": lambda: wire()["checkpoint"],
    "finality-proof": lambda: wire()["finality-proof"],
}


def main() -> None:
    """Write every file."""
    folder = FOLDER / "proofs"
    folder.mkdir(exist_ok=True)
    for name, make in FILES.items():
        text = json.dumps(make(), indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
