"""Training: exact steps for every optimizer, learning rates by depth, gradual thawing, schedules, losses."""

import math
import re
from itertools import pairwise

import keras
import numpy as np
import pandas as pd
import pytest

from stages.base.errors import UserError
from stages.compute.architecture import describe
from stages.compute.forward import Forward, choose_batch_size
from stages.compute.networks import build_frozen_part, build_head, build_network
from stages.compute.optimizers import OptimizerConfig, layer_decay_factors
from stages.compute.trainable import LayerFreezer
from stages.training.dataloader import ArrayData
from stages.training.schedule import LearningRateSchedule
from stages.training.train import TrainingConfig, fit
from stages.transfer.freeze import plan_unfreezing
from tests.helpers.miniature import as_backbone, miniature, pictures

BLOCKS = {"block1": "block1_conv", "block2": "block2_conv"}
SGD = OptimizerConfig("sgd", momentum=0.0)


def vectors(rows: int = 24, classes: int = 2, seed: int = 0) -> ArrayData:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, rows)
    inputs = draw.normal(labels[:, None], 1.0, (rows, 5)).astype(np.float32)
    return ArrayData(inputs, labels, classes)


def weights(model: keras.Model) -> list[np.ndarray]:
    return [np.array(value) for value in model.get_weights()]


def plain_steps(
    kernel: np.ndarray, bias: np.ndarray, data: ArrayData, rule: OptimizerConfig, rate: float, steps: int
) -> np.ndarray:
    """Full-batch steps on a linear classifier, as the papers write them; return the kernel."""
    inputs, targets = data.batch(np.arange(len(data)), 0)
    values, decayed = [kernel.astype(float), bias.astype(float)], [True, False]
    first, second = ([np.zeros_like(value) for value in values] for _ in range(2))
    for step in range(1, steps + 1):
        logits = inputs @ values[0] + values[1]
        wrong = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)) - targets
        gradients = [inputs.T @ wrong / len(data), wrong.mean(axis=0)]
        if rule.clip_norm:
            norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
            gradients = [gradient * min(1.0, rule.clip_norm / norm) for gradient in gradients]
        for place, gradient in enumerate(gradients):
            if rule.name == "adamw" and decayed[place]:
                values[place] *= 1 - rate * rule.weight_decay
            if rule.name == "sgd":
                first[place] = rule.momentum * first[place] - rate * gradient
                values[place] += first[place]
            else:
                first[place] = 0.9 * first[place] + 0.1 * gradient
                second[place] = 0.999 * second[place] + 0.001 * gradient**2
                large = math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                values[place] -= rate * large * first[place] / (np.sqrt(second[place]) + 1e-7)
    return values[0]


