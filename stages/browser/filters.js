/**
 * Filters of scipy.ndimage, with its order of operations, so that results agree to the last digits. The edges are
 * mirrored (mode "reflect").
 *
 * An array is {height, width, data}, its data a typed array; results have the same type.
 */

/** Return an array. */
export function makeArray(height, width, data) {
  return { height, width, data };
}

/** Return an array whose values are `of(value, place)`. */
export function map({ height, width, data }, of, Type = data.constructor) {
  const out = new Type(data.length);
  for (let place = 0; place < out.length; place++) out[place] = of(data[place], place);
  return makeArray(height, width, out);
}

export function transpose({ height, width, data }) {
  const out = new data.constructor(data.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[x * height + y] = data[y * width + x];
  return makeArray(width, height, out);
}

/** Add `margin` pixels on each side of each axis: the nearest ones, or `fill`. */
export function pad({ height, width, data }, [down, across], fill) {
  const [high, wide] = [height + 2 * down, width + 2 * across];
  const out = new data.constructor(high * wide);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const [row, column] = [clamp(y - down, 0, height - 1), clamp(x - across, 0, width - 1)];
      const inside = row === y - down && column === x - across;
      out[y * wide + x] = inside || fill === undefined ? data[row * width + column] : fill;
    }
  }
  return makeArray(high, wide, out);
}

/** Return rows `top` to `bottom` and columns `left` to `right`, the last ones excluded. */
export function crop({ width, data }, top, bottom, left, right) {
  const out = new data.constructor((bottom - top) * (right - left));
  for (let y = top; y < bottom; y++) out.set(data.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  return makeArray(bottom - top, right - left, out);
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** Return the largest value around each, over `size` places of an axis (0: rows); `origin` moves them to the left. */
export function maximum1d(array, size, axis, origin = 0) {
  return extremum1d(array, size, axis, origin, 1);
}

export function maximum(array, size) {
  return maximum1d(maximum1d(array, size, 0), size, 1);
}

export function erode(array, size) {
  return extremum1d(extremum1d(array, size, 0, 0, -1), size, 1, 0, -1);
}

export function dilate(array, size) {
  const origin = size % 2 ? 0 : -1; // so that a closing does not move anything
  return maximum1d(maximum1d(array, size, 0, origin), size, 1, origin);
}

function extremum1d(array, size, axis, origin, sign) {
  return filterLines(array, size, axis, origin, (line, out) => {
    for (let i = 0; i < out.length; i++) {
      let best = line[i];
      for (let k = 1; k < size; k++) if (sign * (line[i + k] - best) > 0) best = line[i + k];
      out[i] = best;
    }
  });
}

/** Return the mean of `size` values around each, along an axis. */
export function uniform1d(array, size, axis) {
  return filterLines(array, size, axis, 0, (line, out) => {
    let mean = 0;
    for (let i = 0; i < size; i++) mean += line[i];
    mean /= size;
    out[0] = mean;
    for (let i = 1; i < out.length; i++) {
      mean += (line[i + size - 1] - line[i - 1]) / size;
      out[i] = mean;
    }
  });
}

export function uniform(array, size) {
  return uniform1d(uniform1d(array, size, 0), size, 1);
}

/** Smooth with a Gaussian: a standard deviation for each axis. */
export function gaussian(array, [down, across]) {
  return [down, across].reduce((now, sigma, axis) => {
    const radius = Math.trunc(4 * sigma + 0.5);
    const weights = Float64Array.from({ length: radius + 1 }, (_, x) => Math.exp((-0.5 / (sigma * sigma)) * x * x));
    const sum = weights.reduce((total, weight, x) => total + (x ? 2 : 1) * weight, 0);
    return filterLines(now, 2 * radius + 1, axis, 0, (line, out) => {
      for (let i = 0; i < out.length; i++) {
        let value = line[i + radius] * (weights[0] / sum);
        for (let k = radius; k > 0; k--) value += (line[i + radius - k] + line[i + radius + k]) * (weights[k] / sum);
        out[i] = value;
      }
    });
  }, array);
}

/** Return the median of the 3 x 3 values around each. */
export function median3({ height, width, data }) {
  const out = new data.constructor(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const around = [];
      for (const row of [y - 1, y, y + 1]) {
        for (const column of [x - 1, x, x + 1]) around.push(data[mirror(row, height) * width + mirror(column, width)]);
      }
      out[y * width + x] = around.sort((a, b) => a - b)[4];
    }
  }
  return makeArray(height, width, out);
}

/** Call `filter(line, out)` for each line of an axis: `line` has the neighbors of all values, `size` for each. */
function filterLines({ height, width, data }, size, axis, origin, filter) {
  const [length, lines] = axis === 0 ? [height, width] : [width, height];
  const [step, next] = axis === 0 ? [width, 1] : [1, width];
  const places = Int32Array.from({ length: length + size - 1 }, (_, i) => mirror(i - (size >> 1) - origin, length));
  const [line, result, out] = [new Float64Array(places.length), new Float64Array(length), new data.constructor(data.length)];
  for (let number = 0; number < lines; number++) {
    const start = number * next;
    for (let i = 0; i < line.length; i++) line[i] = data[start + places[i] * step];
    filter(line, result);
    for (let i = 0; i < length; i++) out[start + i * step] = result[i];
  }
  return makeArray(height, width, out);
}

function mirror(place, length) {
  const within = ((place % (2 * length)) + 2 * length) % (2 * length);
  return within < length ? within : 2 * length - 1 - within;
}

/** Number the connected parts of a mask from 1, diagonal neighbors included; 0 is outside. */
export function label({ height, width, data }) {
  const parts = new Int32Array(data.length);
  const stack = [];
  let count = 0;
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || parts[start]) continue;
    parts[start] = ++count;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const [y, x] = [Math.floor(at / width), at % width];
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
          const to = row * width + column;
          if (data[to] && !parts[to]) {
            parts[to] = count;
            stack.push(to);
          }
        }
      }
    }
  }
  return { parts, count };
}

