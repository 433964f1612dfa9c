"""Run the frozen part of a backbone in the framework: on GPUs, or in bfloat16."""

from collections.abc import Sequence
from pathlib import Path

# isort: off
from stages.network.runtime import device_count, on_gpu, start, start_exact  # first: it imports the framework quietly

# isort: on
import keras

from stages.base.stage import say
from stages.network.build import bottom, compute_in
from stages.network.forward import Forward
from stages.network.frozen import Frozen
from stages.network.pretrained import read_pretrained
from stages.schema.compute import Compute


def open_keras(pretrain: Path, kept: Sequence[str], pooling: str, compute: Compute | None) -> Frozen | None:
    """Return the frozen part as ``stages.network.frozen.open_frozen`` does; ``compute`` None: exact, on one device.

    None where only a GPU speaks for the framework, and it sees none: without NVIDIA's libraries it computes on the CPU.
    """
    if compute:
        start(0, compute.devices)
    else:
        start_exact()
    if not on_gpu() and (compute is None or (compute.frozen == "auto" and compute.precision == "float32")):
        say(f"{keras.backend.backend()} does not see the GPU of this machine: pip install -e '.[gpu]'")
        return None
    pretrained = read_pretrained(pretrain)
    precision = compute.precision if compute else "float32"
    backbone = compute_in(pretrained.backbone, precision)
    network = bottom(backbone, pretrained.preprocessing, kept, pooling)
    forward = Forward(network, compute.batch_size if compute else "auto")
    devices = device_count()
    where = f"{keras.backend.backend()} in {precision} on {devices} device{'s' * (devices > 1)}"
    return Frozen(forward, forward.batch_size, where)
