"""What a catalog may become: every change once, with what lives and without.

CAT-03: an id never changes its meaning; PLAT-07: names may.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from osbkit.catalog import Catalog
from osbkit.catalog.guard import (
    Change,
    LivePlan,
    Past,
    ServedPlan,
    compare,
    plans_of,
    refused,
)
from osbkit.errors import CatalogUnsafe, StartRefused

QUEUE, TOPIC = "offering-1", "offering-2"
TINY, LARGE, WIDE = "plan-1", "plan-2", "plan-3"


def a_catalog(*offerings: tuple[str, str, dict[str, str]], **fields: Any) -> Catalog:
    """Offerings as (id, name, plan id → name); `fields` are every plan's."""
    return Catalog.from_dict(
        {
            "services": [
                {
                    "id": id_,
                    "name": name,
                    "description": "d",
                    "bindable": True,
                    "plans": [
                        {"id": plan, "name": named, "description": "d", **fields}
                        for plan, named in plans.items()
                    ],
                }
                for id_, name, plans in offerings
            ]
        }
    )


BEFORE = a_catalog(
    (QUEUE, "queue", {TINY: "tiny", LARGE: "large"}), (TOPIC, "topic", {WIDE: "wide"})
)
TINY_LIVES = LivePlan(ServedPlan(QUEUE, "queue", TINY, "tiny"), "queue", 2, 3)
WIDE_LIVES = LivePlan(ServedPlan(TOPIC, "topic", WIDE, "wide"), "topic", 1)


def past(*live: LivePlan) -> Past:
    return Past(last=plans_of(BEFORE), live=live)


def told(changes: Sequence[Change]) -> list[tuple[str, str, int, str]]:
    return [(one.kind, one.names, one.instances, one.level) for one in changes]


def test_the_same_catalog_changes_nothing_whatever_lives():
    assert compare(past(TINY_LIVES, WIDE_LIVES), BEFORE, ["queue", "topic"]) == []


def test_before_the_first_catalog_everything_is_new():
    changes = compare(Past(), BEFORE, ["queue"])

    assert told(changes) == [
        ("added", "queue", 0, "note"),
        ("added", "topic", 0, "note"),
        ("added", "queue/tiny", 0, "note"),
        ("added", "queue/large", 0, "note"),
        ("added", "topic/wide", 0, "note"),
    ]
    assert refused(changes, ()) == []


CHANGES = [
    pytest.param(
        (QUEUE, "queue", {LARGE: "large"}),
        [("removed", "queue/tiny", 2, "error")],
        id="a plan with instances left",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "tiny"}),
        [("removed", "queue/large", 0, "note")],
        id="a plan without instances left",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "small", LARGE: "large"}),
        [("renamed", "queue/tiny", 2, "warning")],
        id="a plan has another name",
    ),
    pytest.param(
        (QUEUE, "messages", {TINY: "tiny", LARGE: "large"}),
        [("renamed", "queue", 2, "warning")],
        id="an offering has another name",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "large", LARGE: "tiny"}),
        [
            ("reused", "queue/tiny", 2, "error"),
            ("reused", "queue/large", 0, "warning"),
        ],
        id="two plans exchanged their ids",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "legacy", LARGE: "large", "plan-9": "tiny"}),
        [("reused", "queue/tiny", 2, "error"), ("added", "queue/tiny", 0, "note")],
        id="a plan has a new id, and another one its old id",
    ),
    pytest.param(
        (QUEUE, "queue", {"plan-9": "tiny", LARGE: "large"}),
        [("new id", "queue/tiny", 2, "error")],
        id="a plan with instances has a new id",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "tiny", "plan-9": "large"}),
        [("new id", "queue/large", 0, "warning")],
        id="a plan without instances has a new id",
    ),
    pytest.param(
        (QUEUE, "queue", {LARGE: "tiny"}),
        [
            ("removed", "queue/tiny", 2, "error"),
            ("renamed", "queue/large", 0, "warning"),
        ],
        id="another plan took the name of one that left",
    ),
    pytest.param(
        ("offering-9", "queue", {TINY: "tiny", LARGE: "large"}),
        [
            ("new id", "queue", 2, "warning"),
            ("reused", "queue/tiny", 2, "error"),
            ("reused", "queue/large", 0, "error"),
        ],
        id="an offering has a new id, and its plans keep theirs",
    ),
    pytest.param(
        ("offering-9", "queue", {"plan-8": "tiny", "plan-9": "large"}),
        [
            ("new id", "queue", 2, "warning"),
            ("new id", "queue/tiny", 2, "error"),
            ("new id", "queue/large", 0, "warning"),
        ],
        id="every id was made anew",
    ),
    pytest.param(
        (TINY, "queue", {"plan-9": "tiny", LARGE: "large"}),
        [
            ("removed", "queue", 2, "note"),
            ("reused", "queue/tiny", 2, "error"),
            ("reused", "queue/large", 0, "error"),
            ("added", "queue/tiny", 0, "note"),
        ],
        id="a plan's id became an offering's",
    ),
    pytest.param(
        ("offering-9", "queue", {QUEUE: "tiny", "plan-8": "large"}),
        [
            ("reused", "queue", 2, "error"),
            ("removed", "queue/tiny", 2, "error"),
            ("new id", "queue/large", 0, "warning"),
            ("added", "queue", 0, "note"),
        ],
        id="an offering's id became a plan's",
    ),
    pytest.param(
        (QUEUE, "queue", {TINY: "tiny", LARGE: "large", "plan-9": "new"}),
        [("added", "queue/new", 0, "note")],
        id="a plan is new",
    ),
]


