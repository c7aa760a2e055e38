"""The genesis file: read back as written, and refused when anything in it was touched."""

import json

import pytest

from node.genesis_file import GenesisUnreadable, read_genesis, write_genesis
from protocol.errors import ChartledgerError, GenesisMismatch
from protocol.params import Params
from protocol.types.institutions import STATUS_ACCREDITED, Genesis, Institution


def institution(number: int) -> Institution:
    return Institution(
        name=f"Hôpital {number}",
        status=STATUS_ACCREDITED,
        operation_keys=(bytes([number]) * 32,),
        vote_key=bytes([number + 100]) * 32,
        network_certificates=(b"der" * (number + 1),),
        encryption_suite=1,
        encryption_key=bytes([number + 50]) * 32,
    )


GENESIS = Genesis("test", 1_700_000_000_000, Params(), tuple(institution(n) for n in range(4)), (0, 1, 2, 3))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "genesis.json"
    write_genesis(path, GENESIS)
    return path


def test_reads_what_was_written(file):
    assert read_genesis(file) == GENESIS


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def test_any_altered_value_is_refused(file):
    """The promise: no file that differs in one value starts another chain."""
    original = file.read_text()
    for path in leaves(json.loads(original)):
        document = json.loads(original)
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        old = inner[path[-1]]
        inner[path[-1]] = old + 1 if isinstance(old, int) else ("0" if old[:1] != "0" else "1") + old[1:]
        file.write_text(json.dumps(document))
        with pytest.raises((GenesisMismatch, GenesisUnreadable, ChartledgerError)):
            read_genesis(file)


def test_an_altered_name_is_a_mismatch_that_names_the_file(file):
    file.write_text(file.read_text().replace("Hôpital 1", "Hôpital 9"))
    with pytest.raises(GenesisMismatch, match=r"genesis\.json"):
        read_genesis(file)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff\xfe", b"[" * 5000, b'{"format":"other"}'])
def test_what_is_no_genesis_file(tmp_path, raw):
    path = tmp_path / "g.json"
    path.write_bytes(raw)
    with pytest.raises(GenesisUnreadable, match=r"g\.json"):
        read_genesis(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(GenesisUnreadable, match="No such file"):
        read_genesis(tmp_path / "none")


@pytest.mark.parametrize("change", [{"created_at": 10**30}, {"authorities": [10**30]}, {"created_at": -1}])
def test_numbers_without_end_are_refused_in_one_sentence(file, change):
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(GenesisUnreadable, match="out of bounds"):
        read_genesis(file)
