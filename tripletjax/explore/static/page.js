// Asks the server, and brings map, neighbours, threshold and verdict together.
"use strict";
import { MapView } from "./map.js";
import { ThresholdView, short } from "./threshold.js";
import { VerifyView } from "./verify.js";

const $ = (what) => document.querySelector(what);
const count = (number) => number.toLocaleString("en");
let data, map, verify;
let chosen = { index: -1, name: "", label: "" };
let near = []; // the neighbours that are shown
let threshold = 0;

function fail(said) {
  $("#error").hidden = !said;
  $("#error").textContent = said;
}

async function ask(address, options = {}) {
  try {
    const response = await fetch(address, options);
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    return found;
  } catch (error) {
    fail(error instanceof TypeError ? "The server doesn't answer: is it still running?"
      : error.message);
    return null;
  }
}

function send(address, body) {
  const headers = { "content-type": "application/octet-stream" };
  return ask(address, { method: "POST", headers, body });
}

function element(kind, text, name = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = name;
  return made;
}

function picture(index, said) {
  const made = document.createElement("img");
  made.className = "picture";
  made.src = `api/image/${index}`;
  made.alt = said;
  made.width = made.height = 160;
  return made;
}

const called = (image) => image.label || image.name || `image ${image.index}`;

async function choose(index) {
  const found = await ask(`api/neighbours/${index}`);
  if (!found) return;
  fail("");
  chosen = found.image;
  near = found.neighbours;
  $("#number").value = index;
  $("#choose-note").hidden = true;
  const about = document.createElement("div");
  about.append(element("b", called(chosen)));
  if (chosen.label && chosen.name) about.append(element("span", chosen.name));
  about.append(element("span", `image ${chosen.index} of ${count(data.images)}`));
  $("#chosen").replaceChildren(picture(index, called(chosen)), about);
  $("#neighbours").replaceChildren(...near.map((image) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = image.name;
    button.dataset.index = image.index;
    button.append(picture(image.index, called(image)), element("span", short(image.distance)),
      element("span", called(image), "mark"));
    button.addEventListener("click", async () => {
      await choose(image.index);
      $("#chosen").focus({ preventScroll: true }); // the button is gone
    });
    const item = document.createElement("li");
    if (image.same !== null) item.className = image.same ? "same" : "other";
    item.append(button);
    return item;
  }));
  markBeyond();
  map.show(index, near.map((image) => image.index));
}

// What is farther than the threshold is dimmed.
function markBeyond() {
  [...$("#neighbours").children].forEach((item, at) =>
    item.classList.toggle("beyond", !(near[at].distance <= threshold)));
}

function describe() {
  document.title = `${data.run}: ${data.set}`;
  $("#title").textContent = data.set;
  const parts = [`${data.run}, step ${count(data.step)}`, `${count(data.images)} images`];
  if (data.identities) parts.push(`${count(data.identities)} identities`);
  $("#about").textContent = parts.join(" · ");
  const shown = data.map.index.length;
  $("#map-note").textContent = (shown < data.images
    ? `${count(shown)} images, drawn from ${count(data.images)}`
    : `All ${count(shown)} images`)
    + ", placed by t-SNE, so that near means alike and far means little; "
    + `the ${data.map.ink ? "" : "frame's "}colour is the identity's. `
    + "Neighbours are of all images, by distance.";
  $("#number").max = data.images - 1;
}

async function start() {
  data = await ask("api/set");
  if (!data) return;
  describe();
  const sprite = new Image();
  sprite.src = "api/sprite";
  await sprite.decode();
  const hint = $("#hint");
  map = new MapView($("#map"), data, sprite, {
    onChoose: choose,
    onHover: (place) => {
      const label = data.map.label[place];
      hint.textContent = place < 0 ? ""
        : called({ index: data.map.index[place], name: data.map.name[place],
          label: data.labels[label] });
    },
  });
  verify = new VerifyView(data, {
    send: async (...asked) => {
      const found = await send(...asked);
      if (found) fail("");
      return found;
    },
    fail,
    chosen: () => [chosen.index, called(chosen)],
  });
  new ThresholdView(data, ask, (value) => {
    threshold = value;
    verify.move(value);
    markBeyond();
  });
  $("#closer").addEventListener("click", () => map.zoom(1.6));
  $("#farther").addEventListener("click", () => map.zoom(1 / 1.6));
  $("#whole").addEventListener("click", () => map.whole());
  $("#number").addEventListener("change", () => {
    const index = $("#number").valueAsNumber;
    if (Number.isInteger(index)) choose(index);
  });
  document.body.dataset.ready = "yes";
}

start();
