// What the outputs of a file mean: {lines: [{text, share, color}], boxes: [{box, text, color}], mask, vector}.
// outputs: {name: Float32Array}; shapes: {name: [..., ...]}; model: model.json.
import { resizedShape } from "./preprocess.js";

const TOP = 5, MIN_SCORE = 0.3;
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const only = (record) => Object.values(record)[0];

function softmax(values) {
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(values, (x) => Math.exp(x - most));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / total);
}

function classification({ outputs, model }) {
  const chances = model.ending === "softmax" ? Array.from(only(outputs)) : softmax(only(outputs));
  const order = chances.map((_, i) => i).sort((a, b) => chances[b] - chances[a] || a - b);
  return { lines: order.slice(0, TOP).map((i) => ({ text: model.classes[i], share: chances[i] })) };
}

function attributes({ outputs, model }) {
  const chances = Array.from(only(outputs), (x) => (model.ending === "sigmoid" ? x : sigmoid(x)));
  const present = chances.map((_, i) => i).filter((i) => chances[i] >= (model.thresholds?.[i] ?? 0.5));
  present.sort((a, b) => chances[b] - chances[a]);
  const lines = present.map((i) => ({ text: model.classes[i], share: chances[i] }));
  return { lines: lines.length ? lines : [{ text: `none of ${chances.length} attributes` }] };
}

function embedding({ outputs, model, first }) {
  const values = only(outputs), length = Math.hypot(...values) || 1;
  const vector = Array.from(values, (x) => x / length);
  if (!first) return { vector, lines: [{ text: "the first picture: others are compared with it" }] };
  const cosine = vector.reduce((sum, x, i) => sum + x * first[i], 0);
  const lines = [{ text: `similarity ${cosine.toFixed(3)}`, share: Math.max(0, cosine) }];
  if (model.threshold !== null) {
    const same = cosine >= model.threshold;
    lines.push({ text: `${same ? "same" : "different"}: ${cosine.toFixed(3)} ${same ? "≥" : "<"} ${model.threshold}` });
  }
  return { vector, lines };
}

function detection({ outputs, model, width, height }) {
  const { detection_boxes: corners, detection_classes: labels, detection_scores: scores } = outputs;
  const [rows, columns] = resizedShape(model.resize, model.size, height, width);
  const shown = [rows / model.size[0], columns / model.size[1]];
  const boxes = [];
  for (let i = 0; i < Math.round(only({ n: outputs.num_detections })[0]); i++) {
    if (scores[i] < MIN_SCORE) continue;
    const box = Array.from(corners.subarray(4 * i, 4 * i + 4), (x, side) => Math.min(1, Math.max(0, x / shown[side % 2])));
    const label = Math.round(labels[i]);
    boxes.push({ box, label, text: model.classes[label], score: scores[i], color: model.colors[label % model.colors.length] });
  }
  const lines = boxes.map(({ text, score, color }) => ({ text, share: score, color }));
  return { boxes, lines: lines.length ? lines : [{ text: `nothing with a score of ${MIN_SCORE} or more` }] };
}

function segmentation({ outputs, shapes, model, width, height }) {
  const name = Object.keys(outputs)[0], values = outputs[name], shape = shapes[name];
  const [h, w] = [shape[1], shape[2]], depth = shape.length === 4 ? shape[3] : 0;
  const [rows, columns] = resizedShape(model.resize, [h, w], height, width);
  const mask = new Uint8Array(rows * columns), pixels = new Float64Array(model.classes.length);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      let label = depth ? 0 : values[y * w + x];
      const at = depth * (y * w + x);
      for (let c = 1; c < depth; c++) if (values[at + c] > values[at + label]) label = c;
      mask[y * columns + x] = label;
      pixels[label] += 1;
    }
  }
  const present = model.classes.map((_, i) => i).filter((i) => pixels[i] >= 0.001 * mask.length);
  present.sort((a, b) => pixels[b] - pixels[a]);
  const lines = present.map((i) => ({ text: model.classes[i], share: pixels[i] / mask.length, color: model.colors[i] }));
  return { mask: { data: mask, rows, columns }, lines };
}

export const TASKS = { classification, attributes, embedding, detection, segmentation };
