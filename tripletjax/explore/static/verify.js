// Two images, dropped or chosen: their distance, and the verdict.
"use strict";
import { short } from "./threshold.js";

const NAMES = { first: "the first image", second: "the second image" };

export class VerifyView {
  // `chosen` gives the index of the image that is chosen on the map, or -1.
  constructor(data, { send, fail, chosen }) {
    this.data = data;
    this.send = send;
    this.fail = fail;
    this.chosen = chosen;
    this.slots = { first: null, second: null };
    this.distance = null;
    this.threshold = data.threshold.value;
    this.verdict = document.querySelector("#verdict");
    for (const slot of document.querySelectorAll(".slot")) this.prepare(slot);
    // A file that misses its place isn't opened in place of the page.
    for (const name of ["dragover", "drop"])
      window.addEventListener(name, (event) => event.preventDefault());
  }

  prepare(slot) {
    const name = slot.dataset.slot;
    slot.tabIndex = -1;
    slot.addEventListener("dragover", (event) => {
      event.preventDefault();
      slot.classList.add("over");
    });
    slot.addEventListener("dragleave", () => slot.classList.remove("over"));
    slot.addEventListener("drop", (event) => {
      event.preventDefault();
      slot.classList.remove("over");
      const files = [...event.dataTransfer.files];
      if (!files.length) return;
      this.put(name, files[0]);
      // Two at once fill both places.
      if (files.length > 1) this.put(name === "first" ? "second" : "first", files[1]);
    });
    this.draw(name);
  }

  put(name, file) {
    this.clear(name);
    if (file.size > this.data.upload) {
      this.fail(`${file.name}: expected an image of at most ${
        this.data.upload.toLocaleString("en")} bytes, got ${file.size.toLocaleString("en")}`);
      return;
    }
    this.fail("");
    this.slots[name] = { file, url: URL.createObjectURL(file), said: file.name };
    this.draw(name);
    this.compare();
  }

  take(name, index, said) {
    this.clear(name);
    this.slots[name] = { index, url: `api/image/${index}`, said };
    this.draw(name);
    this.compare();
  }

  clear(name) {
    const old = this.slots[name];
    if (old && old.file) URL.revokeObjectURL(old.url);
    this.slots[name] = null;
    this.distance = null;
    this.draw(name);
    this.show();
  }

  draw(name) {
    const slot = document.querySelector(`.slot[data-slot=${name}]`);
    const held = this.slots[name];
    const parts = [];
    if (held) {
      const picture = document.createElement("img");
      picture.className = "picture";
      picture.alt = held.said;
      picture.src = held.url;
      // The browser knows other formats than the server, and the other way.
      picture.addEventListener("error", () => picture.remove());
      const caption = document.createElement("span");
      caption.textContent = held.said;
      parts.push(picture, caption);
    } else {
      const text = document.createElement("span");
      text.textContent = `Drop ${NAMES[name]} here`;
      parts.push(text);
    }
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "file";
    input.accept = "image/*,.pgm,.ppm,.pbm,.pnm";
    input.setAttribute("aria-label", NAMES[name]);
    input.addEventListener("change", () => {
      if (input.files.length) this.put(name, input.files[0]);
    });
    label.append(held ? "another file" : "or choose a file", input);
    const own = document.createElement("button");
    own.type = "button";
    own.textContent = "the chosen one";
    own.title = "the image that is chosen on the map";
    own.addEventListener("click", () => {
      const [index, said] = this.chosen();
      if (index >= 0) this.take(name, index, said);
      else this.fail("No image is chosen on the map yet.");
    });
    parts.push(label, own);
    slot.replaceChildren(...parts);
  }

  async compare() {
    const { first, second } = this.slots;
    if (!first || !second) return;
    const asked = [first, second];
    this.verdict.className = "";
    this.verdict.textContent = "…";
    const part = (held) => held.file ? `upload:${held.file.size}` : `image:${held.index}`;
    const body = new Blob(asked.filter((held) => held.file).map((held) => held.file));
    const found = await this.send(
      `api/verify?first=${part(first)}&second=${part(second)}`, body);
    // What was asked may have been replaced meanwhile.
    if (asked[0] !== this.slots.first || asked[1] !== this.slots.second) return;
    this.distance = found ? found.distance : null;
    this.show();
  }

  move(threshold) {
    this.threshold = threshold;
    this.show();
  }

  show() {
    if (this.distance === null) {
      this.verdict.className = "";
      this.verdict.textContent = "";
      return;
    }
    const same = Math.fround(this.distance) <= this.threshold;
    this.verdict.className = same ? "same" : "other";
    const word = document.createElement("b");
    word.textContent = same ? "same" : "different";
    this.verdict.replaceChildren(word,
      `: distance ${short(this.distance)}, threshold ${short(this.threshold)}`);
  }
}
