// Make the pixels of PNG files in Node: for each {file, contract, out} of the JSON list on standard input.
import { readFileSync, writeFileSync } from "node:fs";

const code = process.argv[2];
const [{ decodePng }, { turnUpright }, { makePixels }] = await Promise.all(
  ["png", "exif", "preprocess"].map((name) => import(`${code}/${name}.js`)),
);
for (const { file, contract, out } of JSON.parse(readFileSync(0, "utf8"))) {
  const image = await decodePng(new Uint8Array(readFileSync(file)));
  writeFileSync(out, makePixels(turnUpright(image, image.orientation), contract));
}
