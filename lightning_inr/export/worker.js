"use strict";
// Runs in a worker, so that the page stays responsive: reads the payload that lightning_inr/export/weights.py writes,
// loads the network into onnxruntime-web, and renders frames.
//
// Messages to the worker: {start: {payload, module, wasm, webgpu}}, base64 texts, then {position, scale} for each frame.
// Messages from it: {ready: name of the backend}, {position, scale, width, height, pixels, milliseconds}, {error}.

// As in weights.py:
const ESCAPE = 255;
const CAP = 8;
const CLASS_EDGES = [1, 3, 6, 10, 16, 26];

let network = null; // {ort, provider, graphs, weights, sessions}
let work = Promise.resolve(); // messages are handled one after the other

self.onmessage = ({ data }) => {
  work = work.then(() => (data.start ? start(data.start) : render(data))).catch((error) => {
    self.postMessage({ error: String((error && error.message) || error) });
  });
};

async function start({ payload, module, wasm, webgpu }) {
  const source = await inflated(bytesOf(module), "gzip");
  // A worker cannot import a blob of the page, as a page from a file has an origin of its own.
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const ort = await import(url);
  ort.env.wasm.numThreads = 1; // threads need headers that a page from a file does not have
  ort.env.wasm.wasmBinary = (await inflated(bytesOf(wasm), "gzip")).buffer;
  const provider = webgpu && navigator.gpu && (await navigator.gpu.requestAdapter()) ? "webgpu" : "wasm";
  network = { ort, provider, sessions: new Map(), ...(await readPayload(bytesOf(payload))) };
  await rendered(0, 1); // the first frame takes longer: the browser has yet to optimise the code
  self.postMessage({ ready: network.provider });
}

async function render({ position, scale }) {
  const begin = performance.now();
  const rgb = await rendered(position, scale);
  const [, , height, width] = rgb.dims;
  const pixels = withAlpha(rgb.data, height * width);
  const milliseconds = performance.now() - begin;
  self.postMessage({ position, scale, width, height, pixels, milliseconds }, [pixels.buffer]);
}

async function rendered(position, scale) {
  const session = await sessionFor(scale);
  const input = new network.ort.Tensor("float32", Float32Array.of(position), [1]);
  return (await session.run({ position: input })).rgb;
}

// The session that renders frames of `scale` times the video's size, made at the first use.
async function sessionFor(scale) {
  const { ort, graphs, weights, sessions } = network;
  if (!sessions.has(scale)) {
    const create = (provider) =>
      ort.InferenceSession.create(graphs.get(scale), {
        executionProviders: [provider],
        logSeverityLevel: 3, // errors
        externalData: [{ path: "weights", data: weights }],
      });
    try {
      sessions.set(scale, await create(network.provider));
    } catch (error) {
      if (network.provider === "wasm") throw error;
      network.provider = "wasm";
      sessions.set(scale, await create("wasm"));
    }
  }
  return sessions.get(scale);
}

