/**
 * Remove the printed lines of ruled and squared paper: stages/images/ruling.py in JavaScript, which explains each step.
 *
 * Numbers have the same precision as there (32 bits where Math.fround and Float32Array stand).
 */

import { clamp, crop, gaussian, makeArray, map, maximum, maximum1d, median3, transpose, uniform, uniform1d } from "./filters.js";
import { rint, shrink } from "./resample.js";

const [LONGEST, SMALLEST, FEWEST] = [640, 64, 3];
const [STEEPEST, CONVERGENT, REACH] = [0.45, 0.1, 1 / 120];
const [STRONG, FAINT, ALIKE] = [0.15, 0.03, [0.3, 2.0]];
const [SECTIONS, WHOLE, LONG, COLUMNS] = [16, 0.75, 0.6, 48];
const [STEP, WANDER, ALONG, DARK, BESIDE] = [0.5, 4, 80, 4, 3];

const float = Math.fround;

/**
 * Remove printed lines from a gray image of dark ink on light paper.
 * @param {{width: number, height: number, channels: number, data: Uint8Array}} image
 * @returns {object} the image itself if there are none; else a smaller one without its edges
 */
export function removeRuling(image) {
  const small = shrink(image, LONGEST);
  if (Math.min(small.width, small.height) < SMALLEST) return image;
  const light = makeArray(small.height, small.width, new Float32Array(small.data).map((value) => value + DARK));
  const reach = Math.max(3, rint(REACH * Math.max(small.width, small.height)));
  const [lying, standing] = [light, transpose(light)].map((each) => measure(each, reach));
  if (Math.max(lying.lines, standing.lines) < FEWEST) return image;
  const across = transpose(standing.left).data;
  let paper = maximum(uniform(light, 5), BESIDE * reach);
  paper = uniform(paper, BESIDE * reach).data;
  const clean = map(light, (value, place) => {
    const left = Math.min(lying.left.data[place], across[place]);
    return left < 1 ? Math.max(Math.min(float(value / left), paper[place]), value) : value;
  });
  const { height, width, data } = crop(clean, reach, clean.height - reach, reach, clean.width - reach);
  return { width, height, channels: 1, data: Uint8Array.from(data, (value) => rint(clamp(float(value - DARK), 0, 255))) };
}

/** Lines that nearly meet in one point: y = v + (slope + turn * v) * x + bend * x * x, one for each v. */
const pencilY = ([slope, turn, bend], v, x) => v + (slope + turn * v) * x + bend * x * x;
const pencilV = ([slope, turn, bend], y, x) => (y - slope * x - bend * x * x) / (1 + turn * x);

function measure(light, reach) {
  const { height, width } = light;
  const none = { lines: 0, left: map(light, () => 1) };
  const ridges = findRidges(light, reach);
  const pencil = fit(ridges);
  if (!pencil) return none;
  const [right, down] = [width / 2, height / 2];
  const corners = [-down, height - 1 - down].flatMap((y) => [-right, width - 1 - right].map((x) => pencilV(pencil, y, x)));
  const v = arange(Math.min(...corners), Math.max(...corners));
  const rows = new Float64Array(v.length * width);
  const seen = new Uint8Array(rows.length);
  for (let place = 0, at = 0; place < v.length; place++) {
    for (let column = 0; column < width; column++, at++) {
      rows[at] = pencilY(pencil, v[place], column - right) + down;
      seen[at] = rows[at] > reach && rows[at] < height - 1 - reach ? 1 : 0;
    }
  }
  const strength = sample(ridges, rows).map((value, at) => (seen[at] ? value : 0));
  const moved = follow(makeArray(v.length, width, strength), makeArray(v.length, width, seen)).data;
  const straight = makeArray(v.length, width, sample(light, rows.map((row, at) => row + moved[at])));
  const paper = maximum1d(uniform1d(straight, 7, 1), Math.trunc((BESIDE * reach) / STEP), 0).data;
  const ratio = map(straight, (value, at) => (seen[at] ? value / paper[at] : Infinity));
  const { lines, left } = profile(ratio, reach);
  const remaining = map(light, (_, at) => {
    const [y, column] = [Math.floor(at / width) - down, at % width];
    const x = column - right;
    const near = clamp(rint((pencilV(pencil, y, x) - v[0]) / STEP), 0, v.length - 1);
    return interpolate(pencilV(pencil, float(y - moved[near * width + column]), x), v, left);
  });
  return { lines, left: remaining };
}

/** Return numbers of 32 bits in steps of STEP, as NumPy's arange does. */
function arange(from, to) {
  const start = float(from);
  const step = float(float(from + STEP) - start);
  return Float32Array.from({ length: Math.ceil((to - from) / STEP) }, (_, i) => float(start + float(i * step)));
}

