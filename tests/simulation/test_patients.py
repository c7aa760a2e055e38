"""What patients do in histories: that it is drawn apart from all else, happens, races, and is judged both ways."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from node.simulation.chainstate import run_block
from node.simulation.memory import Memory
from node.simulation.misjudging import misjudged
from node.simulation.oracles.liveness import Liveness
from node.simulation.oracles.quiet import Quiet
from node.simulation.oracles.records import Healed, Sent, Submitted
from node.simulation.oracles.validity import Validity
from node.simulation.patients.acts import ACTS, sendings
from node.simulation.patients.drawing import GROUPS, RACES, STORIES
from node.simulation.plan import Act, Move, Plan, draw
from node.simulation.world import World
from protocol.codec.canonical import decode
from protocol.crypto.hashing import block_digest, transaction_id
from protocol.errors import InvalidBlock
from protocol.ledger import decisions
from protocol.ledger.events import Reason
from protocol.types.operations import AppendRecords, Disclose, RecordEntry, Revoke
from protocol.types.transaction import Transaction
from protocol.types.votes import NULLIFY
from tests.simulation.fabricated import Story
from tests.simulation.play import calm, played
from tests.simulation.test_traitors import plan as traitors_plan

TAGS = (bytes(16),) * 4
WINDOWS = {"release_ms": 3_000, "review_ms": 1_000, "recovery_ms": 1_000}


def steps(*kinds: str, node: int = 0, every_ms: int = 700, dice: int = 0) -> tuple[Act, ...]:
    """One act after the other at one node, when the one before is final."""
    return tuple(Act(500 + every_ms * place, node, kind, dice=dice) for place, kind in enumerate(kinds))


def world_of(*acts: Act, **others: object) -> World:
    return World(calm(4, *acts, **{"patients": 1, "heal_ms": 20_000, **WINDOWS, **others}))


def happened(world: World) -> Counter[str]:
    return Counter(played(world).happened)


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_all_else_that_a_seed_draws_is_what_it_would_be_without_patients() -> None:
    with_some = 0
    for seed in range(100):
        plan, without = draw(seed), draw(seed, patients=False)
        rest = tuple(action for action in plan.actions if not isinstance(action, Act))
        windows = {field: getattr(Plan(0), field) for field in (*WINDOWS, "denials_per_day", "patients")}
        assert msgspec.structs.replace(plan, actions=rest, **windows) == without
        assert (len(rest) < len(plan.actions)) is (plan.patients > 0)
        with_some += plan.patients > 0
    assert 40 < with_some < 80


def test_seeds_draw_every_act_and_every_race_at_nodes_that_there_are() -> None:
    plans = [draw(seed) for seed in range(300)]
    acts = [(plan, act) for plan in plans for act in plan.actions if isinstance(act, Act)]
    assert {act.kind for _, act in acts} == set(ACTS)
    assert all(act.node < plan.authorities + plan.followers and act.patient < plan.patients for plan, act in acts)
    named = {kind for kinds in (*GROUPS.values(), *RACES) for kind in kinds}
    assert named | {kind for story in STORIES.values() for _, kind in story} | {"open", "move"} == set(ACTS)


def test_a_history_with_patients_is_the_same_again() -> None:
    seed = next(seed for seed in range(100) if draw(seed).patients and draw(seed).profile == "chaos")
    hashes = {World(draw(seed), remember=remember).run().event_hash for remember in (True, True, False)}
    assert len(hashes) == 1


# --- what happens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "events"),
    [
        (("append", "grant", "disclose", "revoke"), {"RecordAppended", "Granted", "Revoked"}),
        (("delegate", "end_delegate"), {"DelegateNamed", "DelegateEnded"}),
        (("guardians", "recover", "cancel"), {"ChangeBegun", "ChangeCancelled"}),
        (("rotate", "policy", "complete"), {"ChangeBegun", "PolicySet", "ChangeCompleted"}),
        (("append", "erase", "receipt"), {"Erased", "ErasureAcknowledged"}),
        (("append", "hold", "release"), {"HoldPlaced", "HoldReleased"}),
    ],
)
def test_acts_come_about(kinds: tuple[str, ...], events: set[str]) -> None:
    """With some number that lets all of them be valid: each is drawn at random in its particulars."""
    for dice in range(12):
        counted = happened(world_of(*steps("open", *kinds, dice=dice)))
        if events <= {what.split()[0] for what in counted}:
            return
    pytest.fail(f"{kinds} never led to {events}")


def test_acts_of_one_number_choose_alike() -> None:
    """Mostly: now and then one of a race goes astray, whatever it is about."""
    world = world_of(*steps("open", "append", "append", "grant", "grant", "grant"))
    world.run()
    alike = 0
    for number in range(20):
        grants = []
        for node in (1, 2):
            sent = sendings(world.hosts[node], world.wallets[0], Act(9_000, node, "revoke", dice=number))
            assert sent is not None
            operation = sent[0].operations[0].operation
            assert isinstance(operation, Revoke)
            grants.append(operation.grant)
        alike += grants[0] == grants[1]
    assert alike >= 14


def test_a_chart_moves_when_its_custodian_was_removed() -> None:
    """And not before, however often that is tried."""
    acts = [Act(500, 3, "open"), Act(1_500, 3, "append"), Act(1_800, 2, "move"), Act(2_500, 1, "move", dice=1)]
    for dice in range(12):
        moved = [msgspec.structs.replace(act, dice=act.dice + dice) for act in acts]
        removal = Move(4_000, 0, "remove", 3)
        world = World(calm(4, *moved, removal, patients=1, heal_ms=20_000, **WINDOWS))
        assert happened(world)["ChartMoved"] == 1


def test_an_act_waits_until_its_node_knows_the_chart() -> None:
    counted = happened(world_of(Act(100, 1, "append"), Act(1_500, 0, "open")))
    assert counted["RecordAppended"] >= 1


# --- judged both ways ------------------------------------------------------------------------------------------------


def disclosed(story: Story) -> bytes:
    """A chart with a record, and an asking that no grant covers."""
    story.final(story.grow(story.transaction(story.opening())))
    story.final(story.grow(story.transaction(AppendRecords(0, (RecordEntry(bytes(32), TAGS),)))))
    return story.transaction(Disclose(0, None, (1,), "TREAT"))


def test_validity_notices_an_outcome_that_the_rules_do_not_lead_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although every node, and the replay, have it so."""
    story = Story(Validity)
    asking = disclosed(story)
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "by_grant", lambda *_: Reason.NONE)
        failure = story.final(story.grow(asking))
    assert failure is not None
    assert "records outcome DISCLOSED, and it is DENIED" in failure.sentence
    story = Story(Validity)
    assert story.final(story.grow(disclosed(story))) is None


