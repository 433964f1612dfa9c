"""How many images per second plain Keras runs through a frozen MobileNetV2, and nothing else.

    python -m tests.benchmarks.bare_pass WEIGHTS [--size 160] [--images 512]

Before the clock starts, batches of uint8 pixels are in memory and the network is compiled; its outputs are dropped. So
only inference is timed, in a tf.function, as Keras builds the network. The pixels are random, which does not change the
arithmetic. Prints one line of JSON: images per second with batches of 32 and of 64.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import time

import numpy as np
import tensorflow as tf
from keras import layers

from tests.benchmarks.plain_loop import build
from tests.helpers.command_line import command_line


def main() -> None:
    """Time the passes and print their speed."""
    parser = command_line(__file__, __doc__, "weights")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    base, _ = build(arguments.weights, arguments.size, classes=2)
    rescale, pool = layers.Rescaling(1 / 127.5, offset=-1), layers.GlobalAveragePooling2D()
    run = tf.function(lambda pixels: pool(base(rescale(pixels), training=False)), autograph=False)
    said = {}
    for size in (32, 64):
        count = max(1, arguments.images // size)
        ready = np.random.default_rng(1).integers(0, 256, (min(count, 8), size, *base.input_shape[1:]), np.uint8)
        batches = [tf.constant(batch) for batch in ready]
        run(batches[0])
        began = time.perf_counter()
        for number in range(count):
            run(batches[number % len(batches)]).numpy()
        said[str(size)] = count * size / (time.perf_counter() - began)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
