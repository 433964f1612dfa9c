"""Verdicts and advice: rules that hold for any numbers, not only for those that somebody thought of."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.advice import ALIKE, FEW, Plan, Run, suggest, warn
from stages.training.verdicts import judge

Floats = st.floats(0.01, 3)


def history(loss: np.ndarray, val: np.ndarray | None, phase: str = "head", rate: float = 0.001) -> pd.DataFrame:
    epochs = range(1, len(loss) + 1)
    table = pd.DataFrame({"phase": phase, "epoch": epochs, "loss": loss, "learning_rate": rate})
    table["val_loss"] = np.nan if val is None else val
    kept = len(loss) - 1 if val is None else int(np.argmin(val))
    return table.assign(kept=[int(row == kept) for row in range(len(loss))])


def falling(start: float, share: float, epochs: int) -> np.ndarray:
    return np.asarray(start * share ** np.arange(epochs))


@given(Floats, st.floats(0.6, 0.9), st.integers(2, 20), st.integers(3, 20), st.floats(0.06, 0.5))
def test_over_fitting_is_dated_wherever_it_begins(
    start: float, share: float, before: int, after: int, slope: float
) -> None:
    falls = 0.2 + falling(start, share, before)
    val = np.concatenate([falls, falls[-1] * (1 + slope * np.arange(1, after + 1))])
    [said] = judge(history(falling(2.0, 0.97, len(val)), val))
    assert f"over-fitting from epoch {before + 1}: validation loss rose from {falls[-1]:.3g} to" in said


@given(Floats, st.floats(0.5, 0.95), st.integers(3, 40))
def test_a_loss_that_still_falls_asks_for_more_epochs(start: float, share: float, epochs: int) -> None:
    val = falling(start, share, epochs)
    [said] = judge(history(falling(2.0, 0.9, epochs), val, "thawed"))
    assert (
        f"Head and thawed layers: still learning at the end: validation loss is lowest in the last epoch, {epochs}"
        in (said)
    )
    assert f"to {val[-1]:.3g}" in said
    assert "finetune.thawed.epochs" in said


@given(Floats, st.integers(2, 40), st.integers(0, 1000))
def test_noise_around_a_constant_is_no_trend(level: float, epochs: int, seed: int) -> None:
    noise = 1 + 0.01 * np.random.default_rng(seed).uniform(-1, 1, (2, epochs))
    [said] = judge(history(np.sort(level * noise[0])[::-1], level * noise[1]))
    assert "converged" in said or "still learning" in said
    assert "over-fitting" not in said


@given(st.integers(4, 30), st.floats(1.2, 5))
def test_a_training_loss_that_jumps_up_and_down_means_a_high_rate(epochs: int, factor: float) -> None:
    loss = np.array([1.0, factor] * epochs)[:epochs]
    said = judge(history(loss, np.ones(epochs)))
    assert "the learning rate is probably too high: training loss rose by more than 10 %" in said[0]
    assert f"at most from 1 to {factor:.3g}." in said[0]


@pytest.mark.parametrize("rise", [0.02, 0.2, 2.0])
def test_a_first_thawed_epoch_that_undoes_the_head_is_named(rise: float) -> None:
    head = history(falling(1.0, 0.8, 10), falling(1.0, 0.9, 10))
    thawed = history(falling(0.1, 0.9, 10), head["val_loss"].min() + rise * falling(1.0, 0.5, 10), "thawed")
    said = " ".join(judge(pd.concat([head, thawed.assign(epoch=thawed["epoch"] + 10)], ignore_index=True)))
    assert ("the first epoch raised the validation loss from 0.387 to" in said) == (rise > 0.1)


def test_without_validation_or_epochs_nothing_is_made_up() -> None:
    [said] = judge(history(falling(1.0, 0.9, 5), None))
    assert "Without validation images, nothing shows whether it over-fits" in said
    assert judge(history(np.array([0.1]), np.array([0.2]), rate=np.nan)) == []
    assert judge(history(np.array([0.1]), np.array([0.2]))) == []
    assert judge(history(np.zeros(0), None)) == []


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=30), st.sampled_from(["head", "thawed"])
)
def test_any_curve_has_whole_sentences(losses: list[tuple[float, float]], phase: str) -> None:
    loss, val = np.array(losses).T
    for said in judge(history(loss, val, phase)):
        assert said.endswith(".")
        assert "nan" not in said
        assert "inf" not in said


@pytest.mark.parametrize(("many", "alike"), list(product((False, True), repeat=2)))
def test_advice_has_a_rule_for_each_case_and_says_why(many: bool, alike: bool) -> None:
    classes = 4
    accuracy = 0.25 + 0.75 * (ALIKE + (0.01 if alike else -0.01))
    said = suggest(Run(classes * (FEW - (0 if many else 1)), classes, 40, accuracy, 0.001))
    assert ("few images", "many images")[many] in said[0]
    assert ("are different", "are alike")[alike] in said[0]
    assert f"{100 * accuracy:.1f} % of 40 validation images right, where chance is 25 %" in said[0]
    assert ("extract.freeze: all" in said[0]) == (alike and not many)
    assert any("0.00001 to 0.0001, a hundredth to a tenth" in each for each in said) == (many or not alike)


def test_advice_does_not_guess_how_alike_source_and_target_are() -> None:
    assert "cannot be told" in suggest(Run(100, 10, 40, None, None))[0]


SOUND = Plan(5, True, 4, 1000, 0.001, 0.0001, 32, False)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, None),
        ({"frozen": 0}, "extract.freeze"),
        ({"frozen": 0, "images": FEW}, None),
        ({"frozen": 0, "images": None}, None),
        ({"frozen": 0, "pretrained": False}, None),  # from scratch
        ({"thawed_rate": 0.001}, "finetune.thawed.learning_rate"),
        ({"thawed_rate": 0.001, "head_rate": None}, None),
        ({"thawed_rate": 0.001, "thawed": 0}, None),
        ({"trains_batchnorm": True}, None),
        ({"trains_batchnorm": True, "batch_size": 8}, "finetune.thawed.batchnorm"),
    ],
)
def test_choices_that_seldom_work_are_warned_of(changes: dict[str, object], key: str | None) -> None:
    plan = Plan(**{**SOUND.__dict__, **changes})
    said = warn(plan)
    assert [each.partition(":")[0] for each in said] == ([key] if key else [])
