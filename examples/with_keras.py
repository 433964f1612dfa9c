"""Classify images with Keras: python examples/with_keras.py photo.jpg other.jpg."""

# pip install numpy pillow keras tensorflow    (for handwriting, also scipy)
import json
import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, "data/export")
from preprocess import load

classes = json.loads(Path("data/export/model.json").read_text(encoding="utf-8"))["classes"]
model = keras.saving.load_model("data/export/model.keras")
pixels = np.stack([load(Path(name).read_bytes()) for name in sys.argv[1:]])
probabilities = model.predict(pixels, verbose=0)
for name, row in zip(sys.argv[1:], probabilities, strict=True):
    print(f"{name}  {classes[row.argmax()]}  {row.max():.4f}")
