/** Resize images as Pillow does, in its fixed-point arithmetic: the same pixels, bit for bit. */

const BITS = 22; // of the weights' fractions: PRECISION_BITS of Pillow's Resample.c
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

/** Round half to even, as Python's round and NumPy's rint do. */
export function rint(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * Resize an image; when it shrinks, each pixel averages over all those that it covers.
 * @param {{width: number, height: number, channels: number, data: Uint8Array|Float32Array}} image
 * @param {number} width of the result
 * @param {number} height of the result
 * @param {number[]} box part to resize: left, top, right, bottom, in pixels
 * @param {string} filter "bilinear" or "box"
 * @returns an image of the same type of numbers
 */
export function resize(image, width, height, box = [0, 0, image.width, image.height], filter = "bilinear") {
  const [left, top, right, bottom] = box;
  const passes = [];
  if (width !== image.width || left !== 0 || right !== width) passes.push(["across", image.width, left, right, width]);
  if (height !== image.height || top !== 0 || bottom !== height) passes.push(["down", image.height, top, bottom, height]);
  const lost = [image.width - width, image.height - height];
  if (lost[1] > 0 && lost[1] > 2 * lost[0]) passes.reverse(); // as Pillow does since version 13
  return passes.reduce((now, [way, length, from, to, places]) => resample(now, makeWeights(length, from, to, places, filter), way), image);
}

/**
 * Shrink an image by a whole number, averaging over squares; this comes close to decoding a JPEG file at a smaller size.
 * @param {object} image as above, of 8 bits
 * @param {number} by 1, 2, 4 or 8
 * @param {number} orientation of the file, 1 to 8, which says at which sides incomplete squares lie
 */
export function shrinkByAveraging(image, by, orientation) {
  if (by === 1) return image;
  const [width, height] = [Math.ceil(image.width / by), Math.ceil(image.height / by)];
  const [left, top] = [
    [2, 3, 6, 7].includes(orientation) ? image.width - width * by : 0,
    [3, 4, 7, 8].includes(orientation) ? image.height - height * by : 0,
  ];
  const { channels, data } = image;
  const out = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const [from, bottom] = [Math.max(top + y * by, 0), Math.min(top + (y + 1) * by, image.height)];
    for (let x = 0; x < width; x++) {
      const [first, right] = [Math.max(left + x * by, 0), Math.min(left + (x + 1) * by, image.width)];
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let row = from; row < bottom; row++) {
          for (let column = first; column < right; column++) sum += data[(row * image.width + column) * channels + channel];
        }
        out[(y * width + x) * channels + channel] = sum / ((bottom - from) * (right - first)) + 0.5;
      }
    }
  }
  return { width, height, channels, data: out };
}

/**
 * Shrink an image to at most `longest` pixels a side by averaging; return a smaller one unchanged.
 * @param {object} image as above
 * @param {number} longest in pixels
 */
export function shrink(image, longest) {
  const scale = longest / Math.max(image.width, image.height);
  if (scale >= 1) return image;
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, rint(side * scale)));
  return resize(image, width, height, undefined, "box");
}

/** Return for each place of the result where its pixels start in the image, and their weights, which add up to 1. */
function makeWeights(length, from, to, places, filter) {
  const { support, weight } = FILTERS[filter];
  const scale = (to - from) / places;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: places }, (_, place) => {
    const center = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support * stretch + 0.5));
    const end = Math.min(length, Math.trunc(center + support * stretch + 0.5));
    const weights = new Float64Array(Math.max(0, end - first));
    let sum = 0;
    for (let x = 0; x < weights.length; x++) {
      weights[x] = weight((x + first - center + 0.5) * (1 / stretch));
      sum += weights[x];
    }
    return { first, weights: sum === 0 ? weights : weights.map((value) => value / sum) };
  });
}

/** Resample along one direction. */
function resample(image, places, direction) {
  const { width, height, channels, data } = image;
  const [wide, high] = direction === "across" ? [places.length, height] : [width, places.length];
  const step = direction === "across" ? channels : width * channels;
  const exact = data instanceof Float32Array;
  const out = exact ? new Float32Array(wide * high * channels) : new Uint8ClampedArray(wide * high * channels);
  places.forEach(({ first, weights }, place) => {
    const factors = exact ? weights : Int32Array.from(weights, (value) => Math.trunc(0.5 + value * (1 << BITS)));
    const lines = direction === "across" ? high : wide * channels;
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < (direction === "across" ? channels : 1); channel++) {
        let at = direction === "across" ? (line * width + first) * channels + channel : first * step + line;
        let sum = exact ? 0 : 1 << (BITS - 1);
        for (let x = 0; x < factors.length; x++, at += step) sum += data[at] * factors[x];
        const to = direction === "across" ? (line * wide + place) * channels + channel : place * wide * channels + line;
        out[to] = exact ? sum : sum >> BITS;
      }
    }
  });
  return { width: wide, height: high, channels, data: exact ? out : new Uint8Array(out.buffer) };
}
