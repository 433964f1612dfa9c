"""Make the backbone: load weights or a whole model, or train a network on a source data set.

    python -m stages.pretrain

writes data/pretrain/: architecture, weights and graph, the same whatever their origin; and, after a training, hashes of
the images it learned from.
"""

from pathlib import Path

from stages.backbones.onnx_backbone import read_onnx_backbone, write_onnx_backbone
from stages.backbones.registry import find_backbone
from stages.backbones.source import find_source
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.resume import find_kept
from stages.base.stage import stage
from stages.compute.backend import choose_backend
from stages.schema.compute import Compute
from stages.schema.pretrain import SOURCE, Pretrain

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")


@stage("pretrain")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "pretrain", Pretrain)
    backend, devices = read_values(PARAMS, "compute", Compute, "backend", "devices")
    if params.backbone != SOURCE:
        find_backbone(params.backbone, params.image_size)  # refuses an unknown name before the framework is imported
    source = find_source(params)
    choose_backend(backend)
    if source.is_graph:
        with replace_folder(PRETRAIN) as folder:
            write_onnx_backbone(folder, read_onnx_backbone(params, source))
        return
    from stages.backbones.pretraining import make_backbone  # here: it imports the framework

    with replace_folder(PRETRAIN) as folder:
        make_backbone(folder, params, source, devices=devices, checkpoints=find_kept(PRETRAIN))


if __name__ == "__main__":
    main()
