"""The tutorial's loop in plain Keras: the frozen network runs again in every epoch. Nothing here is of this project.

    python -m tests.benchmarks.plain_loop FOLDER WEIGHTS [--size 160] [--epochs 10 5] [--network MobileNetV2 1.0]

FOLDER holds train/, val/ and test/, each with class folders of JPEG or PNG files; WEIGHTS is a file of MobileNetV2, or
another network of keras.applications with a width, without classifier; or "none": the tutorials' three-convolution CNN
trains from scratch for all epochs. As in TensorFlow's tutorial "Transfer learning and fine-tuning": images are read
from their files in batches of 32, the next being made ready meanwhile; a head of 128 units trains on the frozen network
with Adam at 0.001, then the last 30 layers with it at 0.00001, BatchNormalization in inference mode throughout; each
epoch is validated.
Prints one line of JSON: seconds of each part and of its epochs, test accuracies, and the most resident memory in MiB.
"""

import os
import time

BEGAN = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402  (after the clock: importing the framework is start-up, too)
import json  # noqa: E402
import resource  # noqa: E402
from itertools import pairwise  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

BATCH = 32


def main() -> None:
    """Train, test and print what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.plain_loop",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, nargs=2, default=[10, 5], metavar=("HEAD", "THAWED"))
    parser.add_argument("--network", nargs=2, default=["MobileNetV2", "1.0"], metavar=("NAME", "WIDTH"))
    parser.add_argument("--thawed", type=int, default=30, help="layers, from the end")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(1)
    train, val, test = (images(arguments.folder / name, arguments.size) for name in ("train", "val", "test"))
    classes = sum(path.is_dir() for path in (arguments.folder / "train").iterdir())
    if arguments.weights == Path("none"):
        base, model = build_small(arguments.size, classes)
        arguments.epochs = [sum(arguments.epochs), 0]
    else:
        name, width = arguments.network
        base, model = build(name, float(width), arguments.weights, arguments.size, classes)
    said: dict[str, Any] = {}
    began = lap(said, "startup", BEGAN)

    def learn(learning_rate: float, epochs: int) -> list[float]:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
        times = [time.perf_counter()]
        each = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: times.append(time.perf_counter()))
        model.fit(train, validation_data=val, epochs=epochs, verbose=0, callbacks=[each])
        return [end - begin for begin, end in pairwise(times)]

    said["head_epochs"] = learn(1e-3, arguments.epochs[0])
    began = lap(said, "head", began)
    said["head_accuracy"] = model.evaluate(test, verbose=0)[1]  # not a part of the tutorial: no lap
    began = time.perf_counter()
    base.trainable = True
    for place, layer in enumerate(base.layers):
        if place < len(base.layers) - arguments.thawed or isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    said["finetune_epochs"] = learn(1e-5, arguments.epochs[1]) if arguments.epochs[1] else []
    began = lap(said, "finetune", began)
    said["finetuned_accuracy"] = model.evaluate(test, verbose=0)[1]
    lap(said, "test", began)
    said["test_images"] = len(test.file_paths)
    said["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(said))


def images(folder: Path, size: int) -> tf.data.Dataset:
    """Return labeled images of class folders in batches, those to learn from in another order each epoch."""
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=BATCH, shuffle=folder.name == "train", seed=1, verbose=False
    )
    ready = data.prefetch(tf.data.AUTOTUNE)
    ready.file_paths = data.file_paths
    return ready


def build(name: str, width: float, weights: Path, size: int, classes: int) -> tuple[keras.Model, keras.Model]:
    """Return the frozen network, and the model from pixels to logits around it."""
    network = getattr(keras.applications, name)
    base = network(include_top=False, weights=str(weights), input_shape=(size, size, 3), alpha=width)
    base.trainable = False
    pixels = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    x = layers.Dropout(0.2)(layers.Dense(128, activation="relu")(x))
    return base, keras.Model(pixels, layers.Dense(classes)(x))


def build_small(size: int, classes: int) -> tuple[keras.Model, keras.Model]:
    """Return the tutorials' three-convolution CNN, twice: all of it trains."""
    pixels = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    for filters in (32, 64, 128):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(x))
    x = layers.Dense(128, activation="relu")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(pixels, layers.Dense(classes)(layers.Dropout(0.2)(x)))
    return model, model


def lap(said: dict[str, Any], name: str, began: float) -> float:
    """Note the seconds since ``began``; return the time now."""
    now = time.perf_counter()
    said[name] = now - began
    return now


if __name__ == "__main__":
    main()