// Planes of red, green and blue -> pixels of red, green, blue and alpha.
function withAlpha(planes, count) {
  const pixels = new Uint8ClampedArray(4 * count);
  for (let place = 0, out = 0; place < count; place++, out += 4) {
    pixels[out] = planes[place];
    pixels[out + 1] = planes[place + count];
    pixels[out + 2] = planes[place + 2 * count];
    pixels[out + 3] = 255;
  }
  return pixels;
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

async function inflated(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Payload -> the ONNX graph of each scale, and the values of all tensors, one after the other.
async function readPayload(payload) {
  const length = new DataView(payload.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(await inflated(payload.subarray(4, 4 + length), "deflate")));
  let place = 4 + length;
  let part = 0;
  const next = async () => {
    const end = place + header.parts[part++];
    const bytes = await inflated(payload.subarray(place, end), "deflate");
    place = end;
    return bytes;
  };
  const graphs = new Map();
  for (const scale of header.scales) graphs.set(scale, await next());
  const counts = header.tensors.map((tensor) => product(tensor.shape));
  const weights = new Float32Array(sum(counts));
  let filled = 0;
  for (const tensor of header.tensors) {
    const values = await TENSORS[tensor.kind](tensor, next);
    weights.set(values, filled);
    filled += values.length;
  }
  return { graphs, weights: new Uint8Array(weights.buffer) };
}

const sum = (numbers) => numbers.reduce((result, number) => result + number, 0);
const product = (numbers) => numbers.reduce((result, number) => result * number, 1);

// kind -> function of the tensor's description and of the function that returns the next part.
const TENSORS = {
  async floats({ bits }, next) {
    const bytes = await next();
    return bits === 16 ? Float32Array.from(new Uint16Array(bytes.buffer), halfToNumber) : new Float32Array(bytes.buffer);
  },

  async levels({ shape, levels, centre, differences, axis, low, high }, next) {
    const [narrow, wide] = [await next(), new Uint16Array((await next()).buffer)];
    const symbols = new Int32Array(narrow.length);
    const row = differences ? narrow.length / shape[0] : narrow.length; // the first one is relative to the centre
    const inner = axis === null ? narrow.length : product(shape.slice(axis + 1)); // values in a row with one range
    const values = new Float32Array(narrow.length);
    let taken = 0;
    for (let place = 0; place < values.length; place++) {
      const before = place < row ? centre : symbols[place - row];
      symbols[place] = before + unfolded(narrow[place] === ESCAPE ? wide[taken++] : narrow[place]);
      const channel = Math.floor(place / inner) % low.length;
      const unit = symbols[place] / (levels - 1);
      values[place] = low[channel] * (1 - unit) + high[channel] * unit;
    }
    return values;
  },

  async coefficients(tensor, next) {
    const classes = [];
    for (let each = 0; each < CLASS_EDGES.length + 2; each++) classes.push(await next());
    const symbols = readCoefficients(tensor, classes, new Uint16Array((await next()).buffer));
    const planes = Float32Array.from(symbols, (symbol) => symbol * tensor.step);
    fromCoefficients(planes, tensor);
    return channelsLast(planes, tensor);
  },
};

function halfToNumber(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}

// 0, 1, 2, 3, 4 … -> 0, 1, -1, 2, -2 …
function unfolded(number) {
  return number & 1 ? (number + 1) / 2 : -number / 2;
}

// The numbers of each class, and those that do not fit a byte -> planes (slices, channels, rows, columns) of symbols.
// The class of a coefficient follows from those before it, as in `coefficient_classes` of weights.py.
function readCoefficients({ shape, rows, columns }, classes, wide) {
  const [slices, cells, channels] = shape;
  const width = sum(columns);
  const [inRow, inColumn] = [offsetsOf(rows), offsetsOf(columns)]; // within the blocks
  const classOf = Array.from(
    { length: 7 * CAP + 1 },
    (_, activity) => 1 + CLASS_EDGES.filter((edge) => edge <= activity).length,
  );
  const symbols = new Int32Array(slices * channels * cells);
  const taken = classes.map(() => 0);
  let takenWide = 0;
  const capped = (place) => Math.min(Math.abs(symbols[place]), CAP);
  for (const cell of frequencyOrder(rows, columns)) {
    const inner = inRow[Math.floor(cell / width)] > 0;
    const further = inColumn[cell % width] > 0;
    for (let plane = 0; plane < slices * channels; plane++) {
      const place = plane * cells + cell;
      let chosen = 0;
      if (inner || further) {
        let activity = plane >= channels ? 2 * capped(place - channels * cells) : 0;
        if (inner) activity += 2 * capped(place - width);
        if (further) activity += 2 * capped(place - 1);
        if (inner && further) activity += capped(place - width - 1);
        chosen = classOf[activity];
      }
      const number = classes[chosen][taken[chosen]++];
      symbols[place] = unfolded(number === ESCAPE ? wide[takenWide++] : number);
    }
  }
  return symbols;
}

// The indices of all coefficients of a plane, by frequency: diagonal by diagonal of blocks of these sizes.
function frequencyOrder(rows, columns) {
  const [down, along] = [byFrequency(rows), byFrequency(columns)];
  const width = sum(columns);
  const order = [];
  for (let diagonal = 0; diagonal < down.length + along.length - 1; diagonal++) {
    for (let frequency = 0; frequency <= diagonal; frequency++) {
      if (frequency >= down.length || diagonal - frequency >= along.length) continue;
      for (const row of down[frequency]) {
        for (const column of along[diagonal - frequency]) order.push(row * width + column);
      }
    }
  }
  return order;
}

// For each frequency, the positions that have it in blocks of these sizes.
function byFrequency(sizes) {
  const starts = startsOf(sizes);
  return Array.from({ length: Math.max(...sizes) }, (_, frequency) =>
    starts.filter((_, block) => frequency < sizes[block]).map((start) => start + frequency),
  );
}

// For each position in blocks of these sizes, its offset from the start of the block.
function offsetsOf(sizes) {
  return sizes.flatMap((size) => Array.from({ length: size }, (_, offset) => offset));
}

function startsOf(sizes) {
  let start = 0;
  return sizes.map((size) => (start += size) - size);
}

// The inverse cosine transform of lightning_inr/codec/transform.py, in place.
function fromCoefficients(planes, { shape, slices, rows, columns }) {
  const [count, cells, channels] = shape;
  const [height, width] = [sum(rows), sum(columns)];
  const [tops, lefts] = [startsOf(rows), startsOf(columns)];
  const means = new Float32Array(tops.length * lefts.length);
  for (let plane = 0; plane < planes.length; plane += cells) {
    // The means of the blocks have been transformed as one block.
    const places = tops.flatMap((top) => lefts.map((left) => plane + top * width + left));
    places.forEach((place, index) => (means[index] = planes[place]));
    alongAxis(means, 1, [tops.length], lefts.length);
    alongAxis(means, tops.length, [lefts.length], 1);
    places.forEach((place, index) => (planes[place] = means[index]));
  }
  alongAxis(planes, 1, slices, channels * cells);
  alongAxis(planes, count * channels, rows, width);
  alongAxis(planes, count * channels * height, columns, 1);
}

// values (outer, sum of sizes, inner): the inverse cosine transform of blocks of these sizes along the second axis.
function alongAxis(values, outer, sizes, inner) {
  const length = sum(sizes);
  const starts = startsOf(sizes);
  sizes.forEach((size, block) => {
    const matrix = cosines(size);
    const column = new Float64Array(size);
    for (let row = 0; row < outer; row++) {
      for (let place = 0; place < inner; place++) {
        const first = (row * length + starts[block]) * inner + place;
        for (let each = 0; each < size; each++) column[each] = values[first + each * inner];
        for (let each = 0; each < size; each++) {
          let value = 0;
          for (let frequency = 0; frequency < size; frequency++) {
            value += matrix[frequency * size + each] * column[frequency];
          }
          values[first + each * inner] = value;
        }
      }
    }
  });
}

// The matrix of the orthonormal cosine transform (DCT-II), one frequency per row.
function cosines(size) {
  const matrix = new Float64Array(size * size);
  for (let frequency = 0; frequency < size; frequency++) {
    const factor = Math.sqrt((frequency ? 2 : 1) / size);
    for (let place = 0; place < size; place++) {
      matrix[frequency * size + place] = factor * Math.cos((Math.PI / size) * frequency * (place + 0.5));
    }
  }
  return matrix;
}

// (slices, channels, cells) -> (slices, cells, channels), as in the state dict.
function channelsLast(planes, { shape }) {
  const [slices, cells, channels] = shape;
  const values = new Float32Array(planes.length);
  for (let slice = 0; slice < slices; slice++) {
    for (let channel = 0; channel < channels; channel++) {
      const from = (slice * channels + channel) * cells;
      const to = slice * cells * channels + channel;
      for (let cell = 0; cell < cells; cell++) values[to + cell * channels] = planes[from + cell];
    }
  }
  return values;
}
