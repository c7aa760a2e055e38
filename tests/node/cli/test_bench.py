"""The figures of a benchmark: percentiles by nearest rank, and what the operating system says."""

import os
import time

import pytest

from node.bench import Plan, percentile
from node.processes import cpu_seconds, folder_bytes, peak_resident_bytes, resident_bytes


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5.0], 0.5, 5.0), ([1.0, 2.0], 0.5, 1.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99.0)],
)
def test_percentiles_by_nearest_rank(values, share, expected):
    assert percentile(values, share) == expected


def test_a_request_holds_a_hundred_items_or_ten_transactions():
    assert Plan(operations=1).batch_size == 100
    assert Plan(operations=100).batch_size == 10
    assert Plan(operations=100, batch=3).batch_size == 3


def test_what_a_process_has_used():
    me = os.getpid()
    before = cpu_seconds(me)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        sum(range(1000))
    assert cpu_seconds(me) >= before + 0.03
    now = resident_bytes(me)  # before the peak is asked for, which may grow in between
    assert peak_resident_bytes(me) >= now > 1_000_000


def test_a_folder_counts_all_below_it(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"x" * 5)
    assert folder_bytes(tmp_path) == 15
