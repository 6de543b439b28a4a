// A model in a page: no server, nothing is fetched. `about` says what a row is made of (controls) and how an answer is shown.
const about = JSON.parse(document.getElementById("about").textContent);
const byId = (id) => document.getElementById(id);
const answer = byId("answer"), wrong = byId("wrong"), state = byId("state"), form = byId("inputs");

function made(tag, attributes = {}, ...inside) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (name in found && typeof value !== "string") found[name] = value;
    else found.setAttribute(name, value);
  }
  found.append(...inside);
  return found;
}

async function unpacked(id) {
  const text = byId(id).textContent, bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  byId(id).remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ---- the model

const ARRAYS = { uint8: Uint8Array, int16: Int16Array, int64: BigInt64Array, float32: Float32Array, float64: Float64Array };
let ort, session;

async function load() {
  const code = URL.createObjectURL(new Blob([await unpacked("runtime")], { type: "text/javascript" }));
  ort = await import(code);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked("wasm");
  session = await ort.InferenceSession.create(await unpacked("model"));
}

// given: input -> { data: numbers or texts, dims }; the answers by name, as arrays of numbers with `dims`
async function ask(given) {
  const feeds = {};
  for (const [name, { data, dims }] of Object.entries(given)) {
    const { dtype, words } = about.inputs[name];
    if (words) feeds[name] = new ort.Tensor("string", data, dims);
    else feeds[name] = new ort.Tensor(dtype, dtype === "int64" ? BigInt64Array.from(data, BigInt) : ARRAYS[dtype].from(data), dims);
  }
  const found = await session.run(feeds);
  return Object.fromEntries(session.outputNames.map((name) => [name, { data: Array.from(found[name].data, Number), dims: found[name].dims }]));
}

// ---- texts as codes

const { alone, marks, joiners, space } = about.letters;
const WORD = {
  words: new RegExp(`[${alone}]|[!?]|(?:(?![_${alone}])[\\p{L}\\p{N}\\p{Mc}${marks}]){1,40}(?:'(?:(?![_${alone}])[\\p{L}\\p{N}\\p{Mc}${marks}]){1,40})*`, "gu"),
  cells: new RegExp(`[${alone}]|[!?]|(?![${alone}])[\\p{L}\\p{N}${marks}](?:(?:(?![${alone}])[\\p{L}\\p{N}${marks}']))*`, "gu"),
};
const TAG = /<\/?[a-zA-Z][^<>]{0,200}>/g;

function unescaped(text) {
  const room = document.createElement("textarea");
  room.innerHTML = text;
  return room.value;
}

function pieces(text, rule) {
  const unified = (t) => t.replace(new RegExp(`[${joiners}]`, "gu"), "").normalize("NFKC").toLowerCase();
  if (rule === "letters") return [...unified(text).trim().replace(/\s+/g, space)];
  const quoted = (t) => unified(t).replaceAll("\u2019", "'");
  if (rule === "words") return quoted(unescaped(text.replace(TAG, " "))).replaceAll("_", " ").match(WORD.words) ?? [];
  return (quoted(text).replace(TAG, " ").replace(/&#?\w{1,10};|'{2,}/g, " ").match(WORD.cells) ?? []).map((word) => word.replace(/'+$/, ""));
}

function coder({ vocabulary, rule, length }) {
  const code = new Map(vocabulary.map((word, i) => [word, i + 2]));
  return (text) => {
    const found = pieces(text, rule).slice(0, length).map((word) => code.get(word) ?? 1);
    return found.length ? found : [0];
  };
}

function tokenizer({ kind, letters, tokens, merges }) {
  if (kind === "characters") {
    const known = [...letters], code = new Map(known.map((letter, i) => [letter, i + 1]));
    return { encode: (text) => [...text].map((letter) => code.get(letter) ?? 0), decode: (ids) => ids.map((id) => known[id - 1] ?? "\ufffd").join("") };
  }
  const printed = [];
  for (let byte = 0; byte < 256; byte++) if ((byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte < 0xad) || byte > 0xad) printed.push(byte);
  const others = [...Array(256).keys()].filter((byte) => !printed.includes(byte));
  const sign = new Map([...printed.map((b) => [b, String.fromCharCode(b)]), ...others.map((b, i) => [b, String.fromCharCode(256 + i)])]);
  const byteOf = new Map([...sign].map(([byte, letter]) => [letter, byte])), code = new Map(tokens.map((token, i) => [token, i]));
  const rank = new Map(merges.map(([one, other], i) => [`${one} ${other}`, i]));
  const CUT = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
  const joined = (word) => {
    let parts = [...new TextEncoder().encode(word)].map((byte) => sign.get(byte));
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const place = rank.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (place < best) [best, at] = [place, i];
      }
      if (at < 0) return parts;
      const [one, other] = [parts[at], parts[at + 1]], merged = [];
      for (let i = 0; i < parts.length; i++) {
        if (parts[i] === one && parts[i + 1] === other) { merged.push(one + other); i++; } else merged.push(parts[i]);
      }
      parts = merged;
    }
  };
  return {
    encode: (text) => (text.match(CUT) ?? []).flatMap(joined).map((token) => code.get(token)),
    decode: (ids) => new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => [...tokens[id]].map((letter) => byteOf.get(letter))))),
  };
}

