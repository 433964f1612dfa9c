"""Run the frozen part once over the test images, so that ``evaluate`` can measure every experiment that shares it.

    python -m stages.extract_test [--ray]

writes data/extract_test/: NAME.npy, float32 (pixels: uint8), for the features and for the activations at each depth of
extract.freeze and extract.depths. Nothing that trains or selects reads it.
"""

from pathlib import Path

from stages.backbones.leakage import find_learned
from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_values
from stages.base.stage import stage
from stages.base.terminal import say, show_progress
from stages.cluster.cluster import open_cluster
from stages.compute.architecture import read_architecture
from stages.compute.backend import choose_backend
from stages.images.contract import Contract
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.transfer.activations import check_disk_space, read_description, tensor_shapes
from stages.transfer.extraction import FrozenPass, describe_run, keep_rows, measure_free, write_views
from stages.transfer.row_files import RowFiles

PARAMS = Path("params.yaml")
TEST = Path("data/split/test.parquet")
PRETRAIN = Path("data/pretrain")
LEARNED = PRETRAIN / "learned.npz"
EXTRACT = Path("data/extract")
EXTRACT_TEST = Path("data/extract_test")

SHOWN = 3  # images named in a refusal


@stage("extract_test")
def main() -> None:
    """Run the stage."""
    (backend,) = read_values(PARAMS, "compute", Compute, "backend")
    choose_backend(backend)
    description, split = read_description(EXTRACT), SplitFile(TEST)
    if not len(split):
        raise UserError(f"{TEST} holds no image: nothing can be measured. Leave some with split.test, such as 'rest'.")
    shapes = tensor_shapes(description.outputs, read_architecture(PRETRAIN), description.pooling, "float32")
    say(check_disk_space(shapes, len(split), measure_free(EXTRACT_TEST), "a smaller split.test"))
    refuse_learned(split)
    frozen = FrozenPass(PRETRAIN, description.outputs, description.pooling, Contract(**description.contract), backend)
    with open_cluster("extract_test") as cluster, replace_folder(EXTRACT_TEST) as folder:
        extractor = frozen.open()
        say(f"frozen part: {extractor.device}")
        with keep_rows(EXTRACT_TEST, folder, describe_run(frozen, extractor, [split], cluster)) as kept:
            files = RowFiles(kept, "", len(split))
            write_views(frozen, extractor, split, "test", files, cluster)
            files.move(folder)


def refuse_learned(split: SplitFile) -> None:
    """Raise UserError if ``pretrain`` learned from one of the test images."""
    if not LEARNED.exists():  # the weights were published, or are random
        return
    images = show_progress(split.images(), "comparing with what pretrain learned", len(split))
    if places := find_learned(LEARNED, images):
        sources = split.sources()
        named = [sources[place] for place in places[:SHOWN]]
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        raise UserError(
            f"{len(places)} of {len(split)} test images are among those that pretrain learned from: {', '.join(named)}"
            f"{more}. Their accuracy would say nothing about new images. Take another pretrain.source, or remove them "
            f"from it or from split.source."
        )


if __name__ == "__main__":
    main()
