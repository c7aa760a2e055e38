"""Which patients a seed has, and what is done about their charts: from generators of its own, so that all else that a
seed draws is what it would be without.

Swarm style again: each history has its own kinds of acts, few or many of them, and its own races between them.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from msgspec.structs import replace

from node.simulation.dice import dice
from node.simulation.schedule import Act, Move, Plan

SHARE: Final = 0.6
"""Of all histories, those with patients."""
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "reading": ("disclose", "disclose", "grant", "revoke"),
    "writing": ("append", "write", "dispute"),
    "policies": ("bar", "policy"),
    "delegates": ("delegate", "end_delegate", "delegate_grants", "delegate_revokes", "delegate_reads"),
    "keys": ("guardians", "rotate", "recover", "cancel", "complete", "complete"),
    "emergencies": ("break_glass", "confirm", "confirm", "review", "review"),
    "erasure": ("erase", "receipt", "receipt", "hold", "release"),
}
FIRST: Final = {
    "delegates": ("delegate",),
    "keys": ("guardians",),
    "emergencies": ("policy", "break_glass"),
    "erasure": ("append", "erase"),
}
"""What must have been done before the rest makes sense."""
RACES: Final[tuple[tuple[str, ...], ...]] = (
    ("revoke", "disclose", "disclose"),
    ("revoke", "revoke"),
    ("revoke", "write"),
    ("revoke", "delegate_revokes"),
    ("erase", "disclose"),
    ("erase", "break_glass"),
    ("confirm", "confirm"),
    ("receipt", "receipt"),
    ("bar", "disclose", "disclose"),
    ("policy", "break_glass", "confirm"),
    ("bar", "confirm", "confirm"),
    ("erase", "confirm"),
    ("policy", "policy"),
    ("policy", "revoke"),
    ("hold", "erase"),
    ("release", "erase"),
    ("erase", "erase"),
    ("review", "review"),
    ("rotate", "recover"),
    ("recover", "cancel"),
    ("complete", "cancel"),
    ("complete", "grant", "policy"),
    ("recover", "grant", "delegate_reads"),
    ("end_delegate", "delegate_reads", "delegate_grants"),
)
STORIES: Final[dict[str, tuple[tuple[int, str], ...]]] = {
    "reading": ((0, "grant"), (900, "disclose"), (900, "revoke"), (0, "disclose"), (700, "disclose")),
    "writing": ((0, "grant"), (900, "write"), (0, "append"), (900, "dispute"), (0, "revoke"), (0, "write")),
    "policies": ((0, "grant"), (900, "disclose"), (400, "bar"), (0, "disclose"), (800, "disclose")),
    "delegates": (
        (0, "delegate"),
        (900, "delegate_grants"),
        (0, "delegate_reads"),
        (900, "disclose"),
        (300, "end_delegate"),
        (0, "delegate_reads"),
        (900, "delegate_grants"),
    ),
    "keys": ((0, "guardians"), (900, "recover"), (900, "policy"), (1_500, "complete"), (0, "grant"), (1_000, "grant")),
    "emergencies": (
        (0, "policy"),
        (900, "break_glass"),
        (700, "confirm"),
        (0, "confirm"),
        (900, "review"),
        (0, "review"),
        (900, "review"),
    ),
    "erasure": ((0, "append"), (900, "erase"), (0, "disclose"), (900, "receipt"), (0, "receipt"), (500, "receipt")),
}
"""What leads from one to the next, if it comes to that: (how long after the one before, kind)."""
APART_MS: Final = (0, 0, 30, 400)
DICE: Final = 1 << 20


def with_patients(plan: Plan) -> Plan:
    """The plan with patients, if its seed has any."""
    rng = dice(plan.seed, "patients")
    if rng.random() >= SHARE:
        return plan
    drawing = _Drawing(plan, rng)
    acts = drawing.acts()
    left = _left_behind(plan, drawing.patients)
    actions = sorted((*plan.actions, *acts, *left), key=lambda action: action.at_ms)
    patients = drawing.patients + (len(left) > 0)
    return replace(plan, actions=tuple(actions), patients=patients, **drawing.windows())


def _left_behind(plan: Plan, patient: int) -> list[Act]:
    """One more patient, whose custodian is to be removed, if any institution is: it goes to another."""
    gone = next((action for action in plan.actions if isinstance(action, Move) and action.change == "remove"), None)
    if gone is None:
        return []
    rng = dice(plan.seed, "patients", "left behind")
    others = [node for node in range(plan.authorities + plan.followers) if node != gone.target]
    begin_ms = rng.randint(50, 800)
    steps = [(begin_ms + 700 * place, gone.target, kind) for place, kind in enumerate(("open", "append", "grant"))]
    for kind in ("move", "move", "append", "disclose", "policy"):
        steps.append((gone.at_ms + rng.randint(0, 4_000), rng.choice(others), kind))
    steps.append((steps[-1][0] + 1_500, rng.choice(others), "append"))
    acts = [Act(at_ms, node, kind, patient, rng.randrange(DICE)) for at_ms, node, kind in steps]
    return [act for act in acts if act.at_ms < plan.heal_ms]


class _Drawing:
    """One plan's."""

    def __init__(self, plan: Plan, rng: Random) -> None:
        self.rng = rng
        self.heal_ms = plan.heal_ms
        self.nodes = range(plan.authorities + plan.followers)
        self.honest = [node for node in range(plan.authorities) if node not in dict(plan.traitors)]
        self.patients = rng.choice((1, 1, 2, 3))
        drawn = [name for name in GROUPS if rng.random() < 0.55]
        self.groups = drawn or [rng.choice(sorted(GROUPS))]
        kinds = [kind for name in (*self.groups, "reading") for kind in GROUPS[name]]
        self.weights = {kind: rng.choice((1, 1, 2, 4)) for kind in dict.fromkeys(kinds)}
        self.races = [race for race in RACES if set(race) <= {*kinds, "append", "policy"} and rng.random() < 0.6]

    def windows(self) -> dict[str, Any]:
        """The chain's parameters: windows mostly so short that a history sees them end."""
        rng = self.rng
        return {
            "release_ms": rng.choice((1_000, 4_000, 3_600_000)),
            "review_ms": rng.choice((1_000, 4_000, 3_600_000)),
            "recovery_ms": rng.choice((1_000, 1_000, 3_000)),
            "denials_per_day": rng.choice((3, 20, 100)),
        }

    def acts(self) -> list[Act]:
        """Each patient's chart is opened and laid out; then this and that, and races."""
        rng, acts = self.rng, []
        for patient in range(self.patients):
            at_ms = rng.randint(50, 1_500)
            acts.append(Act(at_ms, rng.choice(self.honest), "open", patient))
            first = ["append", "grant", *(kind for name in self.groups for kind in FIRST.get(name, ()))]
            for kind in first:
                at_ms += rng.choice((50, 300, 1_000))
                acts.append(self._act(at_ms, kind, patient))
        kinds, weights = list(self.weights), list(self.weights.values())
        for _ in range(rng.choice((5, 15, 15, 40))):
            kind = rng.choices(kinds, weights)[0]
            acts.append(self._act(rng.randrange(1_000, self.heal_ms), kind, rng.randrange(self.patients)))
        for _ in range(rng.choice((0, 2, 4, 8)) if self.races else 0):
            acts += self._race(rng.choice(self.races))
        for _ in range(rng.choice((0, 1, 2, 4))):
            acts += self._story(STORIES[rng.choice(self.groups)])
        return [act for act in acts if act.at_ms < self.heal_ms]

    def _act(self, at_ms: int, kind: str, patient: int) -> Act:
        return Act(at_ms, self.rng.choice(self.nodes), kind, patient, self.rng.randrange(DICE))

    def _story(self, steps: tuple[tuple[int, str], ...]) -> list[Act]:
        """One after the other, as fast as the network of most histories lets through, all about the same thing."""
        rng, acts = self.rng, []
        at_ms, patient, number = rng.randrange(1_500, self.heal_ms), rng.randrange(self.patients), rng.randrange(DICE)
        pace = rng.choice((0.3, 1, 1, 3))
        for after_ms, kind in steps:
            at_ms += int(after_ms * pace)
            acts.append(Act(at_ms, rng.choice(self.nodes), kind, patient, number))
        return acts

    def _race(self, kinds: tuple[str, ...]) -> list[Act]:
        """At different nodes, if there are so many, about the same thing."""
        rng = self.rng
        at_ms, patient, number = rng.randrange(2_000, self.heal_ms), rng.randrange(self.patients), rng.randrange(DICE)
        nodes = rng.sample(self.nodes, min(len(kinds), len(self.nodes)))
        return [
            Act(at_ms + rng.choice(APART_MS), nodes[place % len(nodes)], kind, patient, number)
            for place, kind in enumerate(kinds)
        ]