// ---- controls: each puts what a person fills into the form and returns a function that reads a row of it

function listened(box, changed) {
  box.addEventListener("input", changed);
  return box;
}

const CONTROLS = {
  picture(role, { height, width, channels }, changed) {
    const scale = Math.max(1, Math.round(280 / Math.max(height, width)));
    const canvas = made("canvas", { width: width * scale, height: height * scale, tabindex: "0", role: "img",
      "aria-label": "Drawing. Arrow keys move the pen, the space bar sets it down and lifts it." });
    const pen = canvas.getContext("2d", { willReadFrequently: true }), video = made("video", { hidden: true, muted: true, playsinline: "" });
    const snap = made("button", { type: "button", hidden: true }, "Take the picture");
    let at = null, down = false, key = { x: canvas.width / 2, y: canvas.height / 2, down: false };
    canvas.style.setProperty("--ratio", width / height);
    const blank = (colour) => { pen.fillStyle = colour; pen.fillRect(0, 0, canvas.width, canvas.height); };
    const clear = () => { [canvas.width, canvas.height] = [width * scale, height * scale]; canvas.style.setProperty("--ratio", width / height); blank("#000"); };
    const stroke = (x, y) => {
      [pen.lineWidth, pen.lineCap, pen.strokeStyle] = [canvas.width / 12, "round", "#fff"];
      pen.beginPath(); pen.moveTo(...(at ?? [x, y])); pen.lineTo(x, y); pen.stroke();
      at = [x, y];
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => { down = true; at = null; canvas.setPointerCapture(event.pointerId); stroke(...place(event)); });
    canvas.addEventListener("pointermove", (event) => { if (down) stroke(...place(event)); });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { if (down) changed(); down = false; });
    canvas.addEventListener("keydown", (event) => {
      const step = canvas.width / 28, moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (event.key === " ") { key.down = !key.down; at = null; if (key.down) stroke(key.x, key.y); else changed(); }
      else if (moves[event.key]) {
        key.x = Math.min(canvas.width, Math.max(0, key.x + moves[event.key][0]));
        key.y = Math.min(canvas.height, Math.max(0, key.y + moves[event.key][1]));
        if (key.down) { stroke(key.x, key.y); changed(); }
      } else return;
      event.preventDefault();
    });
    const show = (source, w, h) => {
      const most = Math.min(1, 1024 / Math.max(w, h));
      [canvas.width, canvas.height] = [Math.max(1, Math.round(w * most)), Math.max(1, Math.round(h * most))];
      canvas.style.setProperty("--ratio", canvas.width / canvas.height);
      blank("#fff"); pen.drawImage(source, 0, 0, canvas.width, canvas.height); changed();
    };
    const open = async (file) => {
      if (!file) return;
      try { const picture = await createImageBitmap(file); show(picture, picture.width, picture.height); }
      catch { tell(`${file.name} is no picture that this browser reads.`); }
    };
    for (const name of ["dragover", "dragleave", "drop"]) canvas.addEventListener(name, (event) => {
      event.preventDefault(); canvas.classList.toggle("over", name === "dragover");
      if (name === "drop") open(event.dataTransfer.files[0]);
    });
    let stream = null;
    const stop = () => { stream?.getTracks().forEach((track) => track.stop()); video.hidden = snap.hidden = true; };
    const camera = async () => {
      try { stream = await navigator.mediaDevices.getUserMedia({ video: true }); }
      catch { return tell("The camera cannot be used: allow it for this page, or choose a file."); }
      video.srcObject = stream; await video.play(); video.hidden = snap.hidden = false;
    };
    snap.addEventListener("click", () => { show(video, video.videoWidth, video.videoHeight); stop(); });
    clear();
    const file = made("input", { type: "file", accept: "image/*", id: `${role}-file`, onchange: (event) => open(event.target.files[0]) });
    form.append(canvas, video, made("div", { class: "buttons" }, snap,
      made("button", { type: "button", onclick: () => { clear(); key.down = false; answer.replaceChildren(); } }, "Clear"), made("button", { type: "button", onclick: camera }, "Camera")),
      made("label", { for: `${role}-file` }, "Picture from a file (or drop one on the drawing)"), file);
    return () => {
      const { data, width: w, height: h } = pen.getImageData(0, 0, canvas.width, canvas.height), found = new Uint8Array(w * h * channels);
      for (let i = 0; i < w * h; i++) {
        const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
        if (channels === 1) found[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
        else found.set([r, g, b], 3 * i);
      }
      return { [role]: { data: found, dims: [1, h, w, channels] } };
    };
  },

  sound(role, { rate }, changed) {
    let samples = null, recorder = null;
    const told = made("p", { class: "quiet", role: "status" }, "Nothing was recorded yet.");
    const take = async (blob) => {
      try {
        const whole = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
        const one = new OfflineAudioContext(1, whole.length, rate), source = one.createBufferSource();
        source.buffer = whole; source.connect(one.destination); source.start();
        const found = (await one.startRendering()).getChannelData(0), loudest = found.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
        samples = Int16Array.from(found, (x) => Math.round(x * 32767 / loudest));
        told.textContent = `${(samples.length / rate).toFixed(2)} s of sound`; changed();
      } catch { tell("This is no recording that this browser reads."); }
    };
    const record = made("button", { type: "button" }, "Record");
    record.addEventListener("click", async () => {
      if (recorder) return recorder.stop();
      let stream;
      try { stream = await navigator.mediaDevices.getUserMedia({ audio: true }); }
      catch { return tell("The microphone cannot be used: allow it for this page, or choose a file."); }
      recorder = new MediaRecorder(stream); const parts = [];
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => { stream.getTracks().forEach((track) => track.stop()); recorder = null; record.textContent = "Record"; take(new Blob(parts)); };
      recorder.start(); record.textContent = "Stop";
    });
    const file = made("input", { type: "file", accept: "audio/*", id: `${role}-file`, onchange: (event) => event.target.files[0] && take(event.target.files[0]) });
    form.append(told, made("div", { class: "buttons" }, record), made("label", { for: `${role}-file` }, "Recording from a file"), file);
    return () => samples ? { [role]: { data: samples, dims: [1, samples.length] } } : null;
  },

  words(role, about, changed) {
    const box = listened(made("textarea", { id: role, spellcheck: false }), changed), codes = coder(about);
    form.append(made("label", { for: role }, "Text"), box);
    return () => { const found = codes(box.value); return box.value.trim() ? { [role]: { data: found, dims: [1, found.length] } } : null; };
  },

  letters(role, { symbols, length }, changed) {
    const box = listened(made("textarea", { id: role, spellcheck: false }), changed);
    form.append(made("label", { for: role }, `Letters, of ${symbols}, at most ${length}`), box);
    return () => { const found = new TextEncoder().encode(box.value.replace(/\s/g, "")); return found.length ? { [role]: { data: found, dims: [1, found.length] } } : null; };
  },

  numbers(role, { words, least = 1, most = 0, shape }, changed) {
    const box = listened(made("textarea", { id: role, spellcheck: false }), changed);
    form.append(made("label", { for: role }, `Numbers: ${words}`), box);
    return () => {
      const found = box.value.split(/[\s,;]+/).filter(Boolean).map(Number);
      if (found.some(Number.isNaN)) throw new Error("There is something that is no number; write them like 1.5, 2, 3.");
      if (found.length < least || (most && found.length > most)) { if (!found.length) return null; throw new Error(`${found.length} numbers are given; the model takes ${most ? least : `at least ${least}`}.`); }
      return { [role]: { data: found, dims: [1, ...(shape ?? [found.length])] } };
    };
  },

  cells(role, { fields }, changed) {
    const grid = made("div", { class: "form" }), boxes = new Map();
    fields.forEach(({ name, field, names }, i) => {
      const id = `${role}-${i}`;
      const box = field === "choice"
        ? made("select", { id }, made("option", { value: "" }, "(missing)"), ...names.map((word) => made("option", { value: word }, word)))
        : made("input", { id, type: { number: "number", moment: "datetime-local", words: "text" }[field], step: "any", autocomplete: "off" });
      boxes.set(name, listened(box, changed));
      grid.append(made("div", {}, made("label", { for: id }, name), box));
    });
    form.append(grid);
    return () => Object.fromEntries(fields.map((one) => {
      const { name, field } = one, value = boxes.get(name).value;
      if (field === "choice") return [name, { data: [value], dims: [1] }];
      if (field === "words") { const found = coder(one)(value); return [name, { data: found, dims: [1, found.length] }]; }
      return [name, { data: [value === "" ? NaN : field === "moment" ? Date.parse(`${value}Z`) / 1000 : Number(value)], dims: [1] }];
    }));
  },

  tokens(role, { tokenizer: how, length }, changed) {
    const box = listened(made("textarea", { id: role, spellcheck: false }), changed), codes = tokenizer(how);
    form.append(made("label", { for: role }, "Text, which the model goes on with"), box,
      made("div", { class: "buttons" }, made("button", { type: "button", onclick: () => writeOn(box, codes, role, length) }, "Write on")));
    next.decode = codes.decode;
    return () => { const found = codes.encode(box.value).slice(-length); return found.length ? { [role]: { data: found, dims: [1, found.length] } } : null; };
  },
};

