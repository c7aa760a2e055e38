"""An accounting as a file: CSV for a spreadsheet, JSON for a program, one HTML page for a printer. Pure.

The page needs nothing from anywhere else and runs nothing; every value is escaped. In the CSV no cell can be taken for
a formula.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from html import escape
from typing import Final

import msgspec

from node.accounting.account import Account, Row

COLUMNS: Final = (
    "first disclosure",
    "last disclosure",
    "number",
    "recipient",
    "address",
    "people",
    "what was disclosed",
    "purpose",
    "purpose in words",
    "reasons given",
    "grants",
    "emergency",
    "exempt as",
)
LAST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999."""
FORMULA: Final = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet may see a formula begin: at a cell's beginning, and behind what it may take for the end of one,
since which character that is depends on its language."""


def as_csv(account: Account) -> bytes:
    """RFC 4180 in UTF-8, one line for each row."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([harmless(cell) for cell in _cells(row)] for row in account.rows)
    return file.getvalue().encode()


def as_json(account: Account) -> bytes:
    """Times are milliseconds of ledger time."""
    return msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n"


def as_html(account: Account) -> bytes:
    """A page of its own that prints well."""
    rows = "\n".join(_html_row(row) for row in account.rows)
    if not account.rows:
        rows = f'<tr><td colspan="{len(HEADINGS)}">Nothing was disclosed in this time.</td></tr>'
    heads = "".join(f'<th scope="col">{escape(one)}</th>' for one in HEADINGS)
    storage = account.storage
    kinds = ", ".join(
        [*storage.categories, *([f"{storage.uncategorised} of other kinds"] if storage.uncategorised else [])]
    )
    holds = "1 legal hold is" if storage.holds == 1 else f"{storage.holds} legal holds are"
    sources = "".join(
        f"<li>{_apart(one.name)}: {one.records} record{'' if one.records == 1 else 's'}</li>" for one in account.sources
    )
    notes = "".join(f"<li>{escape(one)}</li>" for one in account.notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Accounting of disclosures, chart {account.chart}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Accounting of disclosures</h1>
<dl>
<dt>Chart</dt><dd>{account.chart}, kept by {_apart(account.custodian)}</dd>
<dt>From</dt><dd>{_day(account.from_ms)}</dd>
<dt>Until</dt><dd>{_day(account.until_ms)}</dd>
<dt>Made</dt><dd>{_moment(account.made_ms)}</dd>
</dl>
<table>
<caption>Who got what, why, and how often. Times are UTC.</caption>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
<h2>What is kept</h2>
<p>{storage.records} records: {escape(kinds or "none")}. {escape(storage.sentence)} {holds} in force.</p>
<h2>Where it comes from</h2>
<ul>{sources or "<li>No records yet.</li>"}</ul>
<h2>How to read this</h2>
<ul>{notes}</ul>
</main>
</body>
</html>
""".encode()


HEADINGS: Final = ("When", "To whom", "What", "Why", "Accounting")
STYLE: Final = """
:root{color-scheme:light}
body{font:11pt/1.4 Georgia,'Times New Roman',serif;color:#111;background:#fff;margin:2rem auto;max-width:64rem;
padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:1.5rem 0 .4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0 0 1rem}dt{color:#555}dd{margin:0}
table{border-collapse:collapse;width:100%}caption{text-align:left;color:#444;padding-bottom:.4rem}
th,td{border:1px solid #999;padding:.35rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
thead th{background:#eee}time{white-space:nowrap}.small{color:#444;font-size:.9em}.urgent{font-weight:bold}
@media print{body{margin:0;max-width:none;padding:0;font-size:9.5pt}thead{display:table-header-group}
tr{break-inside:avoid}h2{break-after:avoid}@page{margin:15mm}thead th{background:none}}
"""


def _html_row(row: Row) -> str:
    times = _moment(row.first_ms)
    if row.count > 1:
        times += f'<br>to {_moment(row.last_ms)}<br><span class="small">{row.count} times</span>'
    who = f'{_apart(row.recipient)}<br><span class="small">{_apart(row.address)}</span>'
    who += "".join(f'<br><span class="small">{_apart(one)}</span>' for one in row.people)
    why = f'{escape(row.purpose_words)} <span class="small">({escape(row.purpose)})</span>'
    if row.emergency:
        why += '<br><span class="urgent">emergency, without permission</span>'
    why += "".join(f"<br>“{_apart(one)}”" for one in row.reasons)
    if row.grants:
        listed = ", ".join(str(one) for one in row.grants)
        why += f'<br><span class="small">under permission {listed}</span>'
    how = "required" if row.exempt is None else f"exempt: {escape(row.exempt)}"
    cells = (escape(row.description), why, how)
    return f'<tr><th scope="row">{times}</th><td>{who}</td>' + "".join(f"<td>{one}</td>" for one in cells) + "</tr>"


def _apart(text: str) -> str:
    """Somebody else's words: whichever way they run, or say that they do, they turn nothing of the page around."""
    return f"<bdi>{escape(text)}</bdi>"


def _cells(row: Row) -> list[str]:
    return [
        _utc(row.first_ms).isoformat(sep=" ", timespec="seconds"),
        _utc(row.last_ms).isoformat(sep=" ", timespec="seconds"),
        str(row.count),
        row.recipient,
        row.address,
        "; ".join(row.people),
        row.description,
        row.purpose,
        row.purpose_words,
        "; ".join(row.reasons),
        ", ".join(str(one) for one in row.grants),
        "yes" if row.emergency else "no",
        row.exempt or "",
    ]


def harmless(cell: str) -> str:
    """Spreadsheets run what begins like a formula; an apostrophe makes it text."""
    return FORMULA.sub(r"\1\2'", cell)


def _moment(time_ms: int) -> str:
    stamp = _utc(time_ms)
    return f'<time datetime="{stamp.isoformat(timespec="seconds")}">{stamp:%Y-%m-%d %H:%M}</time>'


def _day(time_ms: int) -> str:
    stamp = _utc(time_ms)
    return f'<time datetime="{stamp:%Y-%m-%d}">{stamp:%Y-%m-%d}</time>'


def _utc(time_ms: int) -> datetime:
    """The ledger takes times that no calendar here knows: they become the last that one does."""
    return datetime.fromtimestamp(min(time_ms, LAST_MS) / 1_000, UTC)
