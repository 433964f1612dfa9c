/** The page: reads image files, runs the model on them, and shows what it answers. */

import { readImage } from "./decode.js";
import { makePixels } from "./preprocess.js";
import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

const SHOWN = 5; // classes for each image
const LISTED = 60; // characters of class names up to which they are listed under the heading
const SMALL = 100; // pixels a side below which the network's image is enlarged without smoothing
const FITS = { stretch: "stretched to a square", crop: "cropped to a square", pad: "with bars to make them square" };

const find = (id) => document.getElementById(id);
const queue = [];
const times = { pixels: [], network: [] };
let [card, session, working] = [null, null, false];

/** Load the model, and wait for images. */
async function start() {
  try {
    card = await (await fetch("model.json")).json();
    session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  } catch (error) {
    find("identity").textContent = `The model cannot be loaded: ${shorten(error)}`;
    return;
  }
  describeModel();
  find("choose").hidden = false;
  for (const id of ["files", "camera"]) {
    find(id).addEventListener("change", ({ target }) => {
      add(target.files);
      target.value = ""; // the same file may be chosen again
    });
  }
  find("clear").addEventListener("click", clear);
  document.addEventListener("paste", ({ clipboardData }) => add(clipboardData.files));
  document.addEventListener("dragover", (event) => mark(event, true));
  document.addEventListener("dragleave", (event) => mark(event, event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    mark(event, false);
    add(event.dataTransfer.files);
  });
}

function describeModel() {
  const { classes, contract, data = {} } = card;
  const colors = contract.channels === 1 ? "gray" : "color";
  const pixels = `${contract.size} × ${contract.size} pixels in ${colors}`;
  const form = contract.form === "ink" ? "Photographs of ink, converted to MNIST's form" : `Photographs, ${FITS[contract.fit]}`;
  const listed = classes.join(", ").length < LISTED ? `: ${classes.join(", ")}` : "";
  find("identity").textContent = `It sees ${pixels}, and tells ${classes.length} classes apart${listed}.`;
  const names = make("ul", {}, ...classes.map((name) => make("li", {}, make("bdi", { textContent: name }))));
  const facts = [["Classes", names], ["Input", `${form}, ${pixels}`], ["Training images", data.source], ["License", data.license]];
  for (const [name, fact] of facts.filter(([, fact]) => fact)) {
    find("about").querySelector("dl").append(make("dt", { textContent: name }), make("dd", {}, fact));
  }
  find("about").hidden = false;
}

function mark(event, over) {
  event.preventDefault();
  document.body.classList.toggle("over", over);
}

/** Read files one after the other; those that come meanwhile wait. */
async function add(files) {
  queue.push(...files);
  if (working || !queue.length) return;
  working = true;
  let [done, unread] = [0, 0];
  while (queue.length) {
    const file = queue.shift();
    say(`Reading ${file.name}${queue.length ? `; ${queue.length} more` : ""} …`);
    const shown = await show(file);
    find("results").prepend(shown.element);
    done += 1;
    unread += shown.readable ? 0 : 1;
    find("clear").hidden = false;
    await new Promise((resolve) => setTimeout(resolve)); // let the page draw
  }
  working = false;
  const failed = unread ? `, ${unread} of which could not be read` : "";
  say(`${done} ${done === 1 ? "image" : "images"}${failed}.${describeTimes()}`);
}

async function show(file) {
  try {
    const started = performance.now();
    const pixels = makePixels(await readImage(file, card.contract), card.contract);
    const ready = performance.now();
    const { probabilities, unknown } = await predict(pixels);
    times.pixels.push(ready - started);
    times.network.push(performance.now() - ready);
    return { element: drawResult(file, pixels, probabilities, unknown), readable: true };
  } catch (error) {
    const heading = make("h2", {}, make("bdi", { textContent: file.name }));
    return { element: make("article", { className: "card result bad" }, heading, make("p", { textContent: shorten(error) })) };
  }
}

/** Return the probability of each class, and whether the image is unlike all that was learned, if the model tells. */
async function predict(pixels) {
  const { size, channels } = card.contract;
  const input = new ort.Tensor("uint8", pixels, [1, size, size, channels]);
  const wanted = [card.output.name, ...(card.unknown ? [card.unknown.output] : [])];
  const found = await session.run({ [card.input.name]: input }, wanted);
  return { probabilities: found[card.output.name].data, unknown: card.unknown && found[card.unknown.output].data[0] > 1 };
}

function drawResult(file, pixels, probabilities, unknown) {
  const url = URL.createObjectURL(file);
  const photo = make("img", { src: url, alt: file.name, onload: () => URL.revokeObjectURL(url) });
  return make(
    "article",
    { className: "card result" },
    make("h2", {}, make("bdi", { textContent: file.name })),
    ...(unknown ? [make("p", { className: "unknown", textContent: "Unlike all images that the model has learned" })] : []),
    make("figure", {}, make("div", {}, photo), make("figcaption", { textContent: "the photograph" })),
    make("figure", {}, make("div", {}, drawPixels(pixels)), make("figcaption", { textContent: "what the network sees" })),
    drawBars(probabilities),
  );
}

/** Draw the very pixels that the network gets. */
function drawPixels(pixels) {
  const { size, channels } = card.contract;
  const canvas = make("canvas", { width: size, height: size, className: size < SMALL ? "small" : "" });
  const image = new ImageData(size, size);
  for (let pixel = 0; pixel < size * size; pixel++) {
    for (let i = 0; i < 3; i++) image.data[pixel * 4 + i] = pixels[pixel * channels + (i % channels)];
    image.data[pixel * 4 + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "what the network sees");
  return canvas;
}

function drawBars(probabilities) {
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const rows = order.slice(0, SHOWN).map((place) => {
    const name = make("bdi", { textContent: card.classes[place] });
    const percent = make("span", { className: "percent", textContent: formatPercent(probabilities[place]) });
    const bar = make("progress", { max: 1, value: probabilities[place] });
    bar.setAttribute("aria-hidden", "true"); // the percentage says it
    return make("li", {}, name, percent, bar);
  });
  return make("ol", { className: "bars" }, ...rows);
}

/** Never round up to certainty. */
function formatPercent(share) {
  return share > 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

function clear() {
  find("results").replaceChildren();
  find("clear").hidden = true;
  say("");
  find("files").focus();
}

function describeTimes() {
  if (!times.network.length) return "";
  const [pixels, network] = [times.pixels, times.network].map((all) => all.toSorted((a, b) => a - b)[all.length >> 1]);
  return ` Median time: ${pixels.toFixed(0)} ms to decode and resize, ${network.toFixed(0)} ms in the network.`;
}

function say(text) {
  find("status").textContent = text;
}

function shorten(error) {
  return String(error.message || error).split("\n")[0].slice(0, 300);
}

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

start();
