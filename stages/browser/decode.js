/** Decode an image file of any format that the browser knows, as stages/images/decode.py does in Python. */

import { findExif, readOrientation, turnUpright } from "./exif.js";
import { decodePng, isPng } from "./png.js";
import { findDraftScale } from "./preprocess.js";

/**
 * Read an image file: upright, the first picture of an animation, transparent parts on white.
 * @param {Blob} file
 * @param {object} contract that of model.json
 * @returns {Promise<object>} an image as in preprocess.js
 * @throws {Error} whose message is the reason in one line
 */
export async function readImage(file, contract) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!bytes.length) throw new Error("empty file");
  if (isPng(bytes)) {
    const image = await decodePng(bytes);
    return turnUpright(image, image.orientation);
  }
  const orientation = readOrientation(findExif(bytes)); // browsers turn JPEG files themselves
  if (orientation !== 1 && !isJpeg(bytes)) throw new Error("a WebP image that is to be turned; save it upright, or as JPEG");
  const bitmap = await decodeInBrowser(bytes);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data, orientation, scale: isJpeg(bytes) ? findDraftScale(width, height, contract) : 1 };
}

async function decodeInBrowser(bytes) {
  try {
    // Colors as they are in the file: Python does not convert them to a monitor's, either.
    return await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(explain(bytes));
  }
}

const isJpeg = (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8;

function explain(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 32));
  const known = /^(\xff\xd8|GIF8|BM|RIFF....WEBP|....ftypavi[fs])/s.test(start);
  if (known) return "truncated or broken";
  if (/^(II\*\0|MM\0\*)/.test(start)) return "a TIFF image, which this browser cannot read; save it as PNG";
  if (/^....ftyp(hei|hev|mif1|msf1)/s.test(start)) return "a HEIC photograph, which this browser cannot read; save it as JPEG";
  return "not an image, or of a format that this browser cannot read";
}
