// What evaluation does to an image before the network sees it, so that the page gives the same answers.

/** RGBA pixels {data, width, height} -> Float32Array [rows * columns * 3] in 0..255, as the network was evaluated. */
export function preprocess(image, { size, crop_fraction: cropFraction, resize }) {
  const [rows, columns] = size;
  if (resize) return letterbox(image, rows, columns, resize);
  const part = cropFraction === null ? [0, 0, image.height, image.width] : center(image, rows, columns, cropFraction);
  return scale(image, part, rows, columns);
}

/** The [height, width] at which an image is shown in an input that may be padded. */
export function resizedShape(resize, [rows, columns], height, width) {
  if (resize === "stretch") return [rows, columns];
  if (resize === "pad" && height <= rows && width <= columns) return [height, width];
  if (rows * width <= columns * height) {
    return [rows, Math.max(1, Math.floor((2 * width * rows + height) / (2 * height)))];
  }
  return [Math.max(1, Math.floor((2 * height * columns + width) / (2 * width))), columns];
}

function letterbox(image, rows, columns, resize) {
  const [height, width] = resizedShape(resize, [rows, columns], image.height, image.width);
  const shown = scale(image, [0, 0, image.height, image.width], height, width);
  const canvas = new Float32Array(rows * columns * 3).fill(127.5);
  for (let y = 0; y < height; y++) canvas.set(shown.subarray(3 * y * width, 3 * (y + 1) * width), 3 * y * columns);
  return canvas;
}

function center({ height, width }, rows, columns, fraction) {
  const ratio = Math.min(height / rows, width / columns) * fraction;
  const [h, w] = [[rows, height], [columns, width]].map(([side, whole]) =>
    Math.min(whole, Math.max(1, Math.round(side * ratio))));
  return [Math.floor((height - h) / 2), Math.floor((width - w) / 2), h, w];
}

/** Bilinear with half-pixel centers; with a wider filter where a side shrinks by more than 2. */
function scale(image, [top, left, height, width], rows, columns) {
  const antialias = Math.max(height / rows, width / columns) > 2;
  const across = taps(width, columns, antialias), down = taps(height, rows, antialias);
  const used = new Map();  // rows of the image, scaled across
  const line = (y) => {
    if (!used.has(y)) {
      const scaled = new Float32Array(columns * 3);
      for (let x = 0; x < columns; x++) {
        for (const [index, weight] of across[x]) {
          const at = 4 * ((top + y) * image.width + left + index);
          for (let c = 0; c < 3; c++) scaled[3 * x + c] += weight * image.data[at + c];
        }
      }
      used.set(y, scaled);
    }
    return used.get(y);
  };
  const result = new Float32Array(rows * columns * 3);
  for (let y = 0; y < rows; y++) {
    const target = result.subarray(3 * y * columns, 3 * (y + 1) * columns);
    for (const [index, weight] of down[y]) {
      const source = line(index);
      for (let i = 0; i < target.length; i++) target[i] += weight * source[i];
    }
    for (const y0 of used.keys()) if (y0 < down[y][0][0]) used.delete(y0);  // needed no more
  }
  return result;
}

/** For each of `want` pixels the [index, weight] of those of `have` that it is made of. */
function taps(have, want, antialias) {
  const ratio = have / want, reach = antialias ? Math.max(ratio, 1) : 1;
  return Array.from({ length: want }, (_, i) => {
    const middle = (i + 0.5) * ratio - 0.5, found = [];
    for (let index = Math.ceil(middle - reach); index <= middle + reach; index++) {
      const weight = 1 - Math.abs(index - middle) / reach;
      if (index >= 0 && index < have && weight > 0) found.push([index, weight]);
    }
    const total = found.reduce((sum, [, weight]) => sum + weight, 0);
    return found.map(([index, weight]) => [index, weight / total]);
  });
}
