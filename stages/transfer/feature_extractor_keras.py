"""Run the frozen part of a backbone in the framework: on GPUs, or in bfloat16."""

from collections.abc import Sequence
from pathlib import Path

# isort: off
from stages.compute.runtime import device_count, exact, sees_gpu, start_once  # first: it imports the framework

# isort: on
import keras

from stages.backbones.pretrained import read_pretrained
from stages.compute.build import bottom, compute_in
from stages.compute.forward import Forward
from stages.transfer.feature_extractor import Frozen


def open_keras(
    pretrain: Path, kept: Sequence[str], pooling: str, precision: str, measuring: bool, for_gpu: bool
) -> Frozen | None:
    """Return the frozen part as ``stages.transfer.feature_extractor.open_frozen`` does; all devices share the batches.

    Args:
        measuring: whether a GPU computes with all digits of float32.
        for_gpu: whether the framework was chosen only because there is a GPU. Then None is returned if it does not see
            one, as without NVIDIA's libraries.
    """
    start_once()
    if for_gpu and not sees_gpu():
        return None
    pretrained = read_pretrained(pretrain)
    backbone = compute_in(pretrained.backbone, precision)
    network = bottom(backbone, pretrained.preprocessing, kept, pooling)
    forward = Forward(network)
    devices = device_count()
    where = f"{keras.backend.backend()} in {precision} on {devices} device{'s' * (devices > 1)}"
    return Frozen(exact()(forward) if measuring else forward, forward.batch_size, 1, where)