@pytest.mark.parametrize(("offering", "expected"), CHANGES)
def test_each_change_is_told_with_what_lives_on_it(offering, expected):
    """CAT-03, PLAT-07."""
    changes = compare(
        past(TINY_LIVES), a_catalog(offering, (TOPIC, "topic", {WIDE: "wide"}))
    )

    assert told(changes) == expected
    for change in changes:
        assert bool(change.fix) == (change.level != "note")


def test_an_id_that_moved_to_another_offering_is_reused_though_nothing_lives():
    changed = a_catalog(
        (QUEUE, "queue", {TINY: "tiny"}),
        (TOPIC, "topic", {WIDE: "wide", LARGE: "deep"}),
    )

    [change] = compare(past(), changed)

    assert (change.kind, change.level, change.id) == ("reused", "error", LARGE)
    assert QUEUE in change.problem
    assert f"topic ({TOPIC})" in change.problem
    assert change.fix == "Give the plan topic/deep an id of its own."


def test_an_offering_with_a_new_id_is_told_to_take_its_old_one_back():
    changed = a_catalog(("offering-9", "topic", {WIDE: "wide"}))

    [*_, change] = compare(Past(last=plans_of(changed)), BEFORE)
    [moved] = [one for one in compare(past(), changed) if one.id == WIDE]

    assert change.kind == "added"
    assert moved.fix == f"Write the offering's old id back: {TOPIC}."


def test_an_offering_that_left_is_told_by_its_plans():
    changed = a_catalog((QUEUE, "queue", {TINY: "tiny", LARGE: "large"}))

    changes = compare(past(WIDE_LIVES), changed)

    assert told(changes) == [
        ("removed", "topic", 1, "note"),
        ("removed", "topic/wide", 1, "error"),
    ]


def test_what_lives_counts_though_the_catalog_last_served_knew_it_no_more():
    """A change that was allowed once is refused again while instances live."""
    smaller = a_catalog((QUEUE, "queue", {TINY: "tiny"}))

    [_, change] = compare(Past(last=plans_of(smaller), live=(WIDE_LIVES,)), smaller)

    assert (change.kind, change.names, change.level) == (
        "removed",
        "topic/wide",
        "error",
    )


def test_a_database_that_never_remembered_a_catalog_is_judged_by_its_instances():
    renamed = a_catalog((QUEUE, "queue", {TINY: "small"}))

    changes = compare(Past(last=None, live=(TINY_LIVES, WIDE_LIVES)), renamed)

    assert told(changes) == [
        ("removed", "topic", 1, "note"),
        ("removed", "topic/wide", 1, "error"),
    ]


