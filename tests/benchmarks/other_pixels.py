"""Trained on some pixels, asked about others: a tutorial's mistake beside the one loader, on photographs of digits.

    python -m tests.benchmarks.other_pixels PHOTOGRAPHS WEIGHTS [--digit 4]

PHOTOGRAPHS is a folder of class folders 0 … 9, WEIGHTS a file of MobileNetV2. The recipe mobilenet_own_digits runs on
them. Then, on the same split, the same network is trained as the tutorial has it: ImageDataGenerator calls
preprocessing_function=lambda x: 1.0 - x on 0-255 values and rescales by 1/255 afterwards (about -1 to 0); but to
predict it computes 1 - x/255 (0 to 1). Prints what both say of the test photographs of one digit.
"""

# isort: off
from stages.compute.runtime import start  # first: it imports the framework quietly

# isort: on
import io
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers
from PIL import Image

from tests.helpers.benchmark import bring_data, project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import repro, run

SIDE = 96


def main() -> None:
    """Run both and print a table."""
    parser = command_line(__file__, __doc__, "photographs", "weights")
    parser.add_argument("--digit", default="4")
    arguments = parser.parse_args()
    with project_copy("mobilenet_own_digits") as here:
        source, _ = bring_data(here, arguments.photographs, arguments.weights)
        repro(here)
        run("dvc", "repro", "export", cwd=here)
        (train, labels, _), (test, answers, sources) = (
            photographs(here / "data" / "split" / f"{name}.parquet") for name in ("train", "test")
        )
        chosen = np.flatnonzero(np.array([Path(name).parent.name for name in sources]) == arguments.digit)
        files = [f"{source}/{sources[number]}" for number in chosen]
        print(run("python", "-m", "stages", "predict", *files, cwd=here))
    network = tutorial(train, labels, arguments.weights)
    for title, pixels in (
        ("on the pixels it was trained with", (1.0 - test) / 255),
        ("as it predicts", 1 - test / 255),
    ):
        said = np.argmax(network.predict(pixels, verbose=0), axis=1)
        print(f"the tutorial's network {title}: {np.mean(said == answers):.1%} of {len(test)} test photographs right")
        print("\n".join(f"  {sources[number]:<12} {said[number]}" for number in chosen))


def photographs(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return a split's images as the tutorial loads them, float32 0-255 (n, SIDE, SIDE, 3), its labels and sources."""
    rows = pd.read_parquet(path)
    images = [
        Image.open(io.BytesIO(image["bytes"])).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
        for image in rows["image"]
    ]
    return np.stack(images).astype(np.float32), rows["label"].to_numpy(), list(rows["source"])


def tutorial(images: np.ndarray, labels: np.ndarray, weights: Path) -> keras.Model:
    """Return the tutorial's network, trained for 20 epochs as there: rotation 20°, shift 0.2, shear, zoom 0.1."""
    start(seed=1)
    base = keras.applications.MobileNetV2(include_top=False, weights=str(weights), input_shape=(SIDE, SIDE, 3))
    base.trainable = False
    model = keras.Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dense(128, "relu"),
            layers.Dropout(0.3),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        preprocessing_function=lambda x: 1.0 - x,
        rescale=1 / 255,
        rotation_range=20,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.1,
    )
    model.fit(generator.flow(images, labels, batch_size=16, seed=1), epochs=20, verbose=0)
    return model


if __name__ == "__main__":
    main()
