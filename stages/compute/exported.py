"""Run exported models, each format with its own runtime. Only the runtime in use is imported."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from stages.base.processor import describe_processor

# Names in every exported file.
INPUT, OUTPUT, SIGNATURE = "pixels", "probabilities", "serving_default"
DISTANCE = "distance"  # an output of ONNX files with export.unknown

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def open_onnx(path: Path, threads: int | None = None) -> Run:
    """Return the function of an ONNX file, from uint8 pixels (n, size, size, channels) to its outputs by name.

    These are the probabilities (n, classes) and, if the file has them, distances (n,).

    Args:
        path: of the file.
        threads: that share the work for a batch; None: as many as the runtime chooses.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Without VNNI, x86 adds two products of int8 in 16 bits, which may overflow. With it, this only takes longer.
    processor = describe_processor()
    if processor.startswith(("x86", "AMD64")) and "vnni" not in processor:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    names = [output.name for output in session.get_outputs()]

    def run(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(zip(names, map(np.asarray, session.run(names, {INPUT: pixels})), strict=True))

    return run


def open_litert(path: Path, threads: int | None = None) -> Run:
    """Return the function of a LiteRT file, like that of ``open_onnx``."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    signature = interpreter.get_signature_runner(SIGNATURE)  # resizes the input to the images it is given

    def run(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return {OUTPUT: np.asarray(signature(**{INPUT: pixels})[OUTPUT])}

    return run


def open_keras(path: Path, threads: int | None = None) -> Run:
    """Return the function of a .keras file, like that of ``open_onnx``; the threads are TensorFlow's."""
    _limit_tensorflow(threads)
    from stages.compute.runtime import keras

    model = keras.models.load_model(path, compile=False)

    def run(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return {OUTPUT: np.asarray(keras.ops.convert_to_numpy(model(pixels, training=False)))}

    return run


def open_saved_model(folder: Path, threads: int | None = None) -> Run:
    """Return the function of a SavedModel, like that of ``open_onnx``; the threads are those of the whole process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else TensorFlow logs about its devices
    _limit_tensorflow(threads)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[SIGNATURE]

    def run(pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        assert loaded is not None  # without a reference to it, its weights are gone
        return {OUTPUT: np.asarray(signature(**{INPUT: tf.constant(pixels)})[OUTPUT])}

    return run


def _limit_tensorflow(threads: int | None) -> None:
    """Limit the threads of TensorFlow, which reads these when it starts."""
    if threads:
        os.environ |= {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
