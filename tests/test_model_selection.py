"""Choosing by validation: what is measured, and which differences so many images can show."""

import numpy as np
import pandas as pd
import pytest

from stages.base.dvc_lock import LockedStage
from stages.measure.intervals import bound_difference, measure_difference
from stages.measure.model_selection import (
    describe_choice,
    describe_fitted,
    find_detectable_difference,
    is_skewed,
    measure_predictions,
)
from stages.pipeline.recorded import find_calibrated
from stages.pipeline.revisions import Revision


def predictions(classes: str, predicted: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"class": list(classes), "finetuned_predicted": list(predicted), "finetuned_loss": np.arange(len(classes))}
    )


def test_balanced_accuracy_is_measured_where_one_class_has_more_than_twice_the_images() -> None:
    even = measure_predictions(predictions("aaaabb", "aaaaab"), 0.95)
    assert even == pytest.approx(
        {"log_loss": 2.5, "accuracy": 5 / 6, "accuracy_low": 0.4365, "accuracy_high": 0.9699}, abs=1e-4
    )
    skewed = measure_predictions(predictions("aaaaabb", "aaaaaab"), 0.95)
    assert skewed["accuracy"] == 6 / 7
    assert skewed["balanced_accuracy"] == (1 + 0.5) / 2
    assert [is_skewed(pd.Series(list(classes))) for classes in ("aab", "aaab")] == [False, True]


def test_a_difference_is_after_minus_before_on_the_same_images() -> None:
    before, after = np.array([True] * 10 + [False] * 30), np.array([False] * 2 + [True] * 38)
    difference, low, high = measure_difference(before, after, 0.95)
    assert (difference, low, high) == ((30 - 2) / 40, *bound_difference(2, 30, 40, 0.95))


@pytest.mark.parametrize(("images", "differing"), [(50, 0), (480, 0), (480, 40), (480, 41)])
def test_the_detectable_difference_is_the_smallest_whose_interval_excludes_zero(images: int, differing: int) -> None:
    found = find_detectable_difference(images, 0.95, differing)
    assert found is not None
    more = round(found * images)
    for count, shown in ((more, True), (more - 1, False)):
        lost = max(0, -((count - differing) // 2))
        assert (bound_difference(lost, lost + count, images, 0.95)[0] > 0) == shown


def test_one_image_shows_nothing() -> None:
    assert find_detectable_difference(1, 0.95) is None
    assert "can show no difference in accuracy (at 0.95)" in describe_choice(2, 1, 0.95)
    said = describe_choice(7, 50, 0.95)
    assert said.startswith("the best of 7 by log loss on 50 validation images")
    assert "no difference in accuracy below 10.0 points" in said


def test_a_loss_that_a_temperature_was_fitted_on_is_said_to_be_too_low() -> None:
    recorded = {"a": "temperature", "b": "none", "older": None}
    params = {name: {} if value is None else {"calibrate": value} for name, value in recorded.items()}
    stages = {name: LockedStage({}, {"params.yaml": {"finetune": values}}, {}) for name, values in params.items()}
    assert find_calibrated([Revision(name, "", {"finetune": stage}) for name, stage in stages.items()]) == ["a"]
    assert "expect a log loss that is higher by about 0.02" in describe_fitted(50)
