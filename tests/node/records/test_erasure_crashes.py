"""A node that ends at any step of a deletion or of a renewal goes on where it was, and loses nothing that stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.records.kek import KekGone, KeyEncryption
from node.records.seal import Kek
from node.storage.erasures import ErasureStore
from tests.node.records.conftest import World
from tests.node.records.erasing import SMALL, Known, erase, files, found_in, incompressible, key_of, receipts, rounds
from tests.node.records.test_submit import append, plain, whole

STEPS = [
    (ErasureStore, "delete"),
    (ErasureStore, "move"),
    (ErasureStore, "move_all"),
    (ErasureStore, "checkpoint"),
    (ErasureStore, "rewrap"),
    (ErasureStore, "count_sealed"),
    (ErasureStore, "set_last_kek"),
    (ErasureStore, "done"),
    (KeyEncryption, "begin"),
    (KeyEncryption, "finish"),
    (KeyEncryption, "quiet"),
]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("which", "after"), [(1, False), (1, True), (2, False)], ids=["before", "after", "second"])
@pytest.mark.parametrize(("kind", "name"), STEPS, ids=[f"{kind.__name__}.{name}" for kind, name in STEPS])
async def test_a_crash_at_any_step_loses_nothing_and_brings_nothing_back(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type, name: str, which: int, after: bool
) -> None:
    kept, gone = await append(world, plain("stays"), plain(SMALL))
    large, data = await incompressible(world)
    known = [await Known.of(world, gone, SMALL.encode()), await Known.of(world, large, data)]
    erasure = await erase(world, [gone, large])
    with monkeypatch.context() as patch:
        patch.setattr(kind, name, crashing(getattr(kind, name), which, after=after))
        try:
            await rounds(world, world.custodian)
        except Crash:
            said = await receipts(world, erasure)
            assert not said or name == "done", "no receipt before all is done"
    await world.network.stop(0)
    world.custodian = await world.network.start(0)
    await rounds(world, world.custodian)
    assert list(await receipts(world, erasure)) == [0]
    for one in known:
        assert not found_in(files(world.custodian.folder), one.traces())
        with pytest.raises(KekGone):
            Kek(key_of(world.custodian)).open_secret(one.sealed, world.chart, one.event.entry.commitment)
    assert await whole((await world.custodian.records.content(world.chart, kept)).chunks) == b"stays"
    (more,) = await append(world, plain("written afterwards"))
    assert await whole((await world.custodian.records.content(world.chart, more)).chunks) == b"written afterwards"


def crashing(method: Callable[..., Any], which: int, *, after: bool) -> Callable[..., Any]:
    """`method`, in whose call number `which` the process ends, before or after its work."""
    calls = 0

    def step() -> bool:
        nonlocal calls
        calls += 1
        return calls == which

    if method.__name__ in ("begin", "finish"):

        def blocking(*arguments: Any) -> Any:
            here = step()
            if here and not after:
                raise Crash
            method(*arguments)
            if here:
                raise Crash

        return blocking

    async def awaited(*arguments: Any) -> Any:
        here = step()
        if here and not after:
            raise Crash
        value = await method(*arguments)
        if here:
            raise Crash
        return value

    return awaited
