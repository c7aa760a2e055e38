"""A chart's history as the patient asks of it: who asked to read, when, why, and what came of it. Pure.

Made from the events that the socket gives (docs/integrators.md), what the wallet can open of the details, and what it
knows of its labels. Whatever is not known is None and is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from protocol.crypto.details import Details
from protocol.ledger import purposes

State = Literal["denied", "pending", "lapsed", "unreviewed", "overdue", "justified", "unjustified"]
Meaning = Callable[[Sequence[str]], str | None]
"""A record's tags (hex) -> its category, None for one that this wallet does not know."""

WORDS: Final = {
    "HMARKT": "marketing",
    "HOPERAT": "the institution's own operations",
    "HPAYMT": "payment",
    "HRESCH": "research",
    "PATRQT": "at the patient's request",
    "PUBHLTH": "public health",
    "TREAT": "treatment",
    "ETREAT": "emergency treatment",
    "BTG": "emergency treatment (break the glass)",
    "ERTREAT": "treatment in an emergency room",
    "COC": "coordination of care",
    "CLINTRL": "treatment in a clinical trial",
    "POPHLTH": "population health",
}


class Look(Struct, frozen=True):
    """Somebody asked to read. `categories` are of the records asked for, as far as known; `state` is an emergency's,
    None for anything else; `said` what the asker said in confidence, `details` how that went: "none", "opened",
    "not delivered" or "does not open". `reviewer` reviewed an emergency, and may have told its findings."""

    event: int
    time_ms: int
    institution: int
    name: str
    purpose: str
    outcome: str
    reason: str
    sentence: str
    grant: int | None
    delegate: int | None
    practitioner: str | None
    records: tuple[int, ...]
    categories: tuple[str, ...]
    uncategorised: int
    emergency: bool
    state: State | None
    review_by: int | None
    said: Details | None
    details: str
    reviewer: str | None = None
    findings: Details | None = None


def looks(
    events: Iterable[Mapping[str, Any]],
    names: Mapping[int, str],
    *,
    now_ms: int,
    release_ms: int | None = None,
    meaning: Meaning | None = None,
    opened: Mapping[int, Details | str] | None = None,
) -> list[Look]:
    """All askings among a chart's events, in order. `opened` has what the wallet made of each asking's details, by
    event: the details, or in words why not."""
    listed = list(events)
    categories: dict[int, str] = {}
    for event in listed:
        if event["kind"] == "record" and meaning is not None:
            category = meaning(event["tags"])
            if category is not None:
                categories[event["number"]] = category
    later = _later(listed)
    found = []
    for event in listed:
        if event["kind"] not in ("disclosure", "emergency"):
            continue
        known = [categories[number] for number in event["records"] if number in categories]
        said = (opened or {}).get(event["number"])
        commitment = event.get("details") or event.get("justification")
        emergency = event["kind"] == "emergency"
        after = later.get(event["number"], {})
        findings = (opened or {}).get(after.get("review", -1))
        found.append(
            Look(
                event=event["number"],
                time_ms=event["time_ms"],
                institution=event["institution"],
                name=_named(names, event["institution"]),
                purpose=event["purpose"],
                outcome=event["outcome"],
                reason=event["reason"],
                sentence=event.get("sentence") or "",
                grant=event.get("grant"),
                delegate=event.get("delegate"),
                practitioner=event.get("practitioner"),
                records=tuple(event["records"]),
                categories=tuple(sorted(set(known))),
                uncategorised=len(event["records"]) - len(known),
                emergency=emergency,
                state=_state(event, after, now_ms, release_ms) if emergency else None,
                review_by=after.get("review_by", event.get("review_by")),
                said=said if isinstance(said, Details) else None,
                details=_how(commitment, said),
                reviewer=names.get(after["reviewer"], f"institution {after['reviewer']}")
                if after.get("review")
                else None,
                findings=findings if isinstance(findings, Details) else None,
            )
        )
    return found


def _named(names: Mapping[int, str], institution: int) -> str:
    return names.get(institution, f"institution {institution}")


def _how(commitment: str | None, said: Details | str | None) -> str:
    if commitment is None:
        return "none"
    if isinstance(said, Details):
        return "opened"
    return "not delivered" if said is None else said


def _later(events: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """What happened to each emergency afterwards, by its event number."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["kind"] == "emergency-confirmed":
            found.setdefault(event["emergency"], {})["review_by"] = event["review_by"]
        elif event["kind"] == "emergency-reviewed":
            review = {"review": event["number"], "reviewer": event["institution"], "justified": event["justified"]}
            found.setdefault(event["emergency"], {}).update(review)
    return found


def _state(event: Mapping[str, Any], after: Mapping[str, Any], now_ms: int, release_ms: int | None) -> State:
    """As `node.emergencies.state_of`, from what events say."""
    if event["outcome"] == "denied":
        return "denied"
    if "justified" in after:
        return "justified" if after["justified"] else "unjustified"
    review_by = after.get("review_by", event.get("review_by"))
    if review_by is None:
        late = release_ms is not None and now_ms > event["time_ms"] + release_ms
        return "lapsed" if late else "pending"
    return "overdue" if now_ms > review_by else "unreviewed"


def in_order(found: Iterable[Look]) -> list[Look]:
    """As a patient reads it: emergencies first, then the rest, each with the newest first."""
    return sorted(found, key=lambda look: (not look.emergency, -look.time_ms, -look.event))


def outcome_words(look: Look) -> str:
    """What came of it, in words; for an emergency also how its review stands."""
    if look.state is None or look.state == "denied":
        return look.outcome
    return {
        "pending": "waits for a second institution",
        "lapsed": "never confirmed, not read",
        "unreviewed": "read; review owed",
        "overdue": "read; review OVERDUE",
        "justified": "read; found justified",
        "unjustified": "read; found NOT justified",
    }[look.state]


def purpose_words(code: str) -> str:
    """A purpose of use in words: its own, or those of the nearest code above it that has some."""
    at: str | None = code
    while at is not None:
        if at in WORDS:
            return WORDS[at]
        at = purposes.PARENTS.get(at)
    return code


def who_words(look: Look) -> str:
    """Who asked, as far as it is known: the person's name and role in confidence, else the pseudonym."""
    if look.delegate is not None:
        return f"delegate {look.delegate}"
    if look.said is not None:
        person = " ".join(part for part in (look.said.given, look.said.family) if part) or look.said.staff
        if person:
            return f"{person} ({look.said.role})" if look.said.role else person
    return "" if look.practitioner is None else f"pseudonym {look.practitioner[:8]}"