def test_offerings_that_exchanged_their_ids_are_found():
    changed = a_catalog(
        (QUEUE, "topic", {TINY: "tiny", LARGE: "large"}),
        (TOPIC, "queue", {WIDE: "wide"}),
    )

    assert told(compare(past(TINY_LIVES), changed)) == [
        ("reused", "queue", 2, "error"),
        ("reused", "topic", 0, "warning"),
    ]


def test_a_rename_is_told_once_and_not_of_names_that_instances_remember():
    renamed = a_catalog(
        (QUEUE, "messages", {TINY: "small", LARGE: "large"}),
        (TOPIC, "topic", {WIDE: "wide"}),
    )

    assert compare(Past(last=plans_of(renamed), live=(TINY_LIVES,)), renamed) == []


def test_instances_whose_backend_is_not_there_are_stranded():
    [change] = compare(past(TINY_LIVES, WIDE_LIVES), BEFORE, ["queue", "queue/large"])

    assert (change.kind, change.id, change.level) == ("stranded", WIDE, "error")
    assert "1 service instance made by the backend 'topic'" in change.problem
    assert "backends=…" in change.fix
    assert "'topic'" in change.fix


def test_nothing_is_said_of_backends_that_are_not_known():
    assert compare(past(TINY_LIVES), BEFORE, None) == []


def test_a_plan_that_cannot_be_bound_any_longer_is_a_warning_while_bindings_live():
    changed = a_catalog(
        (QUEUE, "queue", {TINY: "tiny", LARGE: "large"}),
        (TOPIC, "topic", {WIDE: "wide"}),
        bindable=False,
    )

    changes = compare(past(TINY_LIVES, WIDE_LIVES), changed)

    assert told(changes) == [("stranded", "queue/tiny", 2, "warning")]
    assert "3 bindings" in changes[0].problem


def test_instances_of_one_plan_count_together_whoever_made_them():
    other = LivePlan(TINY_LIVES.plan, "queue/tiny", 5, 1)
    smaller = a_catalog((QUEUE, "queue", {LARGE: "large"}))

    [change] = [
        one for one in compare(past(TINY_LIVES, other), smaller) if one.id == TINY
    ]

    assert change.instances == 7
    assert "7 service instances live on it" in change.problem


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        pytest.param((), [TINY, WIDE], id="nothing"),
        pytest.param((TINY,), [WIDE], id="one of the ids"),
        pytest.param((TINY, WIDE), [], id="each id"),
        pytest.param(("all",), [], id="all"),
        pytest.param((QUEUE, "tiny"), [TINY, WIDE], id="what is no id of a finding"),
    ],
)
def test_only_ids_that_were_allowed_are_let_through(allowed, left):
    smaller = a_catalog((QUEUE, "queue", {LARGE: "large"}))

    changes = compare(past(TINY_LIVES, WIDE_LIVES), smaller)

    assert [change.id for change in refused(changes, allowed)] == left


def test_the_refusal_tells_every_finding_and_how_to_go_on():
    smaller = a_catalog((QUEUE, "queue", {LARGE: "large"}))
    changes = refused(compare(past(TINY_LIVES, WIDE_LIVES), smaller), ())

    refusal = CatalogUnsafe(changes, ids=[change.id for change in changes])

    assert isinstance(refusal, StartRefused)
    assert refusal.findings == tuple(changes)
    for change in changes:
        assert str(change) in str(refusal)
    assert f"OSBKIT_ALLOW_CATALOG_CHANGES={TINY},{WIDE}" in str(refusal)


def test_a_finding_names_the_thing_its_id_the_trouble_and_the_fix():
    smaller = a_catalog((QUEUE, "queue", {LARGE: "large"}))

    [change] = refused(compare(past(TINY_LIVES), smaller), ())

    assert str(change) == (
        "plan queue/tiny (plan-1) has left the catalog, while 2 service instances live"
        " on it. Put it back until they are deleted."
    )