// ---- answers

function shares(logits) {
  const most = Math.max(...logits), grown = logits.map((x) => Math.exp(x - most)), sum = grown.reduce((a, b) => a + b, 0);
  return grown.map((x) => x / sum);
}

function ranking(caption, rows) {
  const lines = rows.map(([name, share], i) => {
    const line = made("tr", i ? {} : { class: "best" }, made("th", { scope: "row" }, name), made("td", {}, `${(100 * share).toFixed(1)}%`));
    line.style.setProperty("--share", `${100 * share}%`);
    return line;
  });
  return made("table", {}, made("caption", { class: "quiet" }, caption), made("tbody", {}, ...lines));
}

function best(logits, names, count) {
  return shares(logits).map((share, i) => [names(i), share]).sort((a, b) => b[1] - a[1]).slice(0, count);
}

const ANSWERS = {
  classes(found) {
    const rows = best(Object.values(found)[0].data, (i) => about.shown.labels[i], 10);
    return [made("p", { class: "big" }, rows[0][0]), ranking("How likely each class is", rows)];
  },
  values(found) {
    return Object.entries(found).map(([name, { data }]) => {
      const said = data.slice(0, 24).map((x) => Number(x.toPrecision(6)).toString()).join(", ") + (data.length > 24 ? ", …" : "");
      return made("p", { class: data.length > 4 ? "written" : "big" }, `${name}: ${said}`);
    });
  },
  next(found) { return [ranking("What is likely to follow", best(last(found), (i) => JSON.stringify(next.decode([i])), 10))]; },
};
const next = { decode: null };

