"""Make the backbone: load published weights, or train a network on a source data set.

    python -m stages.pretrain

writes data/pretrain/: architecture, weights and graph, the same whatever their origin; and, after a training, hashes of
the images it learned from.
"""

from pathlib import Path

from stages.backbones.registry import find_backbone
from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.compute.backend import choose_backend
from stages.schema.compute import Compute
from stages.schema.pretrain import Pretrain
from stages.sources.archives import is_archive

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")

# Weights in unsupported formats, and the file in the folder of a SavedModel.
OTHER_WEIGHTS = (".ckpt", ".hdf5", ".keras", ".npz", ".onnx", ".pb", ".pt", ".pth", ".safetensors", ".tflite")
_UNREADABLE = (
    "pretrain.source: expected a data set, an archive of one, or weights without classifier as NAME.h5 (layout of "
    "keras.applications) or NAME.weights.h5 (Keras 3); received {}. Save the weights with "
    "`model.save_weights('NAME.weights.h5')`."
)


@stage("pretrain")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "pretrain", Pretrain)
    backend, devices = read_values(PARAMS, "compute", Compute, "backend", "devices")
    find_backbone(params.backbone, params.image_size)  # refuses an unknown name before the framework is imported
    weights = find_weights(Path(params.source))
    choose_backend(backend)
    from stages.backbones.pretraining import make_backbone  # here: it imports the framework

    with replace_folder(PRETRAIN) as folder:
        checkpoints = PRETRAIN.with_name(f".resume-{PRETRAIN.name}")
        make_backbone(folder, params, weights, devices=devices, checkpoints=checkpoints)


def find_weights(source: Path) -> Path | None:
    """Return the weights file that ``source`` is or contains; None if it is a data set.

    Raises:
        UserError: there is nothing, more than one weights file, or one in an unsupported format.
    """
    if source.is_file():
        if source.suffix != ".h5" and not is_archive(source.name):
            raise UserError(_UNREADABLE.format(source))
        return source if source.suffix == ".h5" else None
    if not source.is_dir():
        raise UserError(
            f"pretrain.source: expected a data set folder or a weights file; there is no {source}. "
            f"Add it to fetch.items, put it into data/own/, or run `dvc pull`."
        )
    inside = sorted(source.iterdir())
    if others := [path for path in inside if path.suffix.lower() in (*OTHER_WEIGHTS, ".h5") and path.suffix != ".h5"]:
        raise UserError(_UNREADABLE.format(others[0]))
    files = [path for path in inside if path.suffix == ".h5"]
    if len(files) > 1:
        raise UserError(
            f"pretrain.source: expected one weights file in {source}, found {', '.join(f.name for f in files)}."
        )
    return files[0] if files else None


if __name__ == "__main__":
    main()