@pytest.mark.parametrize(
    "rule",
    [
        OptimizerConfig("adam"),
        OptimizerConfig("adamw", weight_decay=0.5),
        OptimizerConfig("sgd", momentum=0.9),
        OptimizerConfig("sgd", momentum=0.0, clip_norm=0.01),
    ],
    ids=str,
)
def test_each_optimizer_steps_as_its_paper_says(rule: OptimizerConfig) -> None:
    keras.utils.set_random_seed(0)
    data, model = vectors(), build_head(5, classes=2)
    kernel, bias = weights(model)
    fit(model, "head", data, None, TrainingConfig(5, 0.05, 24, 1, optimizer=rule))
    expected = plain_steps(kernel, bias, data, rule, 0.05, 5)
    assert np.abs(expected - kernel).max() > 1e-3
    np.testing.assert_allclose(weights(model)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", [SGD, OptimizerConfig("adam"), OptimizerConfig("adamw", weight_decay=0.1)], ids=str)
@pytest.mark.parametrize("blocks", [BLOCKS, {}], ids=["blocks", "layers"])
def test_each_block_learns_at_the_rate_of_its_depth(rule: OptimizerConfig, blocks: dict[str, str]) -> None:
    pixels, labels = pictures(16)
    steps: dict[float, dict[str, list[np.ndarray]]] = {}
    for decay in (1.0, 0.5):
        keras.utils.set_random_seed(0)
        backbone = miniature()
        model = build_network(as_backbone(backbone), "average", build_head(12, classes=2))
        LayerFreezer(backbone, train_batchnorm=False).freeze(0)
        layers = [*[layer for layer in backbone.layers if layer.weights], model.get_layer("head")]
        before = {layer.name: weights(layer) for layer in layers}
        factors = layer_decay_factors(as_backbone(backbone, blocks=blocks), decay)
        fit(
            model,
            "thawed",
            ArrayData(pixels, labels, 2),
            None,
            TrainingConfig(1, 0.01, 16, 1, optimizer=rule),
            rate_factors=factors,
        )
        steps[decay] = {
            layer.name: [new - old for new, old in zip(weights(layer), before[layer.name], strict=True)]
            for layer in layers
        }
    by_block = {"stem_conv": 1 / 8, "block1_conv": 1 / 4, "block2_conv": 1 / 2, "head": 1.0}
    by_layer = {"stem_conv": 1 / 64, "block1_conv": 1 / 16, "block2_conv": 1 / 4, "head": 1.0}
    for name, factor in (by_block if blocks else by_layer).items():
        for full, less in zip(steps[1.0][name], steps[0.5][name], strict=True):
            assert np.abs(full).max() > 1e-5, name
            np.testing.assert_allclose(less, full * factor, rtol=1e-2, atol=1e-7)


def test_gradual_thawing_freezes_what_it_says_from_each_epoch_on() -> None:
    pixels, labels = pictures(16)
    keras.utils.set_random_seed(0)
    backbone = miniature()
    model = build_network(as_backbone(backbone), "average", build_head(12, classes=2))
    thawing, seen = LayerFreezer(backbone, train_batchnorm=False), []
    counts = plan_unfreezing(describe(backbone, BLOCKS), [(1, "all"), (2, "block2"), (4, "block1")], 4)
    assert counts == {0: 11, 1: 8, 3: 4}

    class Watched(ArrayData):
        def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
            seen.append({layer.name: weights(layer)[:1] for layer in backbone.layers if "conv" in layer.name})
            return super().batch(rows, epoch)

    thawing.freeze(11)
    assert backbone.get_layer("block1_dropout").rate == 0.0
    data, steps = Watched(pixels, labels, 2), thawing.callbacks(counts)
    history = fit(model, "thawed", data, None, TrainingConfig(5, 0.01, 16, 1), before_epoch=steps)
    assert list(history["epoch"]) == [1, 2, 3, 4, 5]
    assert backbone.get_layer("block1_dropout").rate == 0.5
    seen.append({layer.name: weights(layer)[:1] for layer in backbone.layers if "conv" in layer.name})
    learned = {name: [not np.array_equal(old[name], new[name]) for old, new in pairwise(seen)] for name in seen[0]}
    assert learned == {
        "stem_conv": [False] * 5,
        "block1_conv": [False, False, False, True, True],
        "block2_conv": [False, True, True, True, True],
    }


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        (
            "none",
            "expected at least the 8 layers frozen that finetune.thawed.freeze freezes; received freeze: none",
        ),
        ("blok2", "finetune.thawed.gradual: expected 'all', 'none', a count, or a layer or block"),
    ],
)
def test_gradual_thawing_goes_no_further_than_extract(freeze: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_unfreezing(describe(miniature(), BLOCKS), [(1, freeze)], 8)


def test_the_rate_rises_and_falls() -> None:
    rates = [LearningRateSchedule(0.1, 5, "cosine", warmup=1).rate_at(step, 10) for step in range(50)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 100)
    assert max(rates) == 0.1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[30] == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.001
    assert {LearningRateSchedule(0.1, 5).rate_at(step, 10) for step in range(50)} == {0.1}
    data = vectors(40)
    history = fit(
        build_head(5, classes=2), "head", data, None, TrainingConfig(5, 0.1, 4, 1, schedule="cosine", warmup=1)
    )
    np.testing.assert_allclose(history["learning_rate"], [rates[step] for step in (5, 15, 25, 35, 45)])


def test_what_is_reported_is_the_mean_over_the_images() -> None:
    data, model = vectors(25), build_head(5, classes=2)
    history = fit(model, "head", data, data, TrainingConfig(3, 1e-9, 4, 1, label_smoothing=0.2, balanced=True))
    inputs, targets = data.batch(np.arange(25), 0)
    logits = np.asarray(model(inputs), float)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    assert history["val_loss"].iloc[-1] == pytest.approx(-(targets * logs).sum(axis=1).mean(), rel=1e-5)
    assert history["val_accuracy"].iloc[-1] == pytest.approx((logits.argmax(axis=1) == data.labels).mean())
    assert history["accuracy"].iloc[-1] == pytest.approx((logits.argmax(axis=1) == data.labels).mean())
    balanced = (25 / (2 * np.bincount(data.labels)))[data.labels]
    smooth = targets * 0.8 + 0.1
    assert history["loss"].iloc[-1] == pytest.approx((balanced * -(smooth * logs).sum(axis=1)).mean(), rel=1e-5)


def test_balanced_classes_pull_alike() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, 10])
    data = ArrayData(
        draw.normal(size=(100, 5)).astype(np.float32), labels, 2
    )  # nothing but the classes' sizes to learn
    shares = {}
    for balanced in (False, True):
        model = build_head(5, classes=2)
        fit(model, "head", data, None, TrainingConfig(100, 0.05, 100, 1, balanced=balanced))
        shares[balanced] = float(np.asarray(keras.ops.softmax(model(np.zeros((1, 5)))))[0, 1])
    assert shares[False] < 0.2
    assert 0.35 < shares[True] < 0.65


