"""A node's settings: what is accepted, what is refused in one sentence, and that each one is documented."""

import re
from pathlib import Path

import pytest

from node.config import ConfigInvalid, load_config, parse_address, settings

SAMPLE = Path(__file__).parents[3] / "configs" / "node.toml"


def write(folder: Path, text: str) -> Path:
    file = folder / "node.toml"
    file.write_text(text)
    return file


def test_the_sample_loads_and_holds_the_defaults(tmp_path):
    sample = load_config(write(tmp_path, SAMPLE.read_text()))
    assert sample == load_config(write(tmp_path, "institution = 0"))


def test_every_setting_stands_in_the_sample_with_its_default():
    text = SAMPLE.read_text()
    for name, default, help_text in settings():
        assert help_text, name
        if name == "peers":
            assert "[peers]" in text
            continue
        line = re.search(rf"^(# )?{name} = (.*)$", text, re.MULTILINE)
        assert line, f"{name} is not in configs/node.toml"
        if default not in ("none", "required"):
            assert line[2] == default, name
        assert bool(line[1]) == (default == "none"), name


def test_paths_are_relative_to_the_file(tmp_path):
    config = load_config(write(tmp_path, 'institution = 3\n[peers]\n1 = "h:1"\n'))
    assert config.data == tmp_path.resolve() / "data"
    assert config.peers == {1: "h:1"}


def test_a_url_stays_a_url(tmp_path):
    assert load_config(write(tmp_path, 'institution = 3\nblobs = "s3://a/b"\n')).blobs == "s3://a/b"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "institution"),
        ("institution = -1", "institution"),
        ("institution = 1\nlog_levl = 'info'", "log_levl"),
        ("institution = 1\nlog_level = 'loud'", "log_level"),
        ("institution = 1\nlisten = 'nowhere'", "nowhere"),
        ("institution = 1\n[peers]\n1 = 'h:1'", "itself"),
        ("institution = 1\n[peers]\nx = 'h:1'", "peers"),
        ("institution = 1\nsocket = '/" + "x" * 120 + "'", "longer"),
        ("institution = 1\ndata = ''", "data"),
        ("institution = 1\nblobs = 'folder'", "not a URL"),
        ("institution = ", "node.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, word):
    with pytest.raises(ConfigInvalid, match=word):
        load_config(write(tmp_path, text))


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigInvalid, match="cannot read") as caught:
        load_config(tmp_path / "none.toml")
    assert "node init" in caught.value.advice


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:٣"])
def test_addresses_that_are_none(text):
    with pytest.raises(ConfigInvalid):
        parse_address(text)


def test_addresses():
    assert parse_address("[::1]:7650") == ("::1", 7650)
    assert parse_address("ledger.example:1") == ("ledger.example", 1)
