"""The logistic head: scikit-learn's optimum, folds of whole images, few images, and the same bytes on any cores."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits

from stages.base.errors import UserError
from stages.compute.networks import build_head
from stages.training import logistic
from stages.training.dataloader import ArrayData
from stages.training.logistic import LogisticFit, assign_folds, fit_logistic
from stages.training.train import TrainingConfig
from stages.transfer.linear_probe import probe
from tests.conftest import PROJECT
from tests.helpers.copies import run

VIEWS = 2


def features(*counts: int, views: int = VIEWS, length: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and image indices for ``counts`` images per class, in ``views`` views each."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = draw.normal(size=(len(counts), length)) + 5
    images = np.repeat(np.arange(len(labels)), views)
    rows = (centers[labels] + draw.normal(size=(len(labels), length)))[images]
    return rows + draw.normal(size=rows.shape) / 4, labels[images], images


def fitted(*counts: int, **options: int) -> LogisticFit:
    rows, labels, images = features(*counts, **options)
    return fit_logistic(rows, labels, images, weights=np.ones(len(rows)), seed=1)


def exact(strength: float, rows: np.ndarray, labels: np.ndarray, **options: str | None) -> Any:
    """Fit scikit-learn's LogisticRegression the usual way."""
    from sklearn.linear_model import LogisticRegression

    with threadpool_limits(1):  # these rows are few
        return LogisticRegression(C=strength, tol=1e-7, max_iter=10_000, **options).fit(rows, labels)


@pytest.mark.parametrize("counts", [(20, 20, 20), (30, 30)])
@pytest.mark.parametrize("balanced", [False, True])
def test_it_ends_at_the_optimum_of_scikit_learn(counts: tuple[int, ...], balanced: bool) -> None:
    rows, labels, images = features(*counts[:-1], 2 * counts[-1])
    share = np.bincount(labels) / len(labels)
    weights = 1 / (len(counts) * share[labels]) if balanced else np.ones(len(labels))
    ours = fit_logistic(rows.copy(), labels, images, weights=weights, seed=1)
    assert ours.converged
    theirs = exact(ours.strength, rows, labels, class_weight="balanced" if balanced else None)
    np.testing.assert_allclose(softmax(rows @ ours.kernel + ours.bias, axis=1), theirs.predict_proba(rows), atol=1e-4)
    np.testing.assert_allclose(ours.kernel.sum(axis=1), 0, atol=1e-6)


def test_the_penalty_has_the_lowest_loss_on_images_held_out() -> None:
    rows, labels, images = features(12, 12, 12)
    ours, folds = fitted(12, 12, 12), assign_folds(labels, images, 1)
    variance = rows.var(axis=0).sum()
    losses = []
    for strength in logistic.GRID:
        loss = 0.0
        for fold in range(5):
            model = exact(strength / variance, rows[folds != fold], labels[folds != fold])
            logits = model.decision_function(rows[folds == fold])
            loss -= log_softmax(logits, axis=1)[np.arange(len(logits)), labels[folds == fold]].sum()
        losses.append(loss)
    assert 0 < np.argmin(losses) < len(losses) - 1
    assert ours.strength == pytest.approx(logistic.GRID[np.argmin(losses)] / variance)
    assert (ours.folds, ours.groups) == (5, 36)


@pytest.mark.parametrize(
    ("counts", "folds", "held_out"), [((20, 20), 5, 40), ((2, 2), 4, 4), ((1, 9, 2), 5, 11), ((2, 1), 2, 2)]
)
def test_each_class_is_always_trained_on(counts: tuple[int, ...], folds: int, held_out: int) -> None:
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    found = assign_folds(labels, np.arange(len(labels)), 1)
    assert len(set(found[found >= 0])) == folds
    assert (found >= 0).sum() == held_out
    for fold in set(found[found >= 0]):
        assert set(labels[found != fold]) == set(labels)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2), st.integers(0, 9), st.integers(1, 3))
def test_groups_stay_together_and_each_class_is_trained_on(images: list[tuple[int, int]], seed: int, step: int) -> None:
    labels, groups = np.array(images).T
    found = assign_folds(labels, groups, seed, step)
    assert len(set(zip(groups, found, strict=True))) == len(set(groups))
    for fold in set(found[found >= 0]):
        assert set(labels[(found >= -1) & (found != fold)]) == set(labels)