def test_a_head_is_built_as_the_params_say() -> None:
    names = [layer.name for layer in build_head(7, hidden=[8, 4], dropout=[0.5, 0.3], classes=3, batchnorm=True).layers]
    assert names == [
        "features",
        *("head_dense_1", "head_batchnorm_1", "head_dropout_1", "head_dense_2", "head_batchnorm_2", "head_dropout_2"),
        "classifier",
    ]
    rates = [
        layer.rate
        for layer in build_head(7, hidden=[8, 4], dropout=[0.5, 0.3], classes=3).layers
        if "dropout" in layer.name
    ]
    assert rates == [0.5, 0.3]
    assert [layer.name for layer in build_head(7, dropout=0.2, classes=3).layers] == [
        "features",
        "head_dropout_1",
        "classifier",
    ]
    assert [layer.name for layer in build_head(7, hidden=[8], classes=3).layers] == [
        "features",
        "head_dense_1",
        "classifier",
    ]


def test_batchnorm_in_a_head_learns_the_statistics() -> None:
    data, model = vectors(), build_head(5, hidden=[4], classes=2, batchnorm=True)
    fit(model, "head", data, None, TrainingConfig(3, 0.01, 8, 1))
    assert np.abs(np.asarray(model.get_layer("head_batchnorm_1").moving_mean)).max() > 0.01


def test_a_sigmoid_is_a_softmax_over_zero_and_its_logit() -> None:
    data, model = vectors(), build_head(5, classes=2, output="sigmoid")
    fit(model, "head", data, None, TrainingConfig(40, 0.05, 8, 1))
    inputs, _ = data.batch(np.arange(len(data)), 0)
    logits = np.asarray(model(inputs))
    kernel, bias = weights(model)
    assert kernel.shape == (5, 1)
    np.testing.assert_array_equal(logits[:, 0], 0)
    np.testing.assert_allclose(logits[:, 1:], inputs @ kernel + bias, rtol=1e-4, atol=1e-5)
    sigmoid = 1 / (1 + np.exp(-logits[:, 1]))
    np.testing.assert_allclose(np.asarray(keras.ops.softmax(logits))[:, 1], sigmoid, rtol=1e-5)
    assert np.mean((sigmoid > 0.5) == data.labels) > 0.8