/**
 * Find the nearest zero of each pixel (Maurer, Qi and Raghavan 2003), of several the one that SciPy finds.
 * @returns {{distance: Float64Array, nearest: Int32Array}} `nearest` has places in the data
 */
export function findNearestZero({ height, width, data }) {
  const nearest = Int32Array.from(data, (value, place) => (value ? -1 : place));
  for (let x = 0; x < width; x++) spreadNearest(nearest, width, x, width, height, 0);
  for (let y = 0; y < height; y++) spreadNearest(nearest, width, y * width, 1, width, 1);
  const distance = Float64Array.from(nearest, (place, at) => {
    const [dy, dx] = [Math.floor(place / width) - Math.floor(at / width), (place % width) - (at % width)];
    return Math.sqrt(dy * dy + dx * dx);
  });
  return { distance, nearest };
}

/** Along a line, replace each place by the nearest of those that the line's pixels know. */
function spreadNearest(nearest, width, start, step, length, axis) {
  const own = axis === 0 ? start : start / width; // the line's coordinate in the other axis
  const along = (place) => (axis === 0 ? Math.floor(place / width) : place % width);
  const aside = (place) => (axis === 0 ? place % width : Math.floor(place / width)) - own;
  const kept = [];
  for (let i = 0; i < length; i++) {
    const place = nearest[start + i * step];
    if (place < 0) continue;
    while (kept.length > 1) {
      const [u, v] = kept.slice(-2);
      const [a, b] = [along(v) - along(u), along(place) - along(v)];
      const [uu, vv, ww] = [aside(u) ** 2, aside(v) ** 2, aside(place) ** 2];
      if ((a + b) * vv - b * uu - a * ww - a * b * (a + b) <= 0) break;
      kept.pop();
    }
    kept.push(place);
  }
  if (!kept.length) return;
  for (let i = 0, at = 0; i < length; i++) {
    const measure = (place) => (along(place) - i) ** 2 + aside(place) ** 2;
    while (at + 1 < kept.length && measure(kept[at]) > measure(kept[at + 1])) at++;
    nearest[start + i * step] = kept[at];
  }
}
