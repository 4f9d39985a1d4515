// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// The tabs, and what is said about this server.
import "./live.js";
import "./phrases.js";
import { get } from "./common.js";
import { setUp } from "./video.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    get(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  document.dispatchEvent(new CustomEvent("tab", { detail: tab.getAttribute("aria-controls") }));
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const forward = getComputedStyle(tab).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const step = event.key === forward ? 1 : ["ArrowLeft", "ArrowRight"].includes(event.key) ? -1 : 0;
    const next = { Home: tabs[0], End: tabs.at(-1) }[event.key] ?? (step && tabs.at((index + step) % tabs.length));
    if (!next) return;
    event.preventDefault();
    choose(next);
    next.focus();
  });
});

const about = await (await fetch("about")).json();
get("note").textContent = about.note;
get("note").hidden = !about.note;
setUp(about);