@pytest.mark.parametrize("checkpoint", ["best", "best_accuracy", "last"])
def test_a_validation_loss_that_is_no_number_is_said(checkpoint: str) -> None:
    validation = ArrayData(np.full((4, 5), np.inf, np.float32), np.array([0, 1, 0, 1]), 2)
    with pytest.raises(UserError, match="head: expected a finite validation loss, received nan in epoch 1"):
        fit(
            build_head(5, classes=2), "head", vectors(), validation, TrainingConfig(1, 0.1, 4, 1, checkpoint=checkpoint)
        )


def test_a_loss_that_is_no_number_is_said() -> None:
    data = ArrayData(np.full((4, 5), np.inf, np.float32), np.array([0, 1, 0, 1]), 2)
    with pytest.raises(UserError, match="head: expected a finite loss, received nan in epoch 1: the training diverged"):
        fit(build_head(5, classes=2), "head", data, None, TrainingConfig(2, 0.1, 4, 1))


def test_a_plateau_lowers_the_rate_and_patience_ends() -> None:
    training, other = vectors(seed=0), vectors(seed=1)
    wrong = ArrayData(other.batch(np.arange(24), 0)[0], 1 - other.labels, 2)  # learning makes it worse from the start
    schedule = TrainingConfig(
        30, 0.01, 8, 1, checkpoint="best", early_stopping=5, plateau_patience=2, plateau_factor=0.1
    )
    history = fit(build_head(5, classes=2), "head", training, wrong, schedule)
    assert isinstance(history, pd.DataFrame)
    kept = int(history["kept"].idxmax())
    assert len(history) == kept + 1 + 5
    rates = history["learning_rate"].to_numpy()[kept:]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.01, 0.001, 0.001, 0.0001][: len(rates)])


def test_the_reduced_rate_has_a_floor() -> None:
    training, other = vectors(seed=0), vectors(seed=1)
    wrong = ArrayData(other.batch(np.arange(24), 0)[0], 1 - other.labels, 2)
    config = TrainingConfig(6, 0.01, 8, 1, plateau_patience=1, plateau_factor=0.1, plateau_floor=0.0005)
    rates = fit(build_head(5, classes=2), "head", training, wrong, config)["learning_rate"].to_numpy()
    np.testing.assert_allclose(np.unique(rates)[::-1], [0.01, 0.001, 0.0005])


@pytest.mark.parametrize(("checkpoint", "best"), [("best", 2), ("best_accuracy", 4), ("last", 6)])
def test_the_checkpoint_has_the_lowest_loss_or_the_highest_accuracy_or_is_the_last(
    monkeypatch: pytest.MonkeyPatch, checkpoint: str, best: int
) -> None:
    losses, accuracies = [0.9, 0.5, 0.8, 0.7, 0.7, 0.9], [0.5, 0.6, 0.9, 0.9, 0.9, 0.8]
    model, seen = build_head(5, classes=2), list[np.ndarray]()

    def made_up(*_: object) -> dict[str, float]:
        seen.append(weights(model)[0])
        return {"loss": losses[len(seen) - 1], "accuracy": accuracies[len(seen) - 1]}

    monkeypatch.setattr("stages.training.train.measure", made_up)
    config = TrainingConfig(6, 0.01, 24, 1, checkpoint=checkpoint)
    history = fit(model, "head", vectors(), vectors(), config)
    assert list(history["kept"]) == [int(epoch == best) for epoch in range(1, 7)]
    np.testing.assert_array_equal(weights(model)[0], seen[best - 1])
    seen.clear()
    config = TrainingConfig(6, 0.01, 24, 1, checkpoint=checkpoint, early_stopping=2)
    assert len(fit(model, "head", vectors(), vectors(), config)) == 4  # patience watches the loss in any case


