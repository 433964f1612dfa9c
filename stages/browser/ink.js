/**
 * Convert an image of handwriting to MNIST's form: stages/images/ink.py in JavaScript, which explains each step.
 *
 * Numbers have the same precision as there (32 bits where Math.fround stands).
 */

import { clamp, crop, dilate, erode, findNearestZero, label, makeArray, map, maximum, pad } from "./filters.js";
import { resize, rint, shrink } from "./resample.js";
import { removeRuling } from "./ruling.js";

const [BOX, CENTER, STROKE] = [20 / 28, 14.5 / 28, 2.5 / 20];
const [WORK, PAPER, WINDOW] = [320, 96, 3];
const [CONTRAST, SEPARATION, FAINT, SMALLEST, SPECK, WHOLE] = [0.1, 4, 0.2, 0.03, 0.05, 0.1];
const [MNIST, FILLED, UPRIGHT] = [28, 0.85, 0.5];

const float = Math.fround;

/**
 * Find the handwriting in a gray image and convert it to MNIST's form.
 * @param {{width: number, height: number, data: Uint8Array}} gray
 * @param {number} side of the result, in pixels
 * @param {boolean} darkOnLight ink on paper, or light strokes on a dark background
 * @returns {Uint8Array} (side, side), strokes up to 255 on 0
 * @throws {Error} no handwriting found
 */
export function normalizeInk(gray, side, darkOnLight) {
  const data = darkOnLight ? gray.data : gray.data.map((value) => 255 - value);
  return center(findHandwriting({ ...gray, channels: 1, data }), side);
}

function findHandwriting(photograph) {
  const image = shrink(removeRuling(photograph), WORK);
  let darkness = measureDarkness(image);
  let written = findInk(darkness);
  const [top, bottom, left, right] = findBox(written.data, written);
  const around = [Math.max(top - 1, 0), Math.min(bottom + 1, image.height), Math.max(left - 1, 0), Math.min(right + 1, image.width)];
  [darkness, written] = [crop(darkness, ...around), crop(written, ...around)];
  const inside = darkness.data.filter((_, place) => written.data[place]).sort();
  const full = median(inside);
  const near = dilate(written, 3).data;
  const strokes = map(darkness, (value, place) => {
    const ink = written.data[place] || (near[place] && value > float(float(FAINT) * inside[0]));
    return ink ? Math.min(float(value / full), 1) : 0;
  });
  const thick = thicken(strokes, written);
  if (isPatch(center(thick, MNIST).map((value) => value > 127))) fail();
  return thick;
}

function fail() {
  throw new Error("no handwriting found");
}

/** Return the box of a mask's true places: top, bottom, left, right, the last ones excluded. */
function findBox(mask, { width }) {
  let [top, bottom, left, right] = [Infinity, 0, Infinity, 0];
  mask.forEach((value, place) => {
    if (!value) return;
    const [y, x] = [Math.floor(place / width), place % width];
    [top, bottom, left, right] = [Math.min(top, y), Math.max(bottom, y + 1), Math.min(left, x), Math.max(right, x + 1)];
  });
  if (bottom === 0) fail();
  return [top, bottom, left, right];
}

/** Return the median of sorted values of 32 bits. */
function median(sorted) {
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : float((sorted[half - 1] + sorted[half]) / 2);
}

function isPatch(mask) {
  const [top, bottom, left, right] = findBox(mask, { width: MNIST });
  const [high, wide] = [bottom - top, right - left];
  const filled = mask.reduce((sum, value) => sum + value, 0) > FILLED * high * wide;
  return Math.min(high, wide) > UPRIGHT * Math.max(high, wide) && filled;
}

function measureDarkness(image) {
  const small = shrink(image, PAPER);
  const window = Math.floor(Math.max(small.width, small.height) / WINDOW) + 1;
  const light = makeArray(small.height, small.width, new Float32Array(small.data));
  let paper = erode(erode(dilate(pad(light, [window, window]), window), window), 3);
  paper = crop(paper, window, paper.height - window, window, paper.width - window);
  const { data } = resize({ ...paper, channels: 1 }, image.width, image.height);
  return map({ ...image, data }, (value, place) => {
    return clamp(float(1 - float((image.data[place] + 1) / float(value + 1))), 0, 1);
  });
}

