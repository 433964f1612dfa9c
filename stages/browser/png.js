/**
 * Decode a PNG file to exact values (ISO/IEC 15948): of 16 bits too, with the alpha channel as it is, and without a
 * monitor's colors, none of which a canvas gives. Nothing here needs a browser.
 */

import { readOrientation } from "./exif.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by color type: gray, RGB, palette, gray and alpha, RGBA
const [GRAY, PALETTE] = [0, 3];
const PROFILE = "Raw profile type exif\0";
const MAX_PIXELS = 89478485; // as stages/images/decode.py
// Adam7: the first column and row of each pass, and the steps to the next ones.
const INTERLACED = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/** Return whether a file is a PNG image. */
export function isPng(bytes) {
  return SIGNATURE.every((byte, place) => bytes[place] === byte);
}

/**
 * Decode a PNG file; of an animation, its first picture.
 * @param {Uint8Array} bytes of the file
 * @returns {Promise<object>} an image as in preprocess.js, with `orientation`: that of its EXIF block, 1 to 8
 * @throws {Error} whose message is the reason in one line
 */
export async function decodePng(bytes) {
  const { header, palette, transparency, exif, profile, compressed } = readChunks(bytes);
  const samples = await unpack(header, compressed);
  const orientation = readOrientation(exif || (profile && (await readProfile(profile))));
  return { ...makeImage(header, samples, palette, transparency), orientation };
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { compressed: [] };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (content.length < length) break;
    if (name === "IHDR") found.header = readHeader(view, at + 8);
    else if (name === "PLTE") found.palette = content;
    else if (name === "tRNS") found.transparency = content;
    else if (name === "eXIf") found.exif = content;
    else if (/^(tEXt|zTXt)$/.test(name) && isProfile(content)) found.profile = { content, packed: name === "zTXt" };
    else if (name === "IDAT") found.compressed.push(content);
    else if (name === "IEND") break;
    at += length + 12;
  }
  if (!found.header || !found.compressed.length) throw new Error("truncated or broken");
  return found;
}

const isProfile = (content) => String.fromCharCode(...content.subarray(0, PROFILE.length)) === PROFILE;

/** Return the EXIF block that ImageMagick writes as text: a line of "exif", one of its length, and hexadecimal digits. */
async function readProfile({ content, packed }) {
  const text = content.subarray(PROFILE.length + Number(packed));
  const lines = new TextDecoder().decode(packed ? await inflate([text]) : text).split("\n");
  return Uint8Array.from(lines.slice(3).join("").match(/../g) || [], (digits) => parseInt(digits, 16));
}

/** Decompress; what is broken becomes empty. */
async function inflate(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer().catch(() => new ArrayBuffer(0)));
}

function readHeader(view, at) {
  const [width, height] = [view.getUint32(at), view.getUint32(at + 4)];
  const [depth, color, , , interlaced] = [8, 9, 10, 11, 12].map((place) => view.getUint8(at + place));
  if (!width || !height || !CHANNELS[color] || ![1, 2, 4, 8, 16].includes(depth)) throw new Error("truncated or broken");
  if (width * height > MAX_PIXELS) throw new Error(`more than ${MAX_PIXELS.toLocaleString("en")} pixels`);
  return { width, height, depth, color, interlaced, channels: CHANNELS[color] };
}

/** Return the samples of all pixels, one number each. */
async function unpack(header, compressed) {
  const { width, height, depth, channels } = header;
  const bytes = await inflate(compressed);
  const samples = new (depth === 16 ? Uint16Array : Uint8Array)(width * height * channels);
  let at = 0;
  for (const [left, top, across, down] of header.interlaced ? INTERLACED : [[0, 0, 1, 1]]) {
    const [columns, rows] = [Math.ceil((width - left) / across), Math.ceil((height - top) / down)];
    const length = Math.ceil((columns * channels * depth) / 8);
    if (columns <= 0 || rows <= 0) continue;
    let before = new Uint8Array(length);
    for (let row = 0; row < rows; row++, at += length + 1) {
      const line = bytes.subarray(at + 1, at + 1 + length);
      if (line.length < length) throw new Error("truncated or broken");
      undoFilter(bytes[at], line, before, Math.max(1, (channels * depth) >> 3));
      const to = ((top + row * down) * width + left) * channels;
      if (depth === 8 && across === 1) samples.set(line, to);
      else spread(line, depth, channels, columns, across, samples, to);
      before = line;
    }
  }
  return samples;
}

function undoFilter(kind, line, before, step) {
  if (kind > 4) throw new Error("truncated or broken");
  for (let i = 0; kind && i < line.length; i++) {
    const left = i < step ? 0 : line[i - step];
    const up = before[i];
    if (kind === 1) line[i] += left;
    else if (kind === 2) line[i] += up;
    else if (kind === 3) line[i] += (left + up) >> 1;
    else line[i] += choosePaeth(left, up, i < step ? 0 : before[i - step]);
  }
}

function choosePaeth(left, up, corner) {
  const a = Math.abs(up - corner);
  const b = Math.abs(left - corner);
  const c = Math.abs(left + up - 2 * corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** Write the samples of a line to their places. */
function spread(line, depth, channels, columns, across, samples, to) {
  for (let i = 0; i < columns * channels; i++) {
    const place = to + Math.floor(i / channels) * across * channels + (i % channels);
    if (depth === 16) samples[place] = line[2 * i] * 256 + line[2 * i + 1];
    else samples[place] = (line[(i * depth) >> 3] >> (8 - depth - ((i * depth) & 7))) & ((1 << depth) - 1);
  }
}

function makeImage({ width, height, depth, color, channels }, samples, palette, transparency) {
  const word = (place) => transparency[2 * place] * 256 + transparency[2 * place + 1];
  if (depth === 16 && color === GRAY) {
    return { width, height, values: samples, transparent: transparency ? word(0) : undefined };
  }
  const data = new Uint8ClampedArray(width * height * 4);
  const scale = depth < 8 ? 255 / ((1 << depth) - 1) : depth > 8 ? 1 / 256 : 1;
  const level = (place) => Math.floor(samples[place] * scale);
  for (let pixel = 0, from = 0, to = 0; pixel < width * height; pixel++, from += channels, to += 4) {
    for (let i = 0; i < 3; i++) {
      data[to + i] = color === PALETTE ? palette[samples[from] * 3 + i] : level(channels > 2 ? from + i : from);
    }
    if (color === PALETTE) data[to + 3] = transparency?.[samples[from]] ?? 255;
    else data[to + 3] = channels % 2 === 0 ? level(from + channels - 1) : 255;
  }
  if (transparency && color !== PALETTE) {
    // Of 2 and 4 bits, Pillow compares the value in 8 bits with the transparent one as it is.
    const clear = [0, 1, 2].map((i) => word(channels > 2 ? i : 0));
    if (depth === 1) clear.fill(clear[0] ? 255 : 0);
    for (let to = 0; to < data.length; to += 4) {
      if (clear.every((value, i) => value === data[to + i])) data[to + 3] = 0;
    }
  }
  return { width, height, data };
}
