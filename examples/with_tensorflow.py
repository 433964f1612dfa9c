"""Classify images with TensorFlow (a SavedModel): python examples/with_tensorflow.py photo.jpg other.jpg."""

# pip install numpy pillow tensorflow    (for handwriting, also scipy)
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, "data/export")
from preprocess import load

classes = json.loads(Path("data/export/model.json").read_text(encoding="utf-8"))["classes"]
model = tf.saved_model.load("data/export/saved_model")
pixels = np.stack([load(Path(name).read_bytes()) for name in sys.argv[1:]])
probabilities = model.signatures["serving_default"](pixels=tf.constant(pixels))["probabilities"].numpy()
for name, row in zip(sys.argv[1:], probabilities, strict=True):
    print(f"{name}  {classes[row.argmax()]}  {row.max():.4f}")
