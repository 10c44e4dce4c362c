// The exported network in the browser: nothing leaves the machine.
import * as ort from "./runtime/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
// Threads need a page that is isolated from other origins, by two headers of the host.
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

export async function load() {
  const about = await (await fetch(new URL("model.json", import.meta.url))).json();
  const session = await ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
  return { about, session };
}

// Of an ImageData: objects with name, label, score and box (left, top, right, bottom in pixels), the surest first.
export async function detect({ about, session }, { width, height, data }) {
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  const start = performance.now();
  const found = await session.run({ images: new ort.Tensor("uint8", pixels, [1, height, width, 3]) });
  const milliseconds = performance.now() - start;
  const boxes = found.detection_boxes.data;
  const scores = found.detection_scores.data;
  const labels = found.detection_classes.data;
  const objects = [];
  for (let k = 0; k < Number(found.num_detections.data[0]); k++) {
    const [ymin, xmin, ymax, xmax] = boxes.subarray(4 * k, 4 * k + 4);
    const label = Number(labels[k]);
    const box = [xmin * width, ymin * height, xmax * width, ymax * height];
    objects.push({ name: about.classes[label], label, score: scores[k], box });
  }
  return { objects, milliseconds };
}