def test_each_epoch_and_each_decision_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    training, other = vectors(seed=0), vectors(seed=1)
    wrong = ArrayData(other.batch(np.arange(24), 0)[0], 1 - other.labels, 2)  # learning makes it worse from the start
    config = TrainingConfig(30, 0.01, 8, 1, checkpoint="best", early_stopping=3, plateau_patience=2, plateau_factor=0.5)
    history = fit(build_head(5, classes=2), "head", training, wrong, config)
    lines = capsys.readouterr().out.splitlines()
    first = history.iloc[0]
    assert lines[0] == (
        f"  head, epoch  1/30: loss {first['loss']:.4f}, accuracy {first['accuracy']:.1%}, validation loss "
        f"{first['val_loss']:.4f}, validation accuracy {first['val_accuracy']:.1%}, learning rate 0.01"
    )
    assert [line for line in lines if "epoch " not in line] == [
        "  head: learning rate reduced to 0.005, after 2 epochs without a lower validation loss",
        "  head: stopped early, after 3 epochs without a lower validation loss",
    ]
    assert len(lines) == len(history) + 2
    fit(build_head(5, classes=2), "pretrain", training, None, TrainingConfig(2, 0.01, 8, 1))
    assert re.fullmatch(
        r"(  pretrain, epoch [12]/2: loss [\d.]+, accuracy [\d.]+%, learning rate 0.01\n){2}", capsys.readouterr().out
    )


def test_patience_begins_with_the_last_step_of_gradual_thawing() -> None:
    class Worse(ArrayData):  # validation images that the training speaks against
        def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
            inputs, targets = super().batch(rows, epoch)
            return inputs, targets[:, ::-1]

    begun: list[int] = []
    steps = {epoch: lambda epoch=epoch: begun.append(epoch) for epoch in (0, 4)}
    training, validation = vectors(), Worse(vectors().batch(np.arange(24), 0)[0], vectors().labels, 2)
    schedule = TrainingConfig(9, 0.05, 8, 1, early_stopping=2, plateau_patience=1, plateau_factor=0.1)
    history = fit(build_head(5, classes=2), "thawed", training, validation, schedule, before_epoch=steps)
    assert 4 in begun
    assert len(history) == 6  # two epochs without a lower loss after the last step
    rates = history["learning_rate"].to_numpy()
    assert rates[3] < 0.01 < rates[4]  # and the rate starts afresh


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_rows_that_fill_a_batch_up_do_not_count(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.training.dataloader.CHUNK", chunk)
    data = vectors(19)
    keras.utils.set_random_seed(0)
    model = build_head(5, classes=2)
    kernel, bias = weights(model)
    fit(model, "head", data, None, TrainingConfig(1, 0.1, 8, 3, optimizer=SGD))
    order = np.arange(19)
    np.random.default_rng([3, 1]).shuffle(order)
    for rows in (order[:8], order[8:16], order[16:]):
        inputs, targets = data.batch(rows, 0)
        logits = inputs @ kernel + bias
        wrong = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)) - targets
        kernel, bias = kernel - 0.1 * inputs.T @ wrong / len(rows), bias - 0.1 * wrong.mean(axis=0)
    np.testing.assert_allclose(weights(model)[0], kernel, atol=1e-6)
    np.testing.assert_allclose(weights(model)[1], bias, atol=1e-6)


def test_any_number_of_images_goes_through_in_batches_of_one_size() -> None:
    backbone, (pixels, _) = miniature(), pictures(7)
    taps = build_frozen_part(as_backbone(backbone), ["pixels", "features"], "average")
    whole = Forward(taps, 7)(pixels)
    assert whole["pixels"].dtype == np.uint8
    for size in (1, 3, 64):
        parts = Forward(taps, size)(pixels)
        np.testing.assert_array_equal(parts["pixels"], pixels)
        np.testing.assert_allclose(parts["features"], whole["features"], atol=1e-6)


def test_larger_images_come_fewer_at_a_time() -> None:
    small, large = (
        choose_batch_size(build_frozen_part(as_backbone(miniature(side)), ["features"], "average"))
        for side in (16, 2048)
    )
    assert small > large >= 1
