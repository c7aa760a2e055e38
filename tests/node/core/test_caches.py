"""Caches stay within their bounds, whatever is put in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.caches import Lru, bytes_of


def test_the_longest_unused_goes_first() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.update({"a": 1, "b": 2})
    assert cache.get("a") == 1
    cache.update({"c": 3})
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


@given(st.lists(st.tuples(st.binary(max_size=2), st.binary(max_size=4_000)), max_size=40))
def test_bytes_bound_the_cache_also_when_values_grow(puts: list[tuple[bytes, bytes]]) -> None:
    """Leaves of a few hundred bytes become 37 kB when a grant lists all tags that it may."""
    cache: Lru[bytes, bytes] = Lru(10_000, bytes_of)
    for key, value in puts:
        cache.update({key: value})
        held = {k: v for k, _ in puts if (v := cache.get(k)) is not None}
        assert sum(bytes_of(k, v) for k, v in held.items()) <= 10_000
        assert len(held) == len(cache)
        assert held[key] == value