def test_of_many_images_a_part_chooses() -> None:
    labels = np.repeat([0, 1, 2], [40, 20, 1])
    found = assign_folds(labels, np.arange(61), 1, step=3)
    assert list(np.bincount(labels[found >= 0])) == [14, 6]
    assert found[-1] == -1, "a class of which no image is used is trained on"


def test_groups_are_counted_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    training, images = data(10, 20)
    probe(build_head(6, classes=2), training, None, images // 2 * 2 + 1, TrainingConfig(0, 1.0, 32, 1))
    assert "by 5-fold cross-validation over 15 groups of images), " in capsys.readouterr().out


@pytest.mark.parametrize("views", [1, 3])
def test_one_image_of_each_class_is_enough(views: int) -> None:
    rows, labels, _ = features(1, 1, 1, views=views)
    ours = fitted(1, 1, 1, views=views)
    assert ours.folds == 0
    assert ours.strength == pytest.approx(logistic.FALLBACK / rows.var(axis=0).sum())
    assert list((rows @ ours.kernel + ours.bias).argmax(axis=1)) == list(labels)


def test_constant_features_are_no_error() -> None:
    ours = fit_logistic(np.ones((8, 3)), np.arange(8) % 2, np.arange(8), weights=np.ones(8), seed=1)
    np.testing.assert_allclose(ours.kernel, 0, atol=1e-6)


def data(*counts: int) -> tuple[ArrayData, np.ndarray]:
    rows, labels, images = features(*counts)
    return ArrayData(rows.astype(np.float32), labels, len(counts)), images


def test_one_logit_and_two_are_the_same_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    training, images = data(10, 20)
    outputs, histories = [], []
    for output in ("softmax", "sigmoid"):
        head = build_head(6, classes=2, output=output)
        histories.append(probe(head, training, training, images, TrainingConfig(0, 1.0, 32, 1, balanced=True)))
        outputs.append(softmax(head.predict(training.batch(np.arange(60), 0)[0], verbose=0), axis=1))
    np.testing.assert_allclose(*outputs, atol=1e-6)
    pd.testing.assert_frame_equal(*histories)
    row = histories[0].iloc[0]
    assert (len(histories[0]), row["kept"], row["epoch"]) == (1, 1, 1)
    assert row["val_loss"] == row["loss"]
    assert pd.isna(row["learning_rate"])
    assert "by 5-fold cross-validation over 30 images), " in capsys.readouterr().out


def test_it_says_where_it_did_not_converge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logistic, "ITERATIONS", 2)
    training, images = data(10, 20, 10)
    probe(build_head(6, classes=3), training, None, images, TrainingConfig(0, 1.0, 32, 1))
    assert "warning: the head did not converge in 2 iterations" in capsys.readouterr().out


def test_a_fit_that_does_not_fit_into_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training, images = data(10, 20)
    needed = 8 * 6 * 60 * 6  # the rows, and five folds of them
    for available, refused in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr("stages.transfer.linear_probe.read_available_memory", lambda known=available: known)
        with pytest.raises(UserError, match=r"17\.3 kB are available") if refused else nullcontext():
            probe(build_head(6, classes=2), training, None, images, TrainingConfig(0, 1.0, 32, 1))
    said = capsys.readouterr().out
    assert said.count("logistic regression on 60 views x 6 features takes about 17.3 kB of memory") == 1


def test_features_that_hardly_differ_are_refused() -> None:
    rows, labels, images = features(10, 10)
    alike = ArrayData((1000 + rows / 1e4).astype(np.float32), labels, 2)
    with pytest.raises(UserError, match="the features of all images are so similar"):
        probe(build_head(6, classes=2), alike, None, images, TrainingConfig(0, 1.0, 32, 1))


SCRIPT = """
import numpy as np
from stages.training.logistic import fit_logistic
arrays = np.load("rows.npz")
fit = fit_logistic(arrays["rows"], arrays["labels"], arrays["images"], weights=np.ones(len(arrays["rows"])), seed=1)
np.savez("fit.npz", kernel=fit.kernel, bias=fit.bias)
"""


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    rows, labels, images = features(40, 40, 40, length=300)
    np.savez(tmp_path / "rows.npz", rows=rows, labels=labels, images=images)
    written = []
    for threads in ("1", "3"):
        limits = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(PROJECT)}
        run(sys.executable, "-c", SCRIPT, cwd=tmp_path, **limits)
        written.append((tmp_path / "fit.npz").read_bytes())
    assert written[0] == written[1]
