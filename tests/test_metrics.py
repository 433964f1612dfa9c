"""measure: every number against one computed by hand or published elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sklearn

from stages.base.errors import UserError
from stages.images.split_file import SplitFile, SplitRow, write_split
from stages.measure.intervals import bound_accuracy, bound_difference
from stages.measure.metrics import (
    compute_scores,
    count_confusions,
    measure,
    measure_calibration,
    measure_classes,
    measure_reliability,
)
from stages.measure.predictions import softmax, tabulate


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3: score interval at 95 %.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(right: int, images: int, low: float, high: float) -> None:
    assert bound_accuracy(right, images, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_the_estimate_and_mirrors(counts: tuple[int, int], confidence: float) -> None:
    right, images = counts
    low, high = bound_accuracy(right, images, confidence)
    assert (low, high) == pytest.approx(tuple(binomtest(right, images).proportion_ci(confidence, method="wilson")))
    assert 0 <= low <= right / images <= high <= 1
    assert low < high
    assert bound_accuracy(images - right, images, confidence) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("lost", "won", "images", "low", "high", "precision"),
    [
        # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), 2850-2875: 21 patients, 1 and 7 discordant.
        (7, 1, 21, -0.493, -0.029, 5e-4),
        # The example of diffpropci.mp, the method in the R package PropCIs, which took it from the authors.
        (40, 20, 160, -0.21601726, -0.03089632, 1e-8),
    ],
)
def test_the_paired_interval_is_the_published_one(
    lost: int, won: int, images: int, low: float, high: float, precision: float
) -> None:
    assert bound_difference(lost, won, images, 0.95) == pytest.approx((low, high), abs=precision)


@st.composite
def _paired_counts(draw: st.DrawFn) -> tuple[int, int, int]:
    lost, won = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    return lost, won, lost + won + draw(st.integers(0 if lost + won else 1, 2000))


@given(_paired_counts(), st.floats(0.9, 0.999))
def test_the_paired_interval_holds_the_estimate_and_mirrors(counts: tuple[int, int, int], confidence: float) -> None:
    lost, won, images = counts
    low, high = bound_difference(lost, won, images, confidence)
    assert -1 <= low <= (won - lost) / images <= high <= 1
    assert bound_difference(won, lost, images, confidence) == pytest.approx((-high, -low))


@given(st.integers(1, 10_000))
def test_models_that_never_disagree_differ_by_zero_more_or_less(images: int) -> None:
    low, high = bound_difference(0, 0, images, 0.95)
    assert low == -high
    assert 0 < high <= 1


def test_more_confidence_and_fewer_images_make_intervals_wider() -> None:
    def width(interval: tuple[float, float]) -> float:
        return interval[1] - interval[0]

    assert (
        width(bound_accuracy(45, 50, 0.99))
        > width(bound_accuracy(45, 50, 0.95))
        > width(bound_accuracy(450, 500, 0.95))
    )
    assert width(bound_difference(3, 5, 50, 0.99)) > width(bound_difference(3, 5, 50, 0.95))


def test_softmax_holds_with_large_logits() -> None:
    probabilities = softmax(np.array([[1000, 1000, -1000], [0, np.log(2), np.log(5)]], dtype=np.float32))
    assert probabilities.dtype == np.float64
    assert probabilities == pytest.approx(np.array([[0.5, 0.5, 0], [1 / 8, 2 / 8, 5 / 8]]), abs=1e-7)


def test_a_logit_that_is_no_number_is_refused() -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(UserError, match="the training diverged, or a file is damaged"):
            softmax(np.array([[0.0, value]]))


# Five images: three right (at 0.9, 0.6, 0.5 confidence), two wrong (at 0.7 and 0.6).
LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0.2, 0.6, 0.2], [0.6, 0.3, 0.1], [0.25, 0.25, 0.5]])


def test_scores_are_those_computed_by_hand() -> None:
    values = compute_scores(LABELS, PROBABILITIES, confidence=0.95, bins=4)
    assert values["accuracy"] == 3 / 5
    assert (values["accuracy_low"], values["accuracy_high"]) == bound_accuracy(3, 5, 0.95)
    assert values["macro_f1"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert values["log_loss"] == pytest.approx(-np.log([0.9, 0.3, 0.6, 0.3, 0.5]).mean())
    # Bins of a quarter: (0.25, 0.5] holds one image, right, 0.5; (0.5, 0.75] three, one right, mean 1.9 / 3; (0.75, 1]
    # one, right, 0.9.
    expected = 1 / 5 * 0.5 + 3 / 5 * abs(1 / 3 - 1.9 / 3) + 1 / 5 * 0.1
    assert values["calibration_error"] == pytest.approx(expected)


@st.composite
def _predicted(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    images, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    return random.integers(0, classes, images), random.dirichlet(np.ones(classes), images)


@given(_predicted())
def test_all_numbers_are_those_of_scikit_learn(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = predicted
    taken, every = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])
    values = compute_scores(labels, probabilities, confidence=0.95, bins=15)
    present = np.unique(labels)
    assert values["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, taken))
    f1 = sklearn.f1_score(labels, taken, labels=present, average="macro", zero_division=0)
    assert values["macro_f1"] == pytest.approx(f1)
    assert values["log_loss"] == pytest.approx(sklearn.log_loss(labels, probabilities, labels=every))
    names = [str(number) for number in every]
    table = measure_classes(labels, {"one": probabilities}, names)
    reference = sklearn.precision_recall_fscore_support(labels, taken, labels=every, zero_division=0)
    for name, column in zip(("one_precision", "one_recall", "one_f1", "images"), reference, strict=True):
        assert table[name].to_numpy() == pytest.approx(column, abs=1e-5), name
    counts = count_confusions(labels, probabilities, names).to_numpy()
    np.testing.assert_array_equal(counts, sklearn.confusion_matrix(labels, taken, labels=every))


def test_a_class_held_impossible_costs_much_but_not_everything() -> None:
    measured = compute_scores(np.array([0]), np.array([[0.0, 1.0]]), confidence=0.95, bins=15)
    assert measured["log_loss"] == pytest.approx(sklearn.log_loss([0], [[0.0, 1.0]], labels=[0, 1]))


def test_calibration_error_of_a_model_as_sure_as_it_is_right_is_zero() -> None:
    probabilities = np.tile([0.75, 0.25], (8, 1))
    assert measure_calibration(np.array([0, 0, 0, 1] * 2), probabilities, bins=15) == pytest.approx(0)
    assert measure_calibration(np.zeros(8, dtype=int), np.tile([1.0, 0.0], (8, 1)), bins=15) == 0


def test_measure_compares_image_by_image_and_rounds() -> None:
    head = PROBABILITIES
    finetuned = np.eye(3)[[0, 0, 1, 0, 1]]  # wins image 1, loses image 4
    metrics = measure(LABELS, {"head": head, "finetuned": finetuned}, compare=True, confidence=0.95, bins=15)
    assert list(metrics) == ["head", "finetuned", "gain"]
    assert metrics["gain"]["accuracy"] == 0
    low, high = bound_difference(1, 1, 5, 0.95)
    assert (metrics["gain"]["accuracy_low"], metrics["gain"]["accuracy_high"]) == (round(low, 5), round(high, 5))
    assert metrics["head"]["macro_f1"] == 0.66667


def test_the_loss_of_what_was_held_impossible_is_large_but_finite(tmp_path: Path) -> None:
    rows = [SplitRow(f"{label}.png", "abc"[label], bytes([number]), 1, 1) for number, label in enumerate(LABELS)]
    reading = {"form": "photo", "polarity": "light_on_dark", "fit": "stretch"}
    write_split(tmp_path / "split.parquet", rows, list("abc"), reading)
    table = tabulate(SplitFile(tmp_path / "split.parquet"), {"one": np.eye(3)[(LABELS + 1) % 3]}).to_pandas()
    assert table["one_loss"].between(30, 40).all()


def test_reliability_counts_every_image_once_and_gives_the_calibration_error() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(4) / 3, 200)
    labels = np.where(draw.random(200) < 0.7, probabilities.argmax(axis=1), draw.integers(0, 4, 200))
    bins = measure_reliability(labels, probabilities, 10, 0.95)
    assert bins["images"].sum() == 200
    assert (bins["confidence"].diff()[1:] > 0).all()
    assert bins["accuracy"].between(bins["accuracy_low"], bins["accuracy_high"]).all()
    gaps = (bins["accuracy"] - bins["confidence"]).abs() @ bins["images"] / 200
    assert gaps == pytest.approx(measure_calibration(labels, probabilities, 10), abs=1e-4)
