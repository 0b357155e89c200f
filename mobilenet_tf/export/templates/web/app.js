import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { preprocess } from "./preprocess.js";
import { TASKS } from "./tasks.js";

const LONGEST = 1600;  // pixels of the side of a drawing
const element = (id) => document.getElementById(id);
const canvas = element("canvas"), video = element("video"), status = element("status");
const state = { model: null, compiled: null, entry: null, first: null, last: null, stream: null, busy: false, times: [] };
window.mobilenet = state;  // for tests and the curious

function say(text, failed = false) {
  status.textContent = text;
  status.className = failed ? "failed" : "";
}

async function start() {
  state.model = await (await fetch("model.json")).json();
  await loadLiteRt(new URL("node_modules/@litertjs/core/wasm/", document.baseURI).href);
  for (const { name, size } of state.model.files) {
    const option = new Option(`${name}, ${(size / 1e6).toFixed(2)} MB`, name);
    element("file").append(option);
  }
  element("file").addEventListener("change", () => open(element("file").value).then(again));
  await open(state.model.files[0].name);
}

async function open(name) {
  say(`loading ${name} …`);
  state.compiled?.delete();
  state.compiled = await loadAndCompile(`models/${encodeURIComponent(name)}`, { accelerator: "wasm" });
  state.entry = state.model.files.find((file) => file.name === name);
  Object.assign(state, { first: null, times: [] });
  say("ready");
}

/** Pixels -> what the file gives for them, by name. */
async function run(pixels) {
  const input = state.compiled.getInputDetails()[0];
  const values = preprocess(pixels, state.model);
  const data = input.dtype === "uint8" ? Uint8Array.from(values, (x) => Math.min(255, Math.max(0, Math.round(x)))) : values;
  const tensor = new Tensor(data, [1, ...state.model.size, 3]);
  const begun = performance.now();
  const raw = await state.compiled.run({ [input.name]: tensor });
  const outputs = {}, shapes = {};
  for (const { name, shape } of state.compiled.getOutputDetails()) {
    const { scale, zero_point: zero } = state.entry.outputs[name] ?? { scale: 0, zero_point: 0 };
    const found = raw[name].toTypedArray();
    outputs[name] = scale ? Float32Array.from(found, (x) => (x - zero) * scale) : Float32Array.from(found);
    shapes[name] = Array.from(shape);
    raw[name].delete();
  }
  const took = performance.now() - begun;
  tensor.delete();
  return { outputs, shapes, took };
}

/** Runs the file on a picture or a video frame and shows what it says. */
async function answer(source, width, height, name) {
  if (state.busy || !state.compiled) return;
  state.busy = true;
  try {
    const factor = Math.min(1, LONGEST / Math.max(width, height));
    canvas.width = Math.max(1, Math.round(width * factor));
    canvas.height = Math.max(1, Math.round(height * factor));
    const whole = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    whole.fillStyle = state.model.background;
    whole.fillRect(0, 0, width, height);
    whole.drawImage(source, 0, 0, width, height);
    const { outputs, shapes, took } = await run(whole.getImageData(0, 0, width, height));
    const found = TASKS[state.model.task]({ outputs, shapes, model: state.model, width, height, first: state.first });
    if (found.vector && !state.first) state.first = found.vector;
    Object.assign(state, { last: { ...found, outputs, name } });
    canvas.getContext("2d").drawImage(whole.canvas, 0, 0, canvas.width, canvas.height);
    draw(found);
    state.times = [...state.times.slice(-9), took];
    const median = state.times.toSorted((a, b) => a - b)[Math.floor(state.times.length / 2)];
    say(`${name}: ${median.toFixed(1)} ms`);
    element("stage").hidden = false;
    if (element("first")) element("first").disabled = false;
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  } finally {
    state.busy = false;
  }
}

