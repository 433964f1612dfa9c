/** The orientation that a camera wrote into a photograph, and turning an image upright. */

const ORIENTATION = 0x0112;
const MARK = "Exif\0\0"; // before the block in JPEG files, and in some others

/**
 * Return the EXIF block of a JPEG or WebP file; undefined if it has none.
 * @param {Uint8Array} bytes of the file
 */
export function findExif(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (text(0, 2) === "\xff\xd8") {
    for (let at = 2; at + 4 < bytes.length && bytes[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
      const end = at + 2 + view.getUint16(at + 2);
      if (bytes[at + 1] === 0xe1 && text(at + 4, MARK.length) === MARK) return bytes.subarray(at + 4, end);
    }
  } else if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") {
    for (let at = 12; at + 8 < bytes.length; ) {
      const length = view.getUint32(at + 4, true);
      if (text(at, 4) === "EXIF") return bytes.subarray(at + 8, at + 8 + length);
      at += 8 + length + (length % 2);
    }
  }
  return undefined;
}

/**
 * Return the orientation of an EXIF block, 1 to 8; 1 if it has none.
 * @param {Uint8Array|undefined} block from the file
 */
export function readOrientation(block) {
  if (!block) return 1;
  if (String.fromCharCode(...block.subarray(0, MARK.length)) === MARK) block = block.subarray(MARK.length);
  try {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    const entries = view.getUint16(directory, little);
    for (let entry = 0; entry < entries; entry++) {
      const at = directory + 2 + entry * 12;
      if (view.getUint16(at, little) === ORIENTATION) {
        const value = view.getUint16(at + 8, little);
        return value >= 1 && value <= 8 ? value : 1;
      }
    }
  } catch {
    // a broken block does not make the pixels worse
  }
  return 1;
}

/**
 * Turn an image upright.
 * @param {object} image as in preprocess.js
 * @param {number} orientation 1 to 8
 */
export function turnUpright(image, orientation) {
  if (orientation === 1) return image;
  const { width, height } = image;
  const swapped = orientation >= 5;
  const [wide, high] = swapped ? [height, width] : [width, height];
  const [mirrored, upturned] = [[2, 3, 7, 8].includes(orientation), [3, 4, 6, 7].includes(orientation)];
  const [from, each] = image.values ? [image.values, 1] : [image.data, 4];
  const out = new from.constructor(from.length);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const [across, down] = swapped ? [y, x] : [x, y];
      const column = mirrored ? width - 1 - across : across;
      const row = upturned ? height - 1 - down : down;
      const at = (row * width + column) * each;
      for (let i = 0; i < each; i++) out[(y * wide + x) * each + i] = from[at + i];
    }
  }
  return { ...image, width: wide, height: high, [image.values ? "values" : "data"]: out };
}