function findInk(darkness) {
  const { height, width, data } = darkness;
  const threshold = float(Math.max(findOtsu(data), CONTRAST));
  const mask = map(darkness, (value) => Number(value > threshold), Uint8Array);
  const [inked, paper] = [1, 0].map((kind) => data.filter((_, place) => mask.data[place] === kind));
  if (!inked.length || !paper.length) fail();
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const usual = mean(paper);
  const deviation = Math.sqrt(mean(Float64Array.from(paper, (value) => (value - usual) ** 2)));
  if (mean(inked) - usual < SEPARATION * deviation) fail();
  const { parts, count } = label(mask);
  let weight = new Float64Array(count + 1);
  data.forEach((value, place) => (weight[parts[place]] += value));
  weight[0] = 0;
  const whole = weight.slice();
  parts.forEach((part, place) => {
    const [y, x] = [Math.floor(place / width), place % width];
    if (y === 0 || x === 0 || y === height - 1 || x === width - 1) whole[part] = 0;
  });
  if (Math.max(...whole) > WHOLE * Math.max(...weight)) weight = whole;
  const most = Math.max(...weight);
  const main = weight.indexOf(most);
  if (measureLength(parts.map((part) => part === main), darkness) < SMALLEST * Math.max(height, width)) fail();
  return map(mask, (value, place) => (value && weight[parts[place]] >= SPECK * most ? 1 : 0));
}

function measureLength(mask, size) {
  const [top, bottom, left, right] = findBox(mask, size);
  return Math.max(bottom - top, right - left);
}

function findOtsu(values) {
  const counts = new Float64Array(256);
  for (const value of values) counts[Math.trunc(float(value * 255))]++;
  const total = counts.reduce((sum, count, level) => sum + count * level, 0);
  let [best, place, below, sum] = [-1, 0, 0, 0];
  for (let level = 0; level < 256; level++) {
    below += counts[level];
    sum += counts[level] * level;
    const above = values.length - below;
    const apart = sum / Math.max(below, 1) - (total - sum) / Math.max(above, 1);
    const between = below * above * apart ** 2;
    if (between > best) [best, place] = [between, level];
  }
  return (place + 1) / 255;
}

function thicken(strokes, written) {
  const edged = pad(written, [1, 1], 0);
  const { distance } = findNearestZero(edged);
  const most = maximum(makeArray(edged.height, edged.width, distance), 3).data;
  const middle = distance.filter((value, place) => value > 0 && value === most[place]);
  const width = (2 * middle.reduce((sum, value) => sum + value, 0)) / middle.length - 0.5;
  const missing = rint((STROKE * measureLength(written.data, written) - width) / 2);
  if (missing <= 0) return strokes;
  const [wide, ink] = [pad(strokes, [missing, missing], 0), pad(written, [missing, missing], 0)];
  const paper = findNearestZero(map(ink, (value) => 1 - value));
  const strongest = maximum(wide, 3).data;
  return map(wide, (value, place) => {
    const reach = clamp(missing + 1 - paper.distance[place], 0, 1);
    return Math.max(value, strongest[paper.nearest[place]] * reach);
  });
}

function center(strokes, side) {
  const [top, bottom, left, right] = findBox(strokes.data, strokes);
  const [wide, high] = [right - left, bottom - top];
  const scale = (BOX * side) / Math.max(wide, high);
  const size = [wide, high].map((length) => Math.max(1, rint(length * scale)));
  const method = scale < 1 ? "box" : "bilinear";
  const { data } = resize({ ...strokes, channels: 1 }, ...size, [left, top, right, bottom], method);
  const most = data.reduce((a, b) => Math.max(a, b));
  const small = data.map((value) => float(value / most));
  let [mass, down, across] = [0, 0, 0];
  small.forEach((value, place) => {
    mass += value;
    down += value * Math.floor(place / size[0]);
    across += value * (place % size[0]);
  });
  const [y, x] = [[down, size[1]], [across, size[0]]].map(([moment, length]) =>
    clamp(rint(CENTER * side - 0.5 - moment / mass), 0, side - length),
  );
  const out = new Uint8Array(side * side);
  small.forEach((value, place) => {
    out[(y + Math.floor(place / size[0])) * side + x + (place % size[0])] = rint(float(value * 255));
  });
  return out;
}
