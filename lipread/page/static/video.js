// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// Reads a video that was chosen, recorded or taken as the example; all three are files, and are read in one way.
import { closeCamera, copy, drawFace, get, openCamera, speak } from "./common.js";

const RECORD_SECONDS = 30;
const video = get("video-picture").querySelector("video");
const canvas = get("video-picture").querySelector("canvas");
const [read, stop, record] = ["video-read", "video-stop", "video-record"].map(get);
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
let maxMegabytes = 100;
let file = null; // the video to read
let result = null; // the last answer
let reading = null; // an AbortController
let recorder = null; // a MediaRecorder

function fail(message) {
  get("video-error").textContent = message;
}

function status(text, share = null) {
  if (get("video-status").textContent !== text) get("video-status").textContent = text;
  get("video-progress").hidden = share === null;
  get("video-progress").value = share ?? 0;
}

function forget() {
  result = null;
  fail("");
  status("No words yet.");
  get("video-words").replaceChildren();
  get("video-notes").replaceChildren();
  get("video-after").hidden = true;
  drawFace(canvas, video, null, []);
}

/** Moves to the result where its beginning is outside of the upper half of the window, as on a phone. */
function showResult() {
  const place = get("video-result");
  const { top } = place.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) {
    place.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "start" });
  }
  place.querySelector("h2").focus({ preventScroll: true });
}

function take(blob) {
  reading?.abort();
  forget();
  file = blob;
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(blob);
  video.controls = true;
  video.hidden = false;
  get("video-picture").querySelector(".empty").hidden = true;
  read.disabled = false;
}

// A browser plays few formats; the reader knows many.
video.addEventListener("error", () => {
  if (!file || !video.src) return;
  video.hidden = true;
  const empty = get("video-picture").querySelector(".empty");
  empty.textContent = "Your browser cannot show this video. It may still be read.";
  empty.hidden = false;
});

get("video-file").addEventListener("change", (event) => {
  const [chosen] = event.target.files;
  event.target.value = ""; // so that the same file can be chosen again
  if (chosen) take(chosen);
});

get("video-example").addEventListener("click", async () => take(await (await fetch("example.mp4")).blob()));

/** Takes over what the server says about itself. */
export function setUp(about) {
  maxMegabytes = about.megabytes;
  get("video-example").hidden = !about.example;
}

async function startRecording() {
  forget();
  try {
    video.srcObject = await openCamera();
  } catch (error) {
    return fail(error.message);
  }
  read.disabled = true;
  video.controls = false;
  video.hidden = video.muted = false;
  get("video-picture").querySelector(".empty").hidden = true;
  get("video-picture").classList.add("mirrored");
  await video.play();
  const kinds = ["video/mp4", "video/webm"].filter((kind) => MediaRecorder.isTypeSupported(kind));
  recorder = new MediaRecorder(video.srcObject, { mimeType: kinds[0] });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    closeCamera(video);
    get("video-picture").classList.remove("mirrored");
    record.textContent = "Record";
    recorder = null;
    take(new Blob(parts, { type: kinds[0] }));
  };
  recorder.start();
  const begin = performance.now();
  const tick = () => {
    if (!recorder) return;
    const seconds = Math.floor((performance.now() - begin) / 1000);
    record.textContent = `Stop recording (${seconds} s)`;
    if (seconds >= RECORD_SECONDS - 1) recorder.stop();
    else setTimeout(tick, 250);
  };
  tick();
}

record.addEventListener("click", () => (recorder ? recorder.stop() : startRecording()));
document.addEventListener("tab", ({ detail }) => detail !== "video" && recorder?.stop());

/** Yields the server's lines of JSON as they come. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
    if (done) {
      if (rest) yield JSON.parse(rest);
      return;
    }
  }
}

read.addEventListener("click", async () => {
  if (file.size > maxMegabytes * 1e6) return fail(`At most ${maxMegabytes} MB are allowed. Cut the video.`);
  forget();
  reading = new AbortController();
  read.disabled = true;
  stop.hidden = false;
  status("Sending the video", 0);
  showResult();
  let last = null;
  try {
    const address = `read?all=${get("video-all").checked ? 1 : 0}`;
    const response = await fetch(address, { method: "POST", body: file, signal: reading.signal });
    for await (const message of lines(response)) {
      last = message;
      if (message.type === "progress") status(message.text, message.share);
      else if (message.type === "waiting") status(message.text, 0);
    }
    status("");
    if (last?.type === "result") show(last);
    else fail(last?.message ?? "The page does not answer. Try again in a minute.");
  } catch {
    status(reading.signal.aborted ? "Stopped." : "");
    if (!reading.signal.aborted) fail("The page does not answer. Check the connection, and try again in a minute.");
  }
  reading = null;
  read.disabled = false;
  stop.hidden = true;
});
stop.addEventListener("click", () => reading?.abort());

function show(message) {
  result = message;
  const shades = [[0.9, "sure"], [0.6, "likely"], [0, "unsure"]];
  const names = { likely: "perhaps", unsure: "a guess" };
  for (const { word, start, score } of message.words) {
    const [, shade] = shades.find(([least]) => (score ?? 1) >= least);
    const button = document.createElement("button");
    button.className = `word ${shade}`;
    button.dataset.start = start;
    button.textContent = word;
    if (names[shade]) {
      const said = document.createElement("span");
      said.className = "hidden";
      said.textContent = ` (${names[shade]})`;
      button.append(said);
    }
    get("video-words").append(button, " ");
  }
  for (const note of message.notes) {
    const item = document.createElement("li");
    item.textContent = note;
    get("video-notes").append(item);
  }
  get("video-after").hidden = !message.words.length;
  for (const kind of ["srt", "vtt"]) {
    URL.revokeObjectURL(get(`video-${kind}`).href);
    get(`video-${kind}`).href = URL.createObjectURL(new Blob([message[kind]], { type: "text/plain" }));
  }
  const count = message.words.length;
  status(count ? `${count} ${count === 1 ? "word" : "words"} read.` : "No words were read.");
  showResult();
  video.currentTime = 0;
  if (!calm()) video.play().catch(() => {}); // some browsers play after a click only
}

get("video-words").addEventListener("click", (event) => {
  const word = event.target.closest(".word");
  if (word) video.currentTime = Number(word.dataset.start) + 0.001;
});
const text = () => result.words.map(({ word }) => word).join(" ");
get("video-speak").addEventListener("click", () => speak(text()));
get("video-copy").addEventListener("click", (event) => copy(event.target, text()));

// Shows the landmarks and the word at the time of the video.
function follow() {
  if (result && !recorder) {
    const next = result.times.findIndex((time) => time > video.currentTime + 0.001);
    drawFace(canvas, video, result.points.at(next < 0 ? -1 : Math.max(next - 1, 0)), result.contours);
    result.words.forEach(({ start, end }, index) => {
      const now = video.currentTime >= start && video.currentTime < end;
      get("video-words").children[index]?.classList.toggle("now", now);
    });
  }
  requestAnimationFrame(follow);
}
follow();
