// The page: images from files and from the camera, boxes on a canvas, a threshold and the classes to show.
import { detect, load } from "./detector.js";

const LONGEST = 1280; // pixels of an image's longer side: larger ones are scaled down, as a screen would
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });

let network = null;
let shown = { objects: [], milliseconds: 0 };
let frame = null; // the image or video frame under the boxes, as ImageData
let stream = null;

const color = (label) => `hsl(${(label * 137.5) % 360} 80% 45%)`;
const say = (text) => (element("status").textContent = text);

function chosen(one) {
  const box = document.querySelector(`#classes input[value="${one.label}"]`);
  return one.score >= Number(element("threshold").value) && (!box || box.checked);
}

function draw() {
  if (!frame) return;
  context.putImageData(frame, 0, 0);
  const size = Math.max(12, Math.round(canvas.width / 45));
  context.font = `${size}px sans-serif`;
  context.lineWidth = Math.max(2, canvas.width / 300);
  const list = element("objects");
  list.replaceChildren();
  for (const one of shown.objects.filter(chosen)) {
    const [left, top, right, bottom] = one.box;
    const text = `${one.name} ${one.score.toFixed(2)}`;
    context.strokeStyle = context.fillStyle = color(one.label);
    context.strokeRect(left, top, right - left, bottom - top);
    const above = Math.max(top, size + 4);
    context.fillRect(left, above - size - 4, context.measureText(text).width + 8, size + 4);
    context.fillStyle = "white";
    context.fillText(text, left + 4, above - 5);
    const item = document.createElement("li");
    item.textContent = `${text}, ${one.box.map(Math.round).join(", ")}`;
    list.append(item);
  }
  canvas.setAttribute("aria-label", `Image with ${list.children.length} objects: ${list.textContent || "none"}`);
}

async function look(source, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  frame = context.getImageData(0, 0, canvas.width, canvas.height);
  shown = await detect(network, frame);
  draw();
  say(`${shown.milliseconds.toFixed(0)} ms, ${canvas.width} x ${canvas.height} pixels`);
}

async function open(file) {
  if (!file) return;
  stop();
  say("detecting");
  try {
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    await look(image, image.width, image.height);
  } catch (error) {
    say(`${file.name} cannot be shown: ${error.message}`);
  }
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera").textContent = "Camera";
}

async function watch() {
  if (stream) return stop();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say(`no camera: ${error.message}`);
  }
  element("camera").textContent = "Stop the camera";
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  const mine = stream;
  while (stream === mine) {
    await look(video, video.videoWidth, video.videoHeight);
    await new Promise(requestAnimationFrame);
  }
}

function offer(classes) {
  const group = element("classes");
  classes.forEach((name, label) => {
    const row = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: label, checked: true });
    box.addEventListener("change", draw);
    row.append(box, ` ${name}`);
    group.append(row);
  });
}

async function start() {
  say("loading the network");
  try {
    network = await load();
  } catch (error) {
    return say(`the network cannot be loaded: ${error.message}`);
  }
  document.title = `${network.about.model}: detection in the browser`;
  element("model").textContent = `${network.about.model}, ${network.about.classes.length} classes`;
  element("threshold").value = element("score").textContent = network.about.score_threshold;
  offer(network.about.classes);
  for (const id of ["file", "camera", "threshold"]) element(id).disabled = false;
  say("ready: choose an image, or drop one here");
  document.body.dataset.ready = "true";
}

element("file").addEventListener("change", (event) => open(event.target.files[0]));
element("camera").addEventListener("click", watch);
element("threshold").addEventListener("input", (event) => {
  element("score").textContent = event.target.value;
  draw();
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop" && network) open(event.dataTransfer.files[0]);
  });
}
start();
