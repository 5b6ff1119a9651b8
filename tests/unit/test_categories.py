"""The tables that everything else is keyed by agree with each other."""

from semantic_focus.categories import PARTITION_PRIORITY, SEMANTIC_CATEGORIES
from semantic_focus.objective.total import Objective


def test_every_partitioned_category_has_a_place_in_the_priority_and_background_takes_the_rest():
    partitioned = {name for name, category in SEMANTIC_CATEGORIES.items() if category.partitioned}
    assert partitioned == {*PARTITION_PRIORITY, "background"}
    assert set(SEMANTIC_CATEGORIES) - partitioned == {"lighting"}


def test_order_and_weights_are_the_documented_ones_and_the_objective_starts_from_them():
    documented = {
        "face": 1.0,
        "body": 0.5,
        "clothing": 0.8,
        "hair": 0.6,
        "background": 0.1,
        "lighting": 0.3,
    }
    assert list(SEMANTIC_CATEGORIES) == list(documented)
    assert Objective().weights == documented