def submitted(raw: bytes) -> Submitted:
    return Submitted(1, 0, transaction_id(decode(Transaction, raw).body), raw, owed=False, watched=True)


def test_liveness_owes_what_others_may_make_invalid_unless_they_did() -> None:
    story = Story(Liveness)
    asking = disclosed(story)
    story.tell(Healed(1), submitted(asking))
    failure = story.ended(90_000)
    assert failure is not None
    assert "is valid, and final nowhere" in failure.sentence
    story = Story(Liveness)
    disclosed(story)
    of_no_record = story.transaction(Disclose(0, None, (7,), "TREAT"))
    signed_by_nobody = story.transaction(Revoke(0, 0))
    story.tell(Healed(1), submitted(of_no_record), submitted(signed_by_nobody))
    assert story.ended(90_000) is None
    story = Story(Liveness)
    asking = disclosed(story)
    story.tell(Healed(1), submitted(asking))
    story.final(story.grow(asking))
    assert story.ended(90_000) is None


def test_quiet_takes_what_time_made_valid_for_a_reason() -> None:
    story = Story(Quiet)
    asking, never = disclosed(story), story.transaction(Disclose(0, None, (7,), "TREAT"))
    late = Sent(500_000, 0, story.vote(0, story.subject(NULLIFY, 9)), 1)
    story.tell(Healed(1), submitted(asking), submitted(never))
    assert story.tell(late) is None
    story.final(story.grow(asking))
    failure = story.tell(late)
    assert failure is not None
    assert "after there was any reason" in failure.sentence


# --- races, and what is refused -------------------------------------------------------------------------------------


def test_who_has_no_authority_is_heard_again_when_its_transaction_became_valid() -> None:
    """The change is completed a little early, through an institution without a seat: every authority refuses that, and
    takes it once it is ready. Before, they never asked for it again."""
    acts = (Act(500, 0, "open"), Act(1_500, 0, "rotate"), Act(2_500, 4, "complete"))
    for dice in range(4):
        chosen = (msgspec.structs.replace(act, dice=dice) for act in acts)
        counted = happened(world_of(*chosen, followers=1, recovery_ms=6_000))
        assert counted["ChangeBegun"] == 1
        assert counted["ChangeCompleted"] == 1


@pytest.mark.parametrize("race", RACES, ids=" ".join)
def test_races_break_nothing(race: tuple[str, ...]) -> None:
    begun = ("open", "append", "grant", "delegate", "guardians", "policy", "break_glass", "erase", "hold", "recover")
    for dice in range(3):
        late = 500 + 700 * len(begun)
        acts = tuple(Act(late, place % 4, kind, dice=dice) for place, kind in enumerate(race))
        played(world_of(*steps(*begun, dice=dice), *acts))


# --- traitors --------------------------------------------------------------------------------------------------------


def lying(kind: str, seed: int) -> World:
    acts = steps("open", "append", "grant", "disclose", "break_glass", every_ms=500)
    more = tuple(
        Act(3_000 + 150 * step, step % 3, ("disclose", "break_glass")[step % 2], dice=step) for step in range(30)
    )
    plan = traitors_plan(seed, kind)
    return World(msgspec.structs.replace(plan, actions=(*plan.actions, *acts, *more), patients=1, **WINDOWS))


def test_an_invalid_proposer_judges_askings_the_other_way_and_nobody_votes_for_it() -> None:
    lies = 0
    for seed in range(3):
        world = lying("invalid_proposer", seed)
        played(world)
        lies += sum(host.traitor.misjudged for host in world.hosts if host.traitor is not None)
    assert lies > 0


def test_a_slanderer_presumes_what_the_ledger_refuses() -> None:
    lies = 0
    for seed in range(3):
        world = lying("slanderer", seed)
        played(world)
        lies += sum(host.traitor.presumed for host in world.hosts if host.traitor is not None)
    assert lies > 0


def test_a_misjudged_block_is_sound_but_for_its_outcomes() -> None:
    world = lying("nuller", 0)
    played(world)
    told = 0
    recall = Memory(True)
    state = world.genesis_state
    for stored in world.hosts[0].disk.blocks:
        executed = run_block(recall, state, stored.block, block_digest(stored.block.header))
        false = misjudged(state, executed)
        if false is not None:
            told += 1
            assert false.transactions == stored.block.transactions
            with pytest.raises(InvalidBlock, match="state_root"):
                run_block(recall, state, false, block_digest(false.header))
        state = executed.state
    assert told > 3
