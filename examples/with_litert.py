"""Classify images with LiteRT: python examples/with_litert.py photo.jpg other.jpg."""

# pip install numpy pillow ai-edge-litert    (for handwriting, also scipy)
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, "data/export")
from preprocess import load

classes = json.loads(Path("data/export/model.json").read_text(encoding="utf-8"))["classes"]
interpreter = Interpreter("data/export/model.tflite")
pixels = np.stack([load(Path(name).read_bytes()) for name in sys.argv[1:]])
probabilities = interpreter.get_signature_runner("serving_default")(pixels=pixels)["probabilities"]
for name, row in zip(sys.argv[1:], probabilities, strict=True):
    print(f"{name}  {classes[row.argmax()]}  {row.max():.4f}")
