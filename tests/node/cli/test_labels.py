"""`chartledger labels`: explanations, counts, and a table that is checked before a node has to refuse it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from node.app import Node
from node.cli.exits import report
from node.cli.main import build
from node.config import load_config
from node.devnet import Devnet, wish_for
from node.doctor import examine
from node.records.sensitivity_table import SensitivityTableInvalid


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def running(*words: object, code: int = 0) -> str:
        arguments = ["labels", *map(str, words)]
        try:
            ended = build(arguments)(arguments, standalone_mode=False) or 0
        except Exception as error:
            ended = int(report(error))
        told = capsys.readouterr()
        assert ended == code, told.out + told.err
        return told.out if "--json" in arguments else told.out + told.err

    return running


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    folder = tmp_path / "feed"
    (folder / "inner").mkdir(parents=True)
    condition = {"resourceType": "Condition", "code": {"text": "Canary with depression"}}
    plain = {"resourceType": "Observation", "code": {"text": "Canary"}}
    bundle = {"resourceType": "Bundle", "entry": [{"resource": condition}, {"resource": plain}]}
    (folder / "a.json").write_text(json.dumps(bundle))
    (folder / "inner" / "b.pdf").write_bytes(b"%PDF Canary")
    (folder / "note.txt").write_text("Canary\nis sad\n")
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.table"
    file.write_text("define ONC what concerns a cancer\nmark MH word en sad\nunmark MH word depressi*\n")
    return file


def test_a_folder_is_explained(run: Any, feed: Path, own: Path) -> None:
    said = run("explain", feed)
    assert f"{feed}/a.json entry 0: Condition, none: MH" in said
    assert "Condition.code.text: word depressi* (built in)" in said
    assert "b.pdf: Binary, none: unexamined" in said
    assert "entry 1" not in said
    assert "4 records, 2 of them marked: MH 1, unexamined 1" in said
    assert "Canary" not in said
    assert "entry 1: Observation, none: not marked" in run("explain", feed, "--all")
    said = run("explain", feed, "--table", own, "--unexamined", "plain")
    assert "note.txt: Binary, none: MH\n    MH         line 2: word sad (line 2)" in said
    assert "4 records, 1 of them marked: MH 1" in said
    assert "marked: MH 1, SUD 3, unexamined" not in run("explain", feed / "note.txt", "--sensitivity", "none")


def test_json_and_counts(run: Any, feed: Path) -> None:
    document = json.loads(run("explain", feed, "--json"))
    assert document["summary"]["by_category"] == {"Binary": 2, "Condition": 1, "Observation": 1}
    assert document["summary"]["by_both"]["Condition"] == {"MH": 1}
    assert [one["sensitivities"] for one in document["records"]] == [["MH"], [], ["unexamined"], []]
    assert document["records"][0]["reasons"][0]["places"] == ["Condition.code.text"]
    assert "records" not in json.loads(run("explain", feed, "--summary", "--json"))
    assert "MH word depressi*" in run("explain", feed, "--summary")


def test_what_would_be_refused_is_named_and_ends_partly(run: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    assert "x.json: refused: the record is not a JSON object in UTF-8 [not-fhir]" in run("explain", tmp_path, code=3)


def test_a_table_is_checked_line_by_line(run: Any, own: Path) -> None:
    said = run("check", own)
    assert "1 rule; labels of its own: ONC" in said
    assert "line 3: MH word depressi*" in said
    assert "the table can be used" in said
    own.write_text("mark MHH word en sad\n\nfrob\n")
    said = run("check", own, code=5)
    assert f"{own}, line 1: 'MHH' is no sensitivity" in said
    assert f"{own}, line 3: it begins with none of" in said
    assert "2 lines wrong: a node would not start" in said
    assert [one["line"] for one in json.loads(run("check", own, "--json", code=5))["wrong"]] == [1, 3]
    assert "[sensitivity-table-invalid]" in run("list", "--table", own, code=1)


def test_labels_and_rules_are_listed(run: Any, own: Path) -> None:
    document = json.loads(run("list", "--rules", "--json", "--table", own))
    assert document["sensitivities"]["ONC"] == "what concerns a cancer"
    assert {"sensitivity": "MH", "kind": "word", "rule": "sad", "source": "line 2"} in document["rules"]
    assert not [rule for rule in document["rules"] if rule["rule"] == "depressi*"]
    assert "domestic violence" in run("list")


def test_a_node_does_not_start_with_a_wrong_table_and_doctor_tells(tmp_path: Path, run: Any, feed: Path) -> None:
    devnet = Devnet.create(tmp_path / "net", wish_for(3))
    file, own = devnet.config(0), devnet.config(0).with_name("own.table")
    file.write_text('sensitivity_table = "own.table"\n' + file.read_text())
    own.write_text("define ONC cancer\nmark ONC word en sad\n")

    def finding() -> Any:
        return next(one for one in examine(load_config(file)) if one.check == "labels")

    assert (finding().state, finding().sentence) == ("ok", "1 rule of our own; what cannot be looked into is marked")
    assert "note.txt: Binary, none: ONC" in run("explain", feed, "--config", file)
    own.write_text("mark ONC word en sad\n")
    assert finding().wrong
    assert "own.table, line 1: 'ONC' is no sensitivity" in finding().sentence
    with pytest.raises(SensitivityTableInvalid, match="line 1"):
        asyncio.run(Node(load_config(file), None).start())  # type: ignore[arg-type]  # it does not come to its keys
    own.write_text("unmark SEX word fetal\nunmark MH code 44261-6\n")
    assert finding().state == "warning"
    assert "2 lines take built-in rules away" in finding().sentence
    file.write_text('unexamined = "plain"\n' + file.read_text().replace("sensitivity_table", "# sensitivity_table"))
    assert finding().state == "warning"
    assert "taken for not sensitive" in finding().sentence
