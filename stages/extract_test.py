"""Run the frozen part once over the test images: ``evaluate`` measures every experiment that shares it from there.

    python -m stages.extract_test

writes data/extract_test/: NAME.npy, float32, for the features and for the activations at each depth that
``data/extract`` keeps. Nothing that trains or chooses reads it.
"""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np

from stages.base.stage import UserError, progress, say, stage, whole
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.packed import Packed
from stages.network.architecture import read_architecture
from stages.network.frozen import open_frozen
from stages.network.kept import RowWriter, read_description, room, shapes

TEST = Path("data/split/test.parquet")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
EXTRACT_TEST = Path("data/extract_test")


@stage("extract_test")
def main() -> None:
    """Run the stage."""
    description, split = read_description(EXTRACT), Packed(TEST)
    if not len(split):
        raise UserError(f"{TEST} holds no image: nothing can be measured. Leave some with split.test, such as 'rest'.")
    kept = shapes(description.outputs, read_architecture(PRETRAIN), description.pooling, "float32")
    say(room(kept, len(split), shutil.disk_usage(EXTRACT_TEST.parent).free, "a smaller split.test"))
    frozen = open_frozen(PRETRAIN, description.outputs, description.pooling, None)
    say(f"frozen part: {frozen.where}")
    images = load_all(progress(split.images(), "test images", len(split)), Contract(**description.contract))
    with whole(EXTRACT_TEST) as folder:
        files = {name: RowWriter(folder / f"{name}.npy", len(split)) for name in kept}
        batches = map(np.stack, iter(lambda: list(islice(images, frozen.batch_size)), []))
        for outputs in frozen.outputs(batches):
            for name, values in outputs.items():
                files[name].add(values)


if __name__ == "__main__":
    main()
