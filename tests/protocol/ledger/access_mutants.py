"""Ways to break the ledger's rules about reading on purpose, each of which the model of `access_model` must notice.

    python -m tests.protocol.ledger.access_mutants

counts the steps that each took, plainly drawn from seed 0 on. A mutant is one line of one function that says something
else. What it trips over by itself is no catch.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType

from node.records import consent as releasing
from protocol.ledger import (
    access,
    charts,
    consent,
    control,
    cosigning,
    decisions,
    emergency,
    erasure,
    purposes,
    reading,
    records,
    recovery,
)
from tests.protocol.ledger.access_history import plainly, small_limits
from tests.protocol.ledger.access_stage import Disagreement

STEPS = 20_000
"""Within so many steps each must be noticed."""
LENGTH = 120


@dataclass(frozen=True)
class Mutant:
    """In `function`, `after` stands in the place of `before`."""

    function: FunctionType
    before: str
    after: str
    rule: str

    @property
    def name(self) -> str:
        return f"{self.function.__module__.split('.')[-1]}.{self.function.__name__}: {self.rule}"


class Outdated(Exception):
    """The line that the mutant breaks is no longer there: mend the mutant."""


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """The function with another body, wherever it is known already."""
    function, sound = mutant.function, mutant.function.__code__
    source = inspect.getsource(function)
    if source.count(mutant.before) != 1:
        raise Outdated(f"{mutant.name}: {mutant.before!r} stands {source.count(mutant.before)} times")
    made: dict[str, FunctionType] = {}
    text = source.replace(mutant.before, mutant.after)
    flags = __future__.annotations.compiler_flag
    exec(compile(text, function.__module__, "exec", flags), function.__globals__, made)
    function.__code__ = made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = sound


@dataclass(frozen=True)
class Catch:
    """When the model noticed, and what it said."""

    steps: int
    said: str


def hunt(mutant: Mutant, most: int = STEPS) -> Catch | None:
    """Play histories of a broken ledger from seed 0 on, until the model notices."""
    steps = 0
    with broken(mutant):
        for seed in range(most // LENGTH):
            try:
                plainly(seed, LENGTH)
            except Disagreement as disagreement:
                return Catch(steps + LENGTH, str(disagreement))
            except (AssertionError, KeyError, ValueError, AttributeError, TypeError):
                pass
            steps += LENGTH
    return None


def _of(function: object, *lines: tuple[str, str, str]) -> list[Mutant]:
    assert isinstance(function, FunctionType)
    return [Mutant(function, before, after, rule) for rule, before, after in lines]


MUTANTS: list[Mutant] = [
    *_of(
        decisions.by_grant,
        ("emergency codes come by grant", "purposes.is_emergency(asked.purpose)", "False"),
        ("anybody's grant", "asked.institution not in terms.grantees", "False"),
        ("who may write may read", "not terms.access & ACCESS_READ", "False"),
        ("revoked grants count", "grant.revoked_at is not None", "False"),
        ("begins a moment late", "asked.time_ms < terms.not_before", "asked.time_ms <= terms.not_before"),
        ("ends a moment late", "asked.time_ms >= terms.not_after", "asked.time_ms > terms.not_after"),
        ("for any purpose", "not any(purposes.covers(granted, asked.purpose) for granted in terms.purposes)", "False"),
        ("for anybody there", "terms.practitioners is not None and", "False and"),
        ("covers everything", "not covered(terms.tags, [record.entry.tags for record in asked.records])", "False"),
        ("bars only in emergencies", "emergency=False", "emergency=True"),
        ("everything is denied", "if grant is None:", "if True:"),
    ),
    *_of(
        decisions.covered,
        ("one record stands for all", "for record in tags}", "for record in tags[:1]}"),
        ("no second sensitivity", "enumerate(granted)", "enumerate(granted[:3])"),
        ("any is nothing", "listed is not None and", "listed is None or"),
    ),
    *_of(
        decisions.within,
        ("any lies within a list", "mine is None or set(mine)", "mine is not None and set(mine)"),
        ("touching is enough", "set(mine).difference(bound)", "not set(mine).intersection(bound)"),
    ),
    *_of(
        decisions.by_delegate,
        ("emergency codes to a delegate", "purposes.is_emergency(asked.purpose)", "False"),
        ("out of force", "not in_force", "False"),
        ("reading not allowed", "terms.acts & ACT_READ", "True"),
        ("for any purpose", "any(purposes.covers(granted, asked.purpose) for granted in terms.purposes)", "True"),
        ("beyond bounds", "covered(terms.tags, [record.entry.tags for record in asked.records])", "True"),
        ("erased records", "Reason.ERASED if asked.erased else Reason.NONE", "Reason.NONE"),
    ),
    *_of(
        decisions.delegate_in_force,
        ("delegates outlast a recovery", "number >= delegates_from", "True"),
        ("the newest delegate is void", "number >= delegates_from", "number > delegates_from"),
        ("ended delegates act", "delegate.ended_at is None", "True"),
        ("a moment too long", "time_ms < terms.not_after", "time_ms <= terms.not_after"),
        ("a moment too late", "terms.not_before <= time_ms", "terms.not_before < time_ms"),
    ),
    *_of(
        decisions.by_emergency,
        ("forbidden, and read", "break_glass_mode(policy) is BreakGlassMode.FORBIDDEN", "False"),
        ("every bar holds", "emergency=True", "emergency=False"),
        ("reviews owed without end", "and unreviewed_full", "and False"),
    ),
    *_of(
        decisions._bars_and_erasure,
        ("no bar", "policy is not None and barred(asked, policy, emergency=emergency)", "False"),
        ("erased records", "Reason.ERASED if asked.erased else Reason.NONE", "Reason.NONE"),
    ),
    *_of(
        decisions.barred,
        ("bars on one bind all", "bar.institution not in (None, asked.institution) or", "False or"),
        ("bars on all bind none", "(None, asked.institution)", "(asked.institution,)"),
        ("bars never hold in emergencies", "and not bar.emergencies", "and True"),
        ("only the first record", "in asked.records}", "in asked.records[:1]}"),
    ),
    *_of(
        decisions._stands_against,
        ("what came later opens", "record.generation > bar.generation", "False"),
        ("a generation too late", "record.generation > bar.generation", "record.generation > bar.generation + 1"),
        ("the second sensitivity opens", "or second in sensitivities", "or False"),
        ("the year is forgotten", "years is None or year in years", "True"),
    ),
    *_of(
        decisions.may_write,
        ("revoked grants write", "or grant.revoked_at is not None", "or False"),
        ("who may read may write", "bool(terms.access & ACCESS_WRITE)", "True"),
        ("ever after", "terms.not_before <= time_ms < terms.not_after", "terms.not_before <= time_ms"),
        ("anything", "and covered(terms.tags, records)", "and True"),
        ("anybody", "institution in terms.grantees", "True"),
    ),
    *_of(
        purposes.covers,
        ("upwards", "granted in LINEAGE[asked]", "asked in LINEAGE[granted]"),
        ("only the same", "granted in LINEAGE[asked]", "granted == asked"),
    ),
    *_of(
        consent._check_bounds,
        ("a delegate lets write", "terms.access == ACCESS_READ", "True"),
        ("outlasts the delegate", "terms.not_after <= bounds.not_after", "True"),
        ("beyond the delegate's tags", "decisions.within(terms.tags, bounds.tags)", "True"),
        ("beyond its purposes", "any(purposes.covers(mine, asked) for mine in bounds.purposes)", "True"),
    ),
    *_of(
        consent._check_in_force,
        ("out of force", "not decisions.delegate_in_force(", "False and not decisions.delegate_in_force("),
        ("acts that it has not", "not delegate.terms.acts & act", "False"),
    ),
    *_of(
        consent._grant,
        ("a frozen owner grants", "cosigning.check_not_frozen(working, number)", "pass"),
        ("a delegate uses up all grants", "limits.GRANTS_BY_DELEGATES", "limits.GRANTS_PER_CHART"),
    ),
    *_of(consent._check_terms, ("to who was removed", ".status == STATUS_REMOVED", ".status == -1")),
    *_of(
        consent._revoke,
        ("no new generation", "generation += 1", "generation += 0"),
        ("a delegate moves it on", "if delegate is None and not", "if not"),
        ("a frozen owner moves it on", "and not cosigning.frozen(working, number)", "and True"),
        ("twice", "if grant.revoked_at is not None:", "if False:"),
        ("a delegate reissues", "operation.reissues or operation.delegates or operation.bars is not None", "False"),
    ),
    *_of(consent._reissue, ("the revoked come back", "grant.revoked_at is not None", "False")),
    *_of(consent._renew, ("ended delegates renewed", "delegate.ended_at is not None or", "False or")),
    *_of(
        consent._renew_bars,
        ("older bars count", "before is not None and before.", "False and before."),
        ("events hide renewed bars", "return operation.bars", "return None"),
    ),
    *_of(
        control._set_policy,
        ("a frozen owner sets it", "cosigning.check_not_frozen(working, number)", "pass"),
        ("an older one counts", "before is not None and before.overtakes", "False and before.overtakes"),
    ),
    *_of(control._delegate, ("a frozen owner names one", "cosigning.check_not_frozen(working, number)", "pass")),
    *_of(control._end, ("any delegate ends any", "call.cosignatures[0].actor != which", "False")),
    *_of(
        cosigning.use_owner,
        ("numbers are not used up", "return after", "return window"),
        ("any role", "cosignature.role != ROLE_OWNER or", "False or"),
    ),
    *_of(
        cosigning._check_time,
        ("ends a moment early", "if working.timestamp > ", "if working.timestamp >= "),
        ("however far ahead", "cosignature.expires_at - working.timestamp > most_ms", "False"),
        ("a moment less", "timestamp > most_ms", "timestamp >= most_ms"),
        ("guardians' as owners'", "cosignature.role == ROLE_GUARDIAN", "False"),
    ),
    *_of(cosigning._verify, ("forged", "not working.check_cosignature(", "False and not working.check_cosignature(")),
    *_of(
        cosigning.delegate_signed,
        ("numbers are not used up", "window=_use_number(working, cosignature, leaf.window)", "window=leaf.window"),
    ),
    *_of(
        cosigning.guardians_signed,
        ("one too few", "< guardians.threshold:", "< guardians.threshold - 1:"),
        ("one for two", "cosignature.actor <= last", "cosignature.actor < last"),
        ("the first alone", "_verify(working, operation, cosignature, guardians.keys[cosignature.actor])", "return"),
    ),
    *_of(cosigning.frozen, ("never", "pending.overrule", "False"), ("always", "and pending.overrule", "")),
    *_of(
        recovery._complete,
        ("a moment too late", "working.timestamp < pending.ready_at", "working.timestamp <= pending.ready_at"),
        ("at once", "working.timestamp < pending.ready_at", "False"),
        ("delegates stay", "delegates_from=chart.delegates if recovered", "delegates_from=0 if recovered"),
        ("a rotation ends delegates", "if recovered else chart.delegates_from", "if True else 0"),
        ("the old window stays", "window=FRESH if fresh", "window=chart.window if fresh"),
        ("the old key may come back", "spent=True", "spent=False"),
        ("the old key stays", "owner_key=pending.keys.owner_key", "owner_key=chart.owner_key"),
    ),
    *_of(
        recovery._cancel,
        ("a thief's veto counts", "if pending.overrule:", "if False:"),
        ("no veto counts", "if pending.overrule:", "if True:"),
    ),
    *_of(
        recovery._begin,
        ("anybody overrules", "operation.overrule and call.institution != chart.custodian", "False"),
        ("no waiting", "ChangeKind.RECOVERY, operation)", "ChangeKind.RECOVERY, operation, wait_ms=0)"),
    ),
    *_of(
        recovery._claim_keys,
        ("keys of another chart", "known is not None and known.chart != number", "False"),
        ("keys that nobody has", "not working.check_cosignature(", "False and not working.check_cosignature("),
    ),
    *_of(recovery._rotate, ("a frozen owner rotates", "cosigning.check_not_frozen(working, number)", "pass")),
    *_of(
        recovery._set_guardians,
        ("a frozen owner sets them", "cosigning.check_not_frozen(working, number)", "pass"),
        ("over what waits", "if state.pending is not None:", "if False:"),
    ),
    *_of(
        emergency._break,
        ("one institution is enough", "is BreakGlassMode.TWO_INSTITUTIONS", "is None"),
        ("any purpose", "not purposes.is_emergency(operation.purpose)", "False"),
        ("waiting without end",
         "PENDING\n        access.count_unanswered(working, number, institution, emergency=True)", "PENDING"),
        ("one more unreviewed", ">= limits.EMERGENCIES_UNREVIEWED", "> limits.EMERGENCIES_UNREVIEWED"),
    ),
    *_of(
        emergency._open,
        ("not counted", "opened=count.opened + 1", "opened=count.opened"),
        ("no review owed", "unreviewed=unreviewed", "unreviewed=count.unreviewed"),
        ("review due at release's end", "+ working.params.review_ms", "+ working.params.release_ms"),
    ),
    *_of(
        emergency._confirm,
        ("by itself", "call.institution == emergency.institution", "False"),
        ("a moment too short", "working.timestamp > emergency.asked_at", "working.timestamp >= emergency.asked_at"),
        ("ever after", "working.timestamp > emergency.asked_at + working.params.release_ms", "False"),
        ("for who is suspended", ".status != STATUS_ACCREDITED", ".status == -1"),
        ("for any records", "emergency.records != records_digest(operation.records)", "False"),
    ),
    *_of(
        emergency._check_again,
        ("forbidden meanwhile", "reason is not Reason.NONE", "False"),
        ("erased meanwhile", "reading.any_erased(working, number, records)", "False"),
        ("reviews owed without end", ">= limits.EMERGENCIES_UNREVIEWED", ">= 1 << 20"),
        ("one review more", ">= limits.EMERGENCIES_UNREVIEWED", "> limits.EMERGENCIES_UNREVIEWED"),
    ),
    *_of(
        emergency._review,
        ("by who vouched", "(emergency.institution, emergency.confirmed_by)", "(emergency.institution,)"),
        ("by who asked", "(emergency.institution, emergency.confirmed_by)", "(emergency.confirmed_by,)"),
        ("late a moment early", "working.timestamp > emergency.review_by", "working.timestamp >= emergency.review_by"),
        ("twice", "emergency.reviewed_by is not None", "False"),
        ("late is not counted", "late=count.late + late", "late=count.late"),
        ("still owed", "if one[1:] != (number, event)", "if True"),
    ),
    *_of(
        erasure._erase,
        ("again", "reading.any_erased(working, number, operation.records)", "False"),
        ("on hold", "_check_holds(working, number, operation.records)", "pass"),
        ("by a frozen owner", "cosigning.check_not_frozen(working, number)", "pass"),
        ("holders unnamed", "_check_named(operation.holders, records, call.institution)", "pass"),
        ("the custodian owes nothing", "{*operation.holders, call.institution}", "{*operation.holders}"),
        ("nothing is marked", "_mark(working, number, operation.records)", "pass"),
    ),
    *_of(erasure._custodians, ("by anybody", "chart.custodian != call.institution", "False")),
    *_of(
        erasure._check_holds,
        ("a hold on all holds nothing", "held is None or", "held is not None and"),
        ("only the same records", "not set(held).isdisjoint(records)", "set(held) == set(records)"),
    ),
    *_of(erasure._check_named, ("who wrote it keeps it", "(*record.holders, record.institution)", "record.holders")),
    *_of(
        erasure._acknowledge,
        ("by who owes none", "institution not in erasure.owed", "False"),
        ("twice", "any(by == institution for by, _ in erasure.receipts)", "False"),
    ),
    *_of(erasure._release, ("all holds at once", "if one[0] != operation.hold", "if False")),
    *_of(
        reading.with_erased,
        ("only the last", "value |= 1 <<", "value = 1 <<"),
        ("one too far", "number % limits.ERASED_PAGE_EVENTS", "(number + 1) % limits.ERASED_PAGE_EVENTS"),
    ),
    *_of(reading.any_erased, ("never", "is_erased(bitmap, number)", "False")),
    *_of(
        access._disclose,
        ("released a moment longer", "+ working.params.release_ms", "+ working.params.release_ms + 1"),
        ("denials without end", "count_unanswered(working, number, call.institution)", "pass"),
    ),
    *_of(access.count_unanswered, ("one more", "count >= working.params", "count > working.params"),
         ("none left for emergencies", "(1 + emergency)", "1"),
         ("yesterday's count", "and before.day == day", "")),
    *_of(
        access._for_delegate,
        ("at the custodian alone", "operation.grant is not None", "chart.custodian != call.institution"),
        ("while frozen", "and not cosigning.frozen(working, operation.chart)", ""),
    ),
    *_of(access._under_grant, ("the last grant is none", "< chart.grants:", "< chart.grants - 1:")),
    *_of(
        charts._move,
        ("by whom nobody chose", "operation.custodian != call.institution", "False"),
        ("from who is still there", ".status != STATUS_REMOVED", ".status == -1"),
        ("from another", "chart.custodian != operation.former", "False"),
        ("by a stolen key", "cosigning.check_not_frozen(working, number)", "pass"),
    ),
    *_of(
        records._check_writer,
        ("anybody writes", "chart.custodian != call.institution", "False"),
        ("without a grant", "not decisions.may_write(", "False and not decisions.may_write("),
    ),
    *_of(records._check_amended, ("anything is amended", "not decisions.covered(", "False and not decisions.covered(")),
    *_of(records._append, ("a frozen owner disputes", "cosigning.check_not_frozen(working, number)", "pass")),
    *_of(
        releasing.check_asking,
        ("anybody's", "event.institution != reader and not of_delegate", "False"),
        ("to the custodian for the delegate", "is not for_delegate", "is None"),
        ("denied ones", "event.outcome is Outcome.DENIED", "False"),
        ("records beyond", "not set(event.records).issuperset(records)", "False"),
    ),
    *_of(
        releasing.check_in_force,
        ("to the suspended", "institution.status != STATUS_ACCREDITED", "False"),
        ("a moment too long", "time_ms >= release_until", "time_ms > release_until"),
        ("ever after", "or time_ms >= release_until", ""),
        ("without a second institution", "emergency.release_until if isinstance(emergency, Emergency) else None",
         "time_ms + 1"),
        ("erased records", "check_not_erased(leaves, chart, records)", "pass"),
        ("as it was when asked", "reason is not Reason.NONE", "False"),
    ),
    *_of(
        releasing.leaves_needed,
        ("no policy", "keys.policy(chart), ", ""),
        ("no recovery", "keys.recovery(chart), ", ""),
        ("no erasures", "keys.erased(chart, record) for record in records", "keys.chart(chart) for record in records"),
    ),
    *_of(
        releasing._judge,
        ("to a delegate while frozen", "in_force and not frozen", "in_force"),
        ("to a delegate of before", "leaf.delegates_from", "0"),
    ),
]  # fmt: skip

SLOW = {
    decisions.within, decisions.by_delegate, decisions.delegate_in_force, decisions.may_write, consent._check_bounds,
    consent._check_terms, consent._reissue, consent._renew, control._set_policy, control._end, recovery._cancel,
    recovery._begin, recovery._rotate, recovery._set_guardians, emergency._confirm, erasure._erase,
    erasure._check_holds, erasure._check_named, erasure._release, releasing.leaves_needed, releasing._judge,
}  # fmt: skip
"""Whose first mutant takes some thousand steps: it waits for the command above."""
QUICK = list({mutant.function: mutant for mutant in reversed(MUTANTS) if mutant.function not in SLOW}.values())[::-1]
"""The first of every other function, for every run of the tests."""


def main() -> int:
    began, lost, took = time.monotonic(), [], []
    with small_limits():
        for mutant in MUTANTS:
            catch = hunt(mutant)
            print(f"{'-' if catch is None else catch.steps:>7}  {mutant.name}", flush=True)
            if catch is None:
                lost.append(mutant)
            else:
                took.append(catch.steps)
    print(f"{len(took)} of {len(MUTANTS)} noticed in {sum(took):,} steps, the last in {max(took):,}, half of them in "
          f"{sorted(took)[len(took) // 2]:,} or fewer; {time.monotonic() - began:.0f} s")  # fmt: skip
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
