"""Train the head on the stored features, then head and thawed layers together on the stored activations.

    python -m stages.finetune

writes data/finetune/: both models (head-only and fine-tuned) as weights and as graphs, their history, their predictions
for the validation images, and the table of layers. An interrupted run resumes where it stopped.
"""

from pathlib import Path

from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.resume import find_kept
from stages.base.stage import stage
from stages.compute.architecture import FEATURES
from stages.compute.backend import choose_backend
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.schema.finetune import Finetune
from stages.transfer.activations import Description, read_description
from stages.transfer.compatibility import check_solver
from stages.transfer.data import has_mixed_views, read_data

PARAMS = Path("params.yaml")
VAL = Path("data/split/val.parquet")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
FINETUNE = Path("data/finetune")


@stage("finetune")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "finetune", Finetune)
    backend, precision, devices = read_values(PARAMS, "compute", Compute, "backend", "precision", "devices")
    choose_backend(backend, precision)
    activations, val = read_description(EXTRACT), SplitFile(VAL)
    check(params, activations, val)
    from stages.transfer.finetuning import Inputs, train  # here: it imports the framework

    inputs = Inputs(PRETRAIN, EXTRACT, activations, val)
    with replace_folder(FINETUNE) as folder:
        train(params, inputs, folder, precision=precision, devices=devices, checkpoints=find_kept(FINETUNE))


def check(params: Finetune, activations: Description, val: SplitFile) -> None:
    """Raise UserError if the params ask for something that the data lack."""
    validation = read_data(EXTRACT, "val", FEATURES, activations)
    if len(val) != (0 if validation is None else len(validation)):
        raise UserError(f"{EXTRACT} was made from other images than {VAL}. Run `dvc repro extract`.")
    check_solver(params.head.solver, activations.fresh, has_mixed_views(EXTRACT))
    if params.checkpoint != "last" and validation is None:
        raise UserError(
            f"finetune.checkpoint: '{params.checkpoint}' needs validation images, and split.val left none. Set it to "
            f"last."
        )
    if params.calibrate != "none" and validation is None:
        raise UserError(
            f"finetune.calibrate: '{params.calibrate}' needs validation images, and split.val left none. Set it to "
            f"none."
        )


if __name__ == "__main__":
    main()
