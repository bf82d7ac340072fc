"use strict";
// The page's controls. Frames come from the worker (worker.js), are kept in a cache, and are drawn when they are due.

const element = (id) => document.getElementById(id);
const video = JSON.parse(element("video").textContent); // {frames, fps, height, width, webgpu}
const last = video.frames - 1; // the largest position
const screen = element("screen");
const context = screen.getContext("2d");

const AHEAD = 8; // frames that are rendered before they are due
const PENDING = 2; // requests to the worker: while it sends one frame, it renders the next
const CACHE_BYTES = 96 * 2 ** 20;
const FIRST_WIDTH = 640; // of the picture on a wide page, in pixels
const SPENT = 7; // frames whose median time is shown
const RATE_SECONDS = 1; // over which the frame rate is measured

const cache = new Map(); // key of position and scale -> ImageData, the least recently used first
const pending = new Set(); // keys of requests
let position = 0; // of the frame that is wanted, or was shown last
let playback = null; // while playing: {start: time, from: position, step, shown: last frame drawn, next: to ask for}
let shownAt = []; // times of the last frames drawn
let spent = []; // milliseconds in which the last frames were rendered
let backend = "";

const scale = () => Number(element("scale").value);
const milliseconds = () => [...spent].sort((one, other) => one - other)[spent.length >> 1] ?? 0; // the median
const keyOf = (at) => `${at} ${scale()}`;
const clamped = (at) => Math.min(last, Math.max(0, at));

const worker = new Worker(URL.createObjectURL(new Blob([element("worker").textContent], { type: "text/javascript" })));
worker.onmessage = ({ data }) => {
  if (data.error) fail(data.error);
  else if (data.ready) ready(data.ready);
  else receive(data);
};
worker.onerror = (event) => fail(event.message || "the worker did not start");
const start = { webgpu: video.webgpu };
for (const id of ["payload", "module", "wasm"]) {
  start[id] = element(id).textContent;
  element(id).remove();
}
worker.postMessage({ start });

function ready(name) {
  backend = name === "webgpu" ? "WebGPU" : "WebAssembly";
  element("status").textContent = "";
  element("play").disabled = element("position").disabled = false;
  goTo(0);
}

function fail(reason) {
  pause();
  const status = element("status");
  status.className = "failed";
  status.setAttribute("role", "alert");
  status.textContent = `The video cannot be decoded here: ${reason}`;
}

function receive({ position: at, scale: of, width, height, pixels, milliseconds }) {
  const key = `${at} ${of}`;
  spent = [...spent, milliseconds].slice(-SPENT);
  pending.delete(key);
  cache.set(key, new ImageData(pixels, width, height));
  while (cache.size > 2 * AHEAD && cache.size * pixels.length > CACHE_BYTES) cache.delete(cache.keys().next().value);
  if (!playback && key === keyOf(position)) draw(position);
  request();
}

// Asks for the next frames that are needed and not there yet. A worker that is too slow is not asked for those that are
// overdue, and draws fewer.
function request() {
  if (!playback) {
    if (pending.size < PENDING) ask(position);
    return;
  }
  const due = dueNumber(performance.now());
  playback.next = Math.max(playback.next, due);
  while (pending.size < PENDING && playback.next < due + AHEAD) ask(positionOf(playback.next++));
}

function ask(at) {
  const key = keyOf(at);
  if (cache.has(key) || pending.has(key)) return;
  pending.add(key);
  worker.postMessage({ position: at, scale: scale() });
}

// The number of the frame that is due, counted from the start of the playback.
const dueNumber = (now) => Math.floor(((now - playback.start) / 1000) * video.fps);

// The position of a frame of the playback, which goes on from 0 at the end.
function positionOf(number) {
  const { from, step } = playback;
  const first = Math.floor((last - from) / step) + 1; // frames until the end
  if (number < first) return from + number * step;
  return ((number - first) % (Math.floor(last / step) + 1)) * step;
}

