"""Run the frozen part of a backbone in the framework: on GPUs, or in bfloat16."""

from collections.abc import Sequence
from pathlib import Path

from stages.backbones.pretrained import read_pretrained
from stages.compute.forward import Forward
from stages.compute.networks import build_frozen_part, set_precision
from stages.compute.runtime import backend_name, check_gpu, device_count, disable_tf32, ensure_started
from stages.transfer.feature_extractor import FeatureExtractor


def open_keras(
    pretrain: Path, outputs: Sequence[str], pooling: str, *, precision: str, measuring: bool, optional: bool
) -> FeatureExtractor | None:
    """Return the frozen part as ``feature_extractor.open_feature_extractor`` does; all devices share each batch.

    Args:
        pretrain: folder that ``pretrain`` wrote.
        outputs: see there.
        pooling: see there.
        precision: float32 or bfloat16.
        measuring: whether a GPU computes with all digits of float32.
        optional: whether ONNX Runtime can compute instead. Then None is returned if the framework sees no GPU, as
            without NVIDIA's libraries.
    """
    ensure_started()
    if optional and not check_gpu():
        return None
    backbone = read_pretrained(pretrain).backbone
    set_precision(backbone.model, precision)
    forward = Forward(build_frozen_part(backbone, outputs, pooling))
    devices = device_count()
    device = f"{backend_name()} in {precision} on {devices} device{'s' * (devices > 1)}"
    return FeatureExtractor(disable_tf32()(forward) if measuring else forward, forward.batch_size, 1, device)
