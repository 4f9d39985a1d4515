// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// Words from the camera while they are mouthed: grey while they may change, then black, and then never changed.
import { CameraReader } from "./camera.js";
import { copy, get, speak } from "./common.js";

const start = get("live-start");
const settled = get("live-settled");
const partial = get("live-partial");
const words = get("live-words");
const error = get("live-error");
const text = (message) => message.words.map((word) => word.word).join(" ");

function show(message) {
  if (!["partial", "final"].includes(message.type)) return;
  get("live-hint").hidden = true;
  partial.className = "";
  partial.textContent = message.type === "partial" ? text(message) : "";
  if (message.type === "final" && message.words.length) {
    const line = document.createElement("p");
    line.dir = "auto";
    line.textContent = text(message);
    settled.append(line);
    if (get("live-speak").checked) speak(line.textContent);
  } else if (message.type === "final" && message.reason) {
    partial.className = "reason";
    partial.textContent = `Not read: ${message.reason}.`;
  }
  words.scrollTop = words.scrollHeight;
}

const camera = new CameraReader(get("live-picture"), get("live-light"), "live", show, (message) => {
  start.textContent = "Start the camera";
  partial.textContent = "";
  error.textContent = message;
});

start.addEventListener("click", async () => {
  if (camera.socket) return camera.stop();
  error.textContent = "";
  start.textContent = "Stop the camera";
  try {
    await camera.start();
  } catch (problem) {
    start.textContent = "Start the camera";
    error.textContent = problem.message;
  }
});
get("live-copy").addEventListener("click", (event) =>
  copy(event.target, [...settled.children].map((line) => line.textContent).join("\n")),
);
get("live-clear").addEventListener("click", () => {
  settled.replaceChildren();
  partial.textContent = "";
  get("live-hint").hidden = false;
});
document.addEventListener("tab", ({ detail }) => detail !== "live" && camera.stop());