function tick(now) {
  if (!playback) return;
  // The newest frame that is due and there.
  for (let number = dueNumber(now); number > playback.shown; number--) {
    if (!cache.has(keyOf(positionOf(number)))) continue;
    playback.shown = number;
    draw(positionOf(number));
    break;
  }
  request();
  showRate(now);
  requestAnimationFrame(tick);
}

function draw(at) {
  const key = keyOf(at);
  const image = cache.get(key);
  cache.delete(key); // and again as the most recently used
  cache.set(key, image);
  if (screen.width !== image.width || screen.height !== image.height) {
    [screen.width, screen.height] = [image.width, image.height];
  }
  context.putImageData(image, 0, 0);
  position = at;
  screen.dataset.position = at;
  screen.dataset.scale = scale();
  shownAt.push(performance.now());
  showPosition();
  if (!playback) showRate();
}

function showPosition() {
  element("position").value = position;
  const text = `${position.toFixed(2)} / ${last}`;
  element("time").textContent = `${text} · ${(position / video.fps).toFixed(2)} s`;
  element("position").setAttribute("aria-valuetext", `frame ${text}`);
}

function showRate(now) {
  const cost = `${milliseconds().toFixed(1)} ms a frame, ${backend}`;
  if (!playback) {
    element("rate").textContent = cost;
    return;
  }
  shownAt = shownAt.filter((time) => time > now - RATE_SECONDS * 1000);
  const seconds = Math.min(RATE_SECONDS, (now - playback.start) / 1000);
  const rate = seconds > 0 ? (shownAt.length / seconds).toFixed(1) : "…";
  element("rate").textContent = `${rate} frames/s, ${cost}`;
}

function play() {
  const from = position >= last ? 0 : position;
  const step = Number(element("speed").value);
  playback = { start: performance.now(), from, step, shown: -1, next: 0 };
  shownAt = [];
  element("play").textContent = "Pause";
  requestAnimationFrame(tick);
}

function pause() {
  playback = null;
  element("play").textContent = "Play";
}

function goTo(at) {
  pause();
  position = clamped(at);
  showPosition();
  if (cache.has(keyOf(position))) draw(position);
  else request();
}

function zoom(percent) {
  screen.style.width = `${(video.width * percent) / 100}px`;
  element("zoom").value = percent;
  element("percent").textContent = `${percent} %`;
}

function restart() {
  if (playback) play();
}

element("play").addEventListener("click", () => (playback ? pause() : play()));
element("position").addEventListener("input", (event) => goTo(Number(event.target.value)));
element("speed").addEventListener("change", restart);
element("scale").addEventListener("change", () => {
  spent = [];
  if (playback) play();
  else goTo(position);
});
element("zoom").addEventListener("input", (event) => zoom(Number(event.target.value)));
const fitting = Math.min(element("stage").clientWidth, FIRST_WIDTH) / video.width;
zoom(Math.min(400, Math.max(25, 5 * Math.floor(20 * fitting))));

const KEYS = {
  " ": () => element("play").click(),
  ArrowLeft: (step) => goTo(position - step),
  ArrowRight: (step) => goTo(position + step),
  Home: () => goTo(0),
  End: () => goTo(last),
  ArrowUp: () => changeSpeed(1),
  ArrowDown: () => changeSpeed(-1),
};

function changeSpeed(by) {
  const speed = element("speed");
  speed.selectedIndex = Math.min(speed.length - 1, Math.max(0, speed.selectedIndex + by));
  restart();
}

document.addEventListener("keydown", (event) => {
  const own = event.target.closest("select, summary, #zoom, #play"); // they have a use for these keys
  if (own && (event.key === " " || own.id !== "play")) return;
  if (element("play").disabled || event.ctrlKey || event.altKey || event.metaKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key](event.shiftKey ? 0.1 : 1);
});
