/**
 * From a decoded image to the pixels that a network sees: stages/images/load.py in JavaScript.
 *
 * The arithmetic is Pillow's, so a PNG file gives the same bytes as in Python. Nothing here needs a browser.
 *
 *     import { makePixels } from "./preprocess.js";
 *     const card = await (await fetch("model.json")).json();
 *     const pixels = makePixels(image, card.contract);   // Uint8Array, (size, size, channels)
 *
 * An image is {width, height, data}: red, green, blue and alpha of each pixel, 8 bits each, alpha not multiplied in.
 * Or, with gray values of more than 8 bits, {width, height, values, transparent}: numbers, one of which may stand for
 * transparent pixels. `scale` is 2, 4 or 8 if Python decodes the file at 1/2, 1/4 or 1/8 of its size, and `orientation`
 * says how the file was turned, 1 to 8.
 */

import { normalizeInk } from "./ink.js";
import { resize, rint, shrinkByAveraging } from "./resample.js";

const OVERSAMPLING = 2; // a large JPEG is decoded at this many times the network's size, or more

/**
 * Turn an image into the pixels of a network's input.
 * @param {object} image as above, upright
 * @param {object} contract that of model.json
 * @returns {Uint8Array} (size, size, channels)
 */
export function makePixels(image, contract) {
  const { size, channels } = contract;
  const invert = contract.polarity === "dark_on_light";
  const ink = contract.form === "ink";
  const plane = convert(image.values ? convertTo8Bits(image, contract.range) : image, ink ? 1 : channels);
  if (ink) return repeat(normalizeInk(plane, size, invert), channels);
  return makeSquare(shrinkByAveraging(plane, image.scale || 1, image.orientation), size, contract.fit, invert);
}

/**
 * Return how much smaller Python decodes a JPEG file: 1, 2, 4 or 8 (stages/images/load.py).
 * @param {number} width of the file, in pixels
 * @param {number} height likewise
 * @param {object} contract that of model.json
 */
export function findDraftScale(width, height, contract) {
  if (contract.form === "ink") return 1;
  const times = Math.floor(Math.min(width, height) / (OVERSAMPLING * contract.size));
  return [8, 4, 2].find((scale) => times >= scale) || 1;
}

/** Map gray values of more than 8 bits to black and white; transparent pixels become white. */
function convertTo8Bits({ width, height, values, transparent }, range) {
  const [low, high] = range || [0, 65535];
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let i = 0; i < values.length; i++) {
    if (values[i] === transparent) continue;
    const share = (Math.min(Math.max(values[i], low), high) - low) * (255 / (high - low));
    data.fill(rint(share), i * 4, i * 4 + 3);
  }
  return { width, height, data };
}

/** Put an image on white and convert it to planes: ITU-R 601 luminance (1 channel), or red, green and blue (3). */
function convert({ width, height, data }, channels) {
  const out = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) {
    const alpha = data[from + 3];
    const red = onWhite(data[from], alpha);
    const green = onWhite(data[from + 1], alpha);
    const blue = onWhite(data[from + 2], alpha);
    if (channels === 1) {
      out[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    } else {
      out[to] = red;
      out[to + 1] = green;
      out[to + 2] = blue;
    }
  }
  return { width, height, channels, data: out };
}

/** Blend a value with white, as Pillow's alpha_composite does: 7 bits of precision, rounded division by 255. */
function onWhite(value, alpha) {
  if (alpha === 255) return value;
  const blended = value * alpha * 128 + 255 * (255 * 128 - alpha * 128) + (0x80 << 7);
  return ((blended >> 8) + blended) >> 8 >> 7;
}

/** Fit an image into a square; bars are black in the result, inverted or not. */
function makeSquare(image, size, fit, invert) {
  const { width, height, channels } = image;
  const longest = Math.max(width, height);
  const shortest = Math.min(width, height);
  let [wide, high, box] = [size, size, [0, 0, width, height]];
  if (fit === "crop") {
    const [left, top] = [(width - shortest) / 2, (height - shortest) / 2];
    box = [left, top, left + shortest, top + shortest];
  } else if (fit === "pad") {
    [wide, high] = [width, height].map((side) => Math.max(1, rint((side * size) / longest)));
  }
  const small = resize(image, wide, high, box);
  const [left, top] = [Math.floor((size - wide) / 2), Math.floor((size - high) / 2)];
  const out = new Uint8Array(size * size * channels);
  for (let y = 0; y < high; y++) {
    const row = small.data.subarray(y * wide * channels, (y + 1) * wide * channels);
    out.set(invert ? row.map((value) => 255 - value) : row, ((top + y) * size + left) * channels);
  }
  return out;
}

/** Repeat a gray image in all channels. */
function repeat(gray, channels) {
  return Uint8Array.from({ length: gray.length * channels }, (_, i) => gray[Math.floor(i / channels)]);
}
