"""Tables at any width: no word is cut, no sentence squeezed; where that cannot be, each row is a block of lines."""

import io

import pytest
from rich.console import Console

from node.cli import output, status

COLUMNS = ["event", "time (UTC)", "institution", "details"]
SENTENCE = "denied for TREAT under grant 0, 1 record: You had withdrawn your permission."
ROWS = [
    [3, "2026-11-22 18:01:15", "Lakeside Laboratory", SENTENCE],
    [12, "2026-11-22 18:01:16", "Rivertown Clinic", ""],
]


@pytest.fixture
def shown(monkeypatch):
    def show(width: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, soft_wrap=True)
        monkeypatch.setattr(output, "console", console)
        output.table(COLUMNS, ROWS)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    return show


@pytest.mark.parametrize("width", [150, 80, 60, 52, 40, 30])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(shown, width):
    lines = shown(width)
    words = " ".join(lines).split()
    for word in " ".join([*COLUMNS, *(str(cell) for row in ROWS for cell in row)]).split():
        assert word in words
    if lines[0].startswith("event  time"):
        assert max(map(len, lines)) <= width


def test_a_row_is_one_line_where_there_is_room(shown):
    lines = shown(150)
    assert len(lines) == 3
    assert lines[1].endswith(SENTENCE)


def test_a_row_is_a_block_where_columns_do_not_fit(shown):
    lines = shown(40)
    assert lines[:3] == ["event        3", "time (UTC)   2026-11-22 18:01:15", "institution  Lakeside Laboratory"]
    assert "event        12" in lines
    assert "details" not in " ".join(lines[lines.index("event        12") :]), "an empty cell needs no line"


def test_who_reads_through_a_pipe_gets_one_line_a_row():
    assert output.PIPED > 500


def test_a_time_that_no_calendar_knows_is_words():
    assert output.when(output.LAST_MS - 1) == "9999-12-31 23:59:59"
    assert output.when(output.LAST_MS) == output.when(2**62) == "after the year 9999"


def test_things_are_counted_in_words():
    assert [output.counted(n, "record") for n in (0, 1, 2)] == ["0 records", "1 record", "2 records"]


def test_a_reader_that_left_ends_no_command_as_a_refusal(monkeypatch):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    # A console of its own: what is put back into another's `file` is no longer whatever stdout is by then.
    monkeypatch.setattr(output, "console", output._Console(file=Left()))
    with pytest.raises(BrokenPipeError):
        output.say("one line")


def test_a_name_in_the_summary_of_a_node_repaints_nothing_and_adds_no_line(monkeypatch):
    """What an institution moves to accredit stands there on every node, under whatever name it was given."""
    monkeypatch.setattr(status, "_facts", lambda document: [])
    summary = "Motion 3 (accredit X\x1b[2J\nhealthy: 4 of 4 authorities vote.) awaits this institution's vote."
    document = {"healthy": False, "summary": summary, "authorities": [], "emergencies": []}
    console = Console(file=io.StringIO(), width=400)
    console.print(status._picture(document))
    first = console.file.getvalue().splitlines()[0]
    assert "\x1b" not in first
    assert first.rstrip().endswith("awaits this institution's vote.")


def test_sentences_of_prose_are_lines_of_their_own_and_nothing_else_is(monkeypatch):
    console = Console(file=io.StringIO(), width=40)
    monkeypatch.setattr(output, "console", console)
    output.prose("a record by X\nThe bytes are right.", "not shown: more", indent=2)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "  a record by X\\nThe bytes are right.",
        "  not shown: more",
    ]