function draw({ lines, boxes, mask }) {
  const pen = canvas.getContext("2d"), size = Math.max(12, Math.round(Math.max(canvas.width, canvas.height) / 42));
  if (mask) tint(pen, mask);
  for (const { box: [top, left, bottom, right], text, score, color } of [...(boxes ?? [])].reverse()) {
    const [x, y] = [left * canvas.width, top * canvas.height];
    pen.lineWidth = Math.max(2, size / 6);
    pen.strokeStyle = pen.fillStyle = color;
    pen.strokeRect(x, y, (right - left) * canvas.width, (bottom - top) * canvas.height);
    const tag = `${text} ${score.toFixed(2)}`;
    pen.font = `${size}px system-ui, sans-serif`;
    const above = y > 1.4 * size ? y - 1.4 * size : y;
    pen.fillRect(x, above, pen.measureText(tag).width + size * 0.6, 1.4 * size);
    pen.fillStyle = "#fff";
    pen.fillText(tag, x + size * 0.3, above + size);
  }
  element("lines").replaceChildren(...lines.map(line));
}

function line({ text, share, color }) {
  const item = document.createElement("li"), row = document.createElement("span"), name = document.createElement("b");
  name.textContent = text;
  if (color) {
    const patch = document.createElement("i");
    patch.style.background = color;
    name.prepend(patch);
  }
  row.append(name);
  item.append(row);
  if (share !== undefined) {
    row.append(`${(100 * share).toFixed(1)} %`);
    const bar = document.createElement("progress");
    Object.assign(bar, { max: 1, value: Math.min(1, Math.max(0, share)) });
    bar.setAttribute("aria-label", text);
    item.append(bar);
  }
  return item;
}

/** Colors the classes of a mask and draws their contours, dark beside white, so that they are seen on any ground. */
function tint(pen, { data, rows, columns }) {
  const shown = pen.getImageData(0, 0, canvas.width, canvas.height), reach = Math.max(1, Math.round(Math.min(canvas.width, canvas.height) / 250));
  const colors = state.model.colors.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const clear = state.model.classes[0].toLowerCase() === "background" ? 0 : -1;
  const label = (x, y) => data[Math.floor((y + 0.5) * rows / canvas.height) * columns + Math.floor((x + 0.5) * columns / canvas.width)];
  const differs = (x, y, own, by) => [[by, 0], [-by, 0], [0, by], [0, -by]].some(([dx, dy]) => {
    const [a, b] = [x + dx, y + dy];
    return a >= 0 && b >= 0 && a < canvas.width && b < canvas.height && label(a, b) !== own;
  });
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const own = label(x, y), at = 4 * (y * canvas.width + x);
      if (own === clear) continue;
      const edge = differs(x, y, own, reach) ? [31, 41, 51] : differs(x, y, own, 2 * reach) ? [255, 255, 255] : null;
      for (let c = 0; c < 3; c++) shown.data[at + c] = edge ? edge[c] : (shown.data[at + c] + colors[own % colors.length][c]) / 2;
    }
  }
  pen.putImageData(shown, 0, 0);
}

let recent = null;
async function show(blob, name) {
  stop();
  try {
    const bitmap = await createImageBitmap(blob);
    recent = () => answer(bitmap, bitmap.width, bitmap.height, name);
  } catch {
    say(`${name} is no picture that this browser reads`, true);
    return;
  }
  await recent();
}
const again = () => recent?.();

async function camera() {
  if (state.stream) return stop();
  try {
    const facing = element("front").checked ? "user" : "environment";
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing }, audio: false });
  } catch (error) {
    return say(`no camera: ${error.message}`, true);
  }
  video.srcObject = state.stream;
  await video.play();
  element("camera").textContent = "Stop the camera";
  element("camera").className = "on";
  element("facing").hidden = false;
  recent = null;
  const frame = async () => {
    if (!state.stream) return;
    if (video.videoWidth) await answer(video, video.videoWidth, video.videoHeight, "camera");
    requestAnimationFrame(frame);
  };
  frame();
}

function stop() {
  for (const track of state.stream?.getTracks() ?? []) track.stop();
  state.stream = null;
  element("camera").textContent = "Use the camera";
  element("camera").className = "";
}

const drop = element("drop");
const files = async (list) => {
  for (const file of list) await show(file, file.name);
};
element("picture").addEventListener("change", (event) => files(event.target.files));
element("camera").addEventListener("click", camera);
element("front").addEventListener("change", () => { stop(); camera(); });
element("first")?.addEventListener("click", () => { state.first = state.last.vector; again(); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") files(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => files(event.clipboardData.files));
for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", async () => show(await (await fetch(button.dataset.src)).blob(), button.dataset.src));
}
start().catch((error) => say(`this page cannot run the file: ${error.message}`, true));
