// node examples/with_node_alone.mjs photo.jpg …    (npm install onnxruntime-node sharp; photographs, not handwriting)
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { findDraftScale, makePixels } from "../stages/browser/preprocess.js";

const { classes, contract, input } = JSON.parse(readFileSync("data/export/model.json", "utf8"));
const session = await InferenceSession.create("data/export/model.onnx");
for (const name of process.argv.slice(2)) {
  const file = sharp(name).autoOrient().toColorspace("srgb").ensureAlpha();
  const { data, info } = await file.raw().toBuffer({ resolveWithObject: true });
  const scale = (await file.metadata()).format === "jpeg" ? findDraftScale(info.width, info.height, contract) : 1;
  const pixels = makePixels({ width: info.width, height: info.height, data, scale }, contract);
  const { probabilities } = await session.run({ pixels: new Tensor("uint8", pixels, [1, ...input.shape.slice(1)]) });
  const best = probabilities.data.indexOf(Math.max(...probabilities.data));
  console.log(`${name}  ${classes[best]}  ${probabilities.data[best].toFixed(4)}`);
}