function last(found) {
  const { data, dims } = Object.values(found)[0], logits = data.slice(-dims.at(-1));
  for (const i of about.shown.never) logits[i] = -1e9;
  return logits;
}

async function writeOn(box, codes, role, length) {
  let tokens = codes.encode(box.value || "\n");
  const began = tokens.length;
  for (let i = 0; i < 120; i++) {
    const seen = tokens.slice(-length), found = await ask({ [role]: { data: seen, dims: [1, seen.length] } });
    let drawn = Math.random();
    const likely = shares(last(found).map((x) => x / 0.8));
    tokens.push(Math.max(0, likely.findIndex((share) => (drawn -= share) < 0)));
    answer.replaceChildren(made("p", { class: "written" }, box.value, made("strong", {}, codes.decode(tokens.slice(began)))));
    await new Promise((go) => setTimeout(go));
  }
}

// ---- the page

function tell(words) { wrong.textContent = words; }

let running = false, again = false;
async function answered() {
  if (!session) return;
  if (running) { again = true; return; }
  running = true;
  try {
    const rows = readers.map((read) => read());
    wrong.textContent = "";
    if (rows.some((row) => row === null)) answer.replaceChildren();
    else answer.replaceChildren(...ANSWERS[about.shown.answer](await ask(Object.assign({}, ...rows))));
  } catch (error) { answer.replaceChildren(); tell(error.message); }
  running = false;
  if (again) { again = false; answered(); }
}

let waiting;
const changed = () => { clearTimeout(waiting); waiting = setTimeout(answered, 60); };
const readers = Object.entries(about.controls).map(([role, how]) => CONTROLS[how.control](role, how, changed));
form.append(made("div", { class: "buttons" }, made("button", { class: "main" }, "Ask")));
form.addEventListener("submit", (event) => { event.preventDefault(); answered(); });

const began = performance.now();
load().then(() => {
  state.textContent = `The model is ready, after ${((performance.now() - began) / 1000).toFixed(1)} s.`;
  document.documentElement.dataset.ready = "yes";
}, (error) => tell(`The model cannot be loaded: ${error.message}`));
window.model = { ask, pieces, coder, tokenizer, read: () => Object.assign({}, ...readers.map((read) => read())) };
