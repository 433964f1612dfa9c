"""Seconds per epoch of fine-tuning at each freeze depth, compared with the multiply-adds of the thawed part.

    python -m tests.benchmarks.depth [--images 128] [--epochs 4] [--plot FILE.png]

MobileNetV2 at 160 px and VGG16 at 96 px are trained as in finetune at five depths each, from random weights and
activations: the values do not change the cost. The first epoch, which compiles the network, does not count. The
backward pass takes about twice the arithmetic of the forward pass (one product for the weights, one for the inputs), so
an epoch has three times the multiply-adds of the layers after the stored tensor.
Prints a table and, for each network, the correlation of seconds and multiply-adds; takes about five minutes.
"""

# isort: off
from stages.compute.networks import build_head, build_network, build_trainable_part
from stages.compute.runtime import start  # first: it imports the framework quietly

# isort: on
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stages.backbones.registry import BACKBONES
from stages.compute.trainable import freeze_layers
from stages.training import train
from stages.training.dataloader import ArrayData
from stages.transfer.freeze import resolve_freeze
from tests.benchmarks.measured import table, time_epochs
from tests.helpers.command_line import command_line

NETWORKS = {
    "mobilenet_v2": (160, ("block_16", "block_13", "block_10", "block_6", "block_3")),
    "vgg16": (96, ("block5_conv3", "block5", "block4", "block3", "block2")),
}
CLASSES = 2


@dataclass(frozen=True)
class Depth:
    """What training at one depth takes.

    Attributes:
        freeze: as ``extract.freeze`` gives it.
        share: of the whole network's multiply-adds, those from the kept tensor on.
        parameters: how many train.
        gmacs: thousand millions of multiply-adds in an epoch, forward and back.
        seconds: of an epoch.
    """

    freeze: str
    share: float
    parameters: int
    gmacs: float
    seconds: float

    @property
    def rate(self) -> float:
        """Seconds for a thousand million multiply-adds."""
        return self.seconds / self.gmacs


def main() -> None:
    """Train at all depths, print the table and draw it."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    fits: list[list[float]] = []
    time_epochs(fits)
    found = {name: list(depths(name, arguments.images, arguments.epochs, fits)) for name in NETWORKS}
    rows = [("network", "freeze", "multiply-adds", "trained", "GMAC an epoch", "s an epoch", "s a GMAC")]
    for name, depths_found in found.items():
        rows += [
            (name, d.freeze, f"{d.share:.1%}", f"{d.parameters:,}", *(f"{x:.3f}" for x in (d.gmacs, d.seconds, d.rate)))
            for d in depths_found
        ]
    print(f"{arguments.images} images\n{table(rows)}")
    for name, depths_found in found.items():
        correlation = np.corrcoef([d.gmacs for d in depths_found], [d.seconds for d in depths_found])[0, 1]
        print(f"{name}: correlation of seconds and multiply-adds {correlation:.3f}")
    if arguments.plot:
        draw(found, arguments.plot)


def depths(name: str, images: int, epochs: int, fits: list[list[float]]) -> Iterator[Depth]:
    """Train backbone ``name`` at its depths, the last layers first; ``fits`` is what ``time_epochs`` adds to."""
    side, freezes = NETWORKS[name]
    start(seed=1)
    row = BACKBONES[name]
    backbone = row.build(side)
    head = build_head(backbone.architecture.features("average"), hidden=[128], dropout=0.2, classes=CLASSES)
    random, labels = np.random.default_rng(1), np.arange(images) % CLASSES
    whole = multiply_adds(build_network(backbone, "average", head))
    for freeze in freezes:
        cut = resolve_freeze(backbone.architecture, freeze)
        freeze_layers(backbone.model, cut.frozen, train_batchnorm=False)
        model = build_trainable_part(backbone, cut.layer, "average", head)
        inputs = random.random((images, *model.input_shape[1:]), np.float32)
        train.fit(
            model, name, ArrayData(inputs, labels, CLASSES), None, train.TrainingConfig(1 + epochs, 1e-5, 32, seed=1)
        )
        macs = multiply_adds(model)
        parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
        seconds = statistics.median(fits[-1][1:])
        yield Depth(freeze, macs / whole, parameters, 3 * macs * images / 1e9, seconds)


def multiply_adds(model: keras.Model) -> int:
    """Return the multiplications (each with an addition) of one image's way through convolutions and dense layers.

    Each number of a kernel is used once at each place of the output; what other layers do is little beside it.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.Model) or not layer.weights:
            continue
        kernels = [weight for weight in layer.weights if "kernel" in weight.name]
        places = math.prod(layer.output.shape[1:-1])
        total += places * sum(math.prod(kernel.shape) for kernel in kernels)
    return total


def draw(found: dict[str, list[Depth]], path: Path) -> None:
    """Draw seconds over multiply-adds, with the line through the origin that fits best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 4), layout="constrained")
    for axes, (name, depths_found) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        macs, seconds = (np.array([getattr(d, what) for d in depths_found]) for what in ("gmacs", "seconds"))
        axes.plot([0, macs.max()], [0, macs.max() * (macs @ seconds) / (macs @ macs)], color="0.7")
        axes.plot(macs, seconds, "o")
        for depth in depths_found:
            axes.annotate(
                depth.freeze, (depth.gmacs, depth.seconds), xytext=(-6, 4), textcoords="offset points", ha="right"
            )
        axes.set(title=name, xlabel="thousand million multiply-adds an epoch", ylabel="seconds an epoch")
        axes.set(xlim=0, ylim=0)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
