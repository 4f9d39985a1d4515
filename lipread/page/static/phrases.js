// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// Records a person's phrases, and reads them. The phrase book is kept here and not on the server.
import { CameraReader } from "./camera.js";
import { get, speak } from "./common.js";

const COUNTDOWN = 3; // seconds
const element = (name) => get(`phrases-${name}`);
const panels = ["recording", "reading", "list"];
let takes = new Map(); // by phrase, in order; 0 for one that was not recorded yet
let book = null; // the phrase book as a Blob
let saved = true; // whether the book was downloaded since the last change
let recording = null; // the phrase that is being recorded
let countdown = null; // a timer
let alike = []; // pairs of phrases that look alike on the lips

function showPanel(name) {
  for (const panel of panels) element(panel).hidden = panel !== name;
  element(name).querySelector("h2[tabindex]")?.focus();
}

function fail(text) {
  element("error").textContent = text;
}

function wanted() {
  return Number(element("takes").value);
}

/** Returns the first phrase with too few takes. */
function missing() {
  return [...takes].find(([, count]) => count < wanted())?.[0];
}

function button(label, action, name = label) {
  const made = document.createElement("button");
  made.textContent = label;
  made.setAttribute("aria-label", name);
  made.addEventListener("click", action);
  return made;
}

function list() {
  element("table").replaceChildren(
    ...[...takes].map(([text, count]) => {
      const item = document.createElement("li");
      const [phrase, state] = [document.createElement("span"), document.createElement("span")];
      phrase.textContent = text;
      phrase.dir = "auto";
      state.textContent = `${count} ${count === 1 ? "take" : "takes"}`;
      const record = button("Record", () => start(() => countDown(text)), `Record “${text}”`);
      const forget = () => {
        if (count) return start(() => camera.send({ do: "remove", text }));
        takes.delete(text);
        list();
      };
      const remove = button("Remove", forget, `Remove “${text}”`);
      item.append(phrase, state, record, remove);
      return item;
    }),
  );
  showPairs("alike", alike.filter(({ text, other }) => takes.has(text) && takes.has(other)));
  element("record").disabled = missing() === undefined;
  element("read").disabled = ![...takes.values()].some(Boolean);
}

element("add").addEventListener("click", async () => {
  for (const line of element("new").value.split("\n")) {
    const text = line.split(/\s+/).join(" ").trim();
    if (text && !takes.has(text)) takes.set(text, 0);
  }
  element("new").value = "";
  list();
  const answer = await fetch("alike", { method: "POST", body: [...takes.keys()].join("\n") });
  alike = (await answer.json()).pairs;
  list();
});
element("takes").addEventListener("change", list);

/** Counts down, and then records one take of a phrase. */
function countDown(text) {
  clearTimeout(countdown);
  recording = text;
  showPanel("recording");
  element("text").textContent = text;
  element("next").hidden = element("again").hidden = true;
  element("count").className = "count";
  const tick = (seconds) => {
    element("count").textContent = seconds ? `Lips closed … ${seconds}` : "Now mouth it, then close your lips.";
    if (seconds) countdown = setTimeout(tick, 1000, seconds - 1);
    else camera.send({ do: "record", text });
  };
  tick(COUNTDOWN);
}

function showTake({ text, problem }) {
  if (text !== recording) return;
  const kept = `Kept: take ${takes.get(text)} of “${text}”.`;
  element("count").textContent = problem ? `Not kept, ${problem}.` : kept;
  element("count").className = `count ${problem ? "error" : "good"}`;
  element("next").hidden = Boolean(problem);
  element("next").textContent = missing() === undefined ? "Done" : "Next";
  element("again").hidden = false;
  element("again").dataset.undo = problem ? "" : "yes";
  element(problem ? "again" : "next").focus();
}

element("next").addEventListener("click", () => {
  const next = missing();
  if (next === undefined) showPanel("list");
  else countDown(next);
});
element("again").addEventListener("click", () => {
  if (element("again").dataset.undo) camera.send({ do: "undo", text: recording });
  countDown(recording);
});
function end() {
  clearTimeout(countdown);
  recording = null;
  camera.send({ do: "cancel" });
  showPanel("list");
}
element("end").addEventListener("click", end);
element("stop").addEventListener("click", end);
element("record").addEventListener("click", () => start(() => countDown(missing())));
element("read").addEventListener("click", () =>
  start(() => {
    showPanel("reading");
    camera.send({ do: "read" });
  }),
);

/** Lists pairs of phrases, those that look alike or those that were mistaken. */
function showPairs(name, pairs) {
  element(name).hidden = !pairs.length;
  element(name).querySelector("ul").replaceChildren(
    ...pairs.map(({ text, other }) => {
      const item = document.createElement("li");
      item.textContent = `“${text}” and “${other}”`;
      return item;
    }),
  );
}

function showBook({ phrases, mistaken }) {
  const unrecorded = [...takes].filter(([text, count]) => !count && !phrases.some((phrase) => phrase.text === text));
  takes = new Map([...phrases.map(({ text, takes }) => [text, takes]), ...unrecorded]);
  showPairs("mistaken", mistaken);
  list();
}

/** Shows the phrase that was said, and asks whether it is right. */
function showPhrases({ phrases, accepted }) {
  const choose = (text, correct) => () => {
    camera.send({ do: "confirm", text });
    if (correct) say(text);
    ask([]);
  };
  const ask = (choices) => {
    element("choices").replaceChildren(...choices);
    element("question").hidden = !choices.length;
  };
  if (accepted) say(phrases[0].text);
  else element("hint").textContent = "That was none of your phrases. If it was, choose it below.";
  element("hint").hidden = accepted;
  ask([
    ...phrases.map(({ text }, index) =>
      button(accepted && !index ? `✓ ${text}` : text, choose(text, !accepted || index > 0)),
    ),
    button("None of these", () => ask([])),
  ]);
}

function say(text) {
  const line = document.createElement("p");
  line.textContent = text;
  element("said").replaceChildren(line);
  if (element("speak").checked) speak(text);
}

function keep(blob) {
  book = blob;
  saved = false;
  element("save").hidden = false;
  URL.revokeObjectURL(element("save").href);
  element("save").href = URL.createObjectURL(blob);
}

const answers = {
  take: showTake,
  book: showBook,
  phrases: showPhrases,
  file: ({ blob }) => keep(blob),
  refused: ({ message }) => fail(message),
};
const camera = new CameraReader(
  element("picture"),
  element("light"),
  "phrases",
  (message) => answers[message.type]?.(message),
  (problem) => {
    clearTimeout(countdown);
    element("start").textContent = "Start the camera";
    showPanel("list");
    fail(problem);
  },
);

/** Starts the camera, which gets the phrase book of this page, and then does something. */
async function start(then = () => {}) {
  fail("");
  if (!camera.socket) {
    element("start").textContent = "Stop the camera";
    try {
      if (!(await camera.start())) return;
    } catch (problem) {
      element("start").textContent = "Start the camera";
      fail(problem.message);
      return;
    }
    if (book) camera.socket.send(book);
  }
  then();
}

element("start").addEventListener("click", () => (camera.socket ? camera.stop() : start()));
element("save").addEventListener("click", () => (saved = true));
element("file").addEventListener("change", (event) => {
  const [chosen] = event.target.files;
  event.target.value = "";
  if (!chosen) return;
  camera.stop();
  takes = new Map();
  book = chosen;
  start();
});
window.addEventListener("beforeunload", (event) => saved || event.preventDefault());
document.addEventListener("tab", ({ detail }) => detail !== "phrases" && camera.stop());
