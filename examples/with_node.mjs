// node examples/with_node.mjs photo.jpg …    (npm install onnxruntime-node; Python with preprocess.py makes the pixels)
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const { classes, input } = JSON.parse(readFileSync("data/export/model.json", "utf8"));
const session = await InferenceSession.create("data/export/model.onnx");
for (const name of process.argv.slice(2)) {
  const pixels = new Uint8Array(execFileSync("python3", ["data/export/preprocess.py", name]));
  const { probabilities } = await session.run({ pixels: new Tensor("uint8", pixels, [1, ...input.shape.slice(1)]) });
  const best = probabilities.data.indexOf(Math.max(...probabilities.data));
  console.log(`${name}  ${classes[best]}  ${probabilities.data[best].toFixed(4)}`);
}