function findRidges(light, reach) {
  const { height, width, data } = gaussian(light, [0.7, 0.7]);
  return makeArray(height, width, data.map((value, at) => {
    const [y, x] = [Math.floor(at / width), at % width];
    const beside = Math.min(data[Math.max(y - reach, 0) * width + x], data[Math.min(y + reach, height - 1) * width + x]);
    return clamp(float(1 - float(value / beside)), -STRONG, STRONG);
  }));
}

function fit(ridges) {
  const { height, width } = ridges;
  const every = Math.max(1, Math.floor(width / COLUMNS));
  const smooth = uniform1d(ridges, 5, 1).data;
  const [y, x, weight] = [[], [], []];
  let columns = 0;
  for (let column = every >> 1; column < width; column += every) columns++;
  for (let row = 0; row < height; row++) {
    for (let column = every >> 1; column < width; column += every) {
      const value = smooth[row * width + column];
      if (value > float(FAINT / 2)) {
        y.push(row - height / 2);
        x.push(column - width / 2);
        weight.push(value);
      }
    }
  }
  if (!y.length) return null;
  const v = new Float64Array(y.length);
  const gather = (line, cell, weighted = true) => {
    let [least, most] = [Infinity, -Infinity];
    for (let i = 0; i < v.length; i++) {
      v[i] = pencilV(line, y[i], x[i]);
      if (v[i] < least) least = v[i];
      if (v[i] > most) most = v[i];
    }
    const sums = new Float64Array(Math.trunc((most - least) / cell) + 1);
    for (let i = 0; i < v.length; i++) sums[Math.trunc((v[i] - least) / cell)] += weighted ? weight[i] : 1;
    return sums;
  };
  const choose = (lines, cell) => {
    const scores = lines.map((line) => gather(line, cell).reduce((sum, value) => sum + value * value, 0));
    return lines[scores.indexOf(Math.max(...scores))];
  };
  let steps = [0.005, CONVERGENT / 2 / width, 16 / width ** 2];
  const stride = -STEEPEST + 2 * steps[0] + STEEPEST;
  const slopes = Array.from({ length: Math.ceil((2 * STEEPEST) / (2 * steps[0])) }, (_, i) => -STEEPEST + i * stride);
  const turns = [-2, -1, 0, 1, 2].map((turn) => turn * 2 * steps[1]);
  let best = choose(slopes.flatMap((slope) => turns.map((turn) => [slope, turn, 0])), 2);
  const ways = [-1, 0, 1];
  const around = ways.flatMap((turn) => ways.flatMap((slope) => ways.map((bend) => [slope, turn, bend])));
  for (let round = 0; round < 6; round++) {
    const [from, by] = [best, steps];
    best = choose(around.map((to) => to.map((way, i) => from[i] + by[i] * way)), 1);
    steps = steps.map((step) => step * 0.6);
  }
  return Math.max(...gather(best, 4, false)) > WHOLE * columns ? best : null;
}

function follow(ridges, seen) {
  const { height: places, width } = ridges;
  const [strength, share] = [meanOfSections(ridges), meanOfSections(seen)];
  const parts = map(strength, (value, at) => value / Math.max(share.data[at], 0.2)).data;
  const span = Math.trunc(ALONG / STEP);
  const reach = Math.trunc(WANDER / STEP);
  let moved = makeArray(places, SECTIONS, new Float64Array(places * SECTIONS));
  for (let round = 0; round < 2; round++) {
    const shifted = Array.from({ length: 2 * reach + 1 }, (_, index) => map(moved, (value, at) => {
      const place = clamp(Math.floor(at / SECTIONS) + rint(value) + index - reach, 0, places - 1);
      return parts[place * SECTIONS + (at % SECTIONS)];
    }));
    const mean = new Float64Array(places);
    shifted[reach].data.forEach((value, at) => (mean[Math.floor(at / SECTIONS)] += Math.max(value, 0) / SECTIONS));
    const usual = mean.reduce((sum, value) => sum + value, 0) / places;
    const best = map(moved, () => 0);
    const highest = map(moved, () => -Infinity).data;
    shifted.forEach((each, index) => {
      const fits = uniform1d(map(each, (value, at) => value * (mean[Math.floor(at / SECTIONS)] - usual)), span, 0).data;
      fits.forEach((value, at) => {
        const score = value * (1 - 0.03 * Math.abs(index - reach)); // in doubt the nearest
        if (score > highest[at]) [highest[at], best.data[at]] = [score, index - reach];
      });
    });
    const hop = Math.floor(span / 4);
    const few = makeArray(Math.ceil(places / hop), SECTIONS, new Float64Array(Math.ceil(places / hop) * SECTIONS));
    few.data.forEach((_, at) => {
      few.data[at] = best.data[Math.floor(at / SECTIONS) * hop * SECTIONS + (at % SECTIONS)];
    });
    const calm = median3(few).data;
    const next = map(moved, (value, at) => value + calm[Math.floor(Math.floor(at / SECTIONS) / hop) * SECTIONS + (at % SECTIONS)]);
    moved = gaussian(next, [span / 4, 0.7]);
  }
  const each = Math.floor(width / SECTIONS);
  const middles = Array.from({ length: SECTIONS }, (_, i) => (i + 0.5) * each);
  const out = new Float32Array(places * width);
  for (let column = 0; column < width; column++) {
    const at = interpolate(column, middles, middles.map((_, i) => i));
    const low = Math.min(Math.trunc(at), SECTIONS - 2);
    for (let place = 0; place < places; place++) {
      const [a, b] = [moved.data[place * SECTIONS + low], moved.data[place * SECTIONS + low + 1]];
      out[place * width + column] = (a + (b - a) * (at - low)) * STEP;
    }
  }
  return makeArray(places, width, out);
}

