"""Classify images with ONNX Runtime: python examples/with_onnxruntime.py photo.jpg other.jpg."""

# pip install numpy pillow onnxruntime    (for handwriting, also scipy)
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, "data/export")
from preprocess import load

classes = json.loads(Path("data/export/model.json").read_text(encoding="utf-8"))["classes"]
session = onnxruntime.InferenceSession("data/export/model.onnx")
pixels = np.stack([load(Path(name).read_bytes()) for name in sys.argv[1:]])
probabilities = session.run(["probabilities"], {"pixels": pixels})[0]
for name, row in zip(sys.argv[1:], probabilities, strict=True):
    print(f"{name}  {classes[row.argmax()]}  {row.max():.4f}")
