"""A web service around an exported model.

    pip install -r examples/fastapi/requirements.txt
    uvicorn --app-dir examples/fastapi app:app
    curl -F image=@photo.jpg http://localhost:8000/predict

The environment variable MODEL names another folder than data/export.
"""

import json
import os
import sys
from pathlib import Path

import onnxruntime
from fastapi import FastAPI, HTTPException, UploadFile

sys.path.insert(0, os.environ.get("MODEL", "data/export"))
from preprocess import BadImage, load

MODEL = Path(sys.path[0])
LARGEST = 20_000_000  # bytes of an image file

app = FastAPI()
classes = json.loads((MODEL / "model.json").read_text(encoding="utf-8"))["classes"]
session = onnxruntime.InferenceSession(MODEL / "model.onnx")


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, float]:
    """Return the probability of each class. FastAPI runs this function in a thread, so requests do not wait in line."""
    data = image.file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise HTTPException(413, f"expected at most {LARGEST:,} bytes")
    try:
        pixels = load(data)
    except BadImage as error:
        raise HTTPException(422, str(error)) from None
    probabilities = session.run(["probabilities"], {"pixels": pixels[None]})[0][0]
    return dict(zip(classes, map(float, probabilities), strict=True))
