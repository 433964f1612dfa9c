"""LiteRT (once TensorFlow Lite): the format of phones and small devices. TensorFlow only; running it needs none."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from stages.base.errors import UserError
from stages.compute.native_logs import quiet


def write_litert(module: Any, path: Path) -> None:
    """Write a module of ``stages.formats.serving`` as a LiteRT model. The converter gives the same bytes each time.

    Only LiteRT's own operations are allowed: the runtimes do not hold TensorFlow's. The number of images is left open:
    the file says 1, and its input can be resized.

    Raises:
        UserError: the network has an operation that LiteRT lacks.
    """
    function = module.serve.get_concrete_function()
    with quiet():
        try:
            content = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
        except Exception as error:  # the converter's own error class is not public
            failure = UserError(
                f"litert: expected a network of operations that LiteRT has, received one it cannot convert "
                f"({_first_line(error)}). Leave litert out of export.formats."
            )
        else:
            path.write_bytes(content)
            return
    raise failure from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