function profile(ratio, reach) {
  const { height: places, width, data } = ratio;
  const row = (place, from, length) => data.slice(place * width + from, place * width + from + length).sort();
  const each = Math.floor(width / SECTIONS);
  const lines = Array.from({ length: places }, (_, place) => row(place, 0, width));
  const middle = lines.map((line) => quantile(line, 0.5));
  const usual = medianOf(middle.filter(Number.isFinite));
  const depth = middle.map((value) => usual - (Number.isFinite(value) ? value : usual));
  const long = [];
  const tops = depth.map((value, place) => {
    const parts = Array.from({ length: SECTIONS }, (_, i) => quantile(row(place, i * each, each), 0.5)).filter(Number.isFinite);
    const found = parts.map((part) => usual - part > 0.5 * value);
    long.push(parts.length >= LONG * SECTIONS);
    const ends = found.slice(0, 2).includes(true) && found.slice(-2).includes(true); // a stroke does not reach both
    return ends && found.filter(Boolean).length >= WHOLE * parts.length && value > FAINT;
  });
  const column = (values) => makeArray(places, 1, Float64Array.from(values));
  const highest = maximum1d(column(depth), Math.trunc(reach / STEP) | 1, 0).data;
  tops.forEach((top, place) => (tops[place] = top && depth[place] === highest[place]));
  if (!tops.includes(true)) return { lines: 0, left: depth.map(() => 1) };
  const typical = medianOf(depth.filter((_, place) => tops[place]));
  tops.forEach((top, place) => (tops[place] = top && depth[place] > ALIKE[0] * typical));
  const wide = Math.trunc((BESIDE * reach) / STEP) | 1;
  const top = maximum1d(column(depth.map((value, place) => (tops[place] ? value : 0))), wide, 0).data;
  const dark = depth.map((value, place) => top[place] > 0 && value > 0.1 * top[place]);
  const left = depth.map((_, place) => {
    if (!dark[place - 1] && !dark[place] && !dark[place + 1]) return 1;
    return clamp(quantile(lines[place], 0.25) / usual, 1 - ALIKE[1] * typical, 1);
  });
  const runs = new Set();
  let run = 0;
  depth.forEach((value, place) => {
    const inside = value > 0.5 * Math.max(top[place], FAINT);
    if (inside && !(place > 0 && depth[place - 1] > 0.5 * Math.max(top[place - 1], FAINT))) run++;
    if (tops[place] && long[place]) runs.add(inside ? run : 0);
  });
  return { lines: runs.size, left };
}

/** Return the mean of each section of the columns. */
function meanOfSections({ height, width, data }) {
  const each = Math.floor(width / SECTIONS);
  const out = new Float64Array(height * SECTIONS);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < each * SECTIONS; x++) out[y * SECTIONS + Math.floor(x / each)] += data[y * width + x];
  }
  return makeArray(height, SECTIONS, out.map((sum) => sum / each));
}

/** Return a quantile of the finite ones among sorted values; infinity where there are fewer than 4. */
function quantile(sorted, share) {
  let count = sorted.length;
  while (count > 0 && sorted[count - 1] === Infinity) count--;
  return count < 4 ? Infinity : sorted[Math.trunc(share * (count - 1))];
}

function medianOf(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Return values (height, width) at rows of their columns, linearly interpolated. */
function sample({ height, width, data }, rows) {
  return rows.map((row, at) => {
    const above = Math.trunc(clamp(row, 0, height - 2));
    const [upper, lower] = [data[above * width + (at % width)], data[(above + 1) * width + (at % width)]];
    return upper + clamp(row - above, 0, 1) * float(lower - upper);
  });
}

/** Interpolate linearly between places in ascending order, as NumPy's interp does. */
function interpolate(x, places, values) {
  const last = places.length - 1;
  if (x <= places[0]) return values[0];
  if (x >= places[last]) return values[last];
  let [low, high] = [0, last];
  while (high - low > 1) {
    const half = (low + high) >> 1;
    if (places[half] <= x) low = half;
    else high = half;
  }
  return ((values[high] - values[low]) / (places[high] - places[low])) * (x - places[low]) + values[low];
}
