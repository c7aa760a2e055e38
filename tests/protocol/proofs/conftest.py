"""Chains with several epochs, and what leads through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.proofs.light import Checkpoint, EpochHop
from protocol.types.governance import GiveAuthority, Parameter, SetParameters, TakeAuthority


class Epochs:
    """A world whose epochs end on demand, with the ends so far."""

    def __init__(self, world: Any, new_keys: Callable[..., Any]) -> None:
        self.world = world
        self.hops: list[EpochHop] = []
        self._new_keys = new_keys

    def end(self, change: Any) -> EpochHop:
        """Pass a change that ends the epoch."""
        self.world.decide(change)
        hop = EpochHop(self.world.head, self.world.certificate(), self.world.authorities())
        assert hop.header.ends_epoch
        self.hops.append(hop)
        return hop

    def join(self) -> EpochHop:
        """A new institution gets authority."""
        world = self.world
        return self.end(GiveAuthority(world.accredit(self._new_keys(len(world.operation_keys)))))

    def leave(self, institution: int) -> EpochHop:
        return self.end(TakeAuthority(institution))

    def parameters(self, heartbeat_ms: int) -> EpochHop:
        """The same authorities go on."""
        return self.end(SetParameters((Parameter("heartbeat_ms", heartbeat_ms),)))

    def checkpoint(self) -> Checkpoint:
        """Of the head."""
        world = self.world
        return Checkpoint(world.head, world.certificate(), world.authorities(world.head.epoch))


@pytest.fixture
def epochs(world: Any, new_keys: Callable[..., Any]) -> Epochs:
    return Epochs(world, new_keys)


@pytest.fixture(scope="session")
def new_epochs(new_world: Callable[..., Any], new_keys: Callable[..., Any]) -> Callable[..., Epochs]:
    """Makes chains that all have one genesis."""
    return lambda: Epochs(new_world(), new_keys)
