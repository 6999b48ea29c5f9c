// The map: thumbnails at their places, on a canvas; closer, moved, chosen.
"use strict";

const RIM = 0.04; // of the side, left free
const NEAREST = 24; // pixels from a click to an image

export class MapView {
  constructor(canvas, data, sprite, { onChoose, onHover }) {
    this.canvas = canvas;
    this.data = data;
    this.sprite = sprite;
    this.onChoose = onChoose;
    this.onHover = onHover;
    this.scale = 1;
    this.center = [0.5, 0.5];
    this.chosen = -1; // a place in the lists, not an image's index
    this.marked = new Set();
    this.pointers = new Map();
    this.place = new Map(data.map.index.map((index, at) => [index, at]));
    this.waiting = false;
    canvas.classList.toggle("ink", data.map.ink);
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.side = this.canvas.clientWidth;
    this.canvas.width = Math.round(this.side * ratio);
    this.canvas.height = this.canvas.width;
    this.ratio = ratio;
    this.draw();
  }

  // Pixels of a place, from the canvas's top left.
  at(place) {
    const room = this.side * (1 - 2 * RIM) * this.scale;
    const { x, y } = this.data.map;
    return [
      this.side / 2 + (x[place] - this.center[0]) * room,
      this.side / 2 - (y[place] - this.center[1]) * room,
    ];
  }

  size() {
    return Math.min(96, Math.max(12, this.data.map.glyph * this.side) * this.scale ** 0.7);
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.side, this.side);
    const size = this.size();
    const { index } = this.data.map;
    for (let place = 0; place < index.length; place++)
      if (place !== this.chosen && !this.marked.has(place))
        this.paintOne(context, place, size);
    for (const place of this.marked) this.paintOne(context, place, size * 1.15, 1);
    if (this.chosen >= 0) this.paintOne(context, this.chosen, size * 1.5, 3);
  }

  paintOne(context, place, size, rim = 0) {
    const [x, y] = this.at(place);
    const half = size / 2;
    if (x < -half || y < -half || x > this.side + half || y > this.side + half) return;
    const { tile, columns, label } = this.data.map;
    const left = (place % columns) * tile;
    const top = Math.floor(place / columns) * tile;
    const edge = Math.min(2, Math.max(1, size / 16));
    const far = half + edge;
    const style = getComputedStyle(this.canvas);
    if (!this.data.map.ink) {
      context.fillStyle = label[place] < 0 ? "#777" : this.color(label[place]);
      context.fillRect(x - far, y - far, 2 * far, 2 * far);
    } else if (rim) {
      context.fillStyle = style.getPropertyValue("--panel");
      context.fillRect(x - far, y - far, 2 * far, 2 * far);
    }
    context.drawImage(this.sprite, left, top, tile, tile, x - half, y - half, size, size);
    if (!rim) return;
    context.strokeStyle = style.getPropertyValue("--ink");
    context.lineWidth = rim;
    context.strokeRect(x - far - rim / 2, y - far - rim / 2, 2 * far + rim, 2 * far + rim);
  }

  color(label) {
    return this.data.colors[label % this.data.colors.length];
  }

  // The place nearest to a point of the canvas; -1 if none is near.
  find(x, y) {
    let best = -1, least = Math.max(NEAREST, this.size()) ** 2;
    for (let place = 0; place < this.data.map.index.length; place++) {
      const [left, top] = this.at(place);
      const found = (left - x) ** 2 + (top - y) ** 2;
      if (found < least) [best, least] = [place, found];
    }
    return best;
  }

  // Shows which image was chosen, by its index, and which are near it.
  show(index, neighbours = []) {
    this.chosen = this.place.get(index) ?? -1;
    this.marked = new Set(
      neighbours.map((i) => this.place.get(i)).filter((place) => place !== undefined));
    this.draw();
  }

  zoom(factor, x = this.side / 2, y = this.side / 2) {
    const before = this.scale;
    this.scale = Math.min(40, Math.max(1, before * factor));
    const room = this.side * (1 - 2 * RIM);
    // What is under the pointer stays there.
    const moved = (1 / before - 1 / this.scale) / room;
    this.move((x - this.side / 2) * moved, -(y - this.side / 2) * moved);
    this.canvas.classList.toggle("near", this.scale > 1);
  }

  whole() {
    this.scale = 1;
    this.move(0, 0);
    this.canvas.classList.remove("near");
  }

  move(right, up) {
    const rest = this.scale > 1 ? 0.5 : 0; // how far the centre may go
    const keep = (x) => Math.min(0.5 + rest, Math.max(0.5 - rest, x));
    this.center = [keep(this.center[0] + right), keep(this.center[1] + up)];
    this.draw();
  }

  listen() {
    const canvas = this.canvas;
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, point(event));
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = point(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") this.onHover(this.find(...here));
        return;
      }
      moved += Math.hypot(here[0] - before[0], here[1] - before[1]);
      if (moved > 5 && !canvas.hasPointerCapture(event.pointerId))
        canvas.setPointerCapture(event.pointerId);
      if (this.pointers.size === 2) this.pinch(event.pointerId, before, here);
      else if (this.scale > 1) {
        const room = this.side * (1 - 2 * RIM) * this.scale;
        this.move((before[0] - here[0]) / room, (here[1] - before[1]) / room);
      }
      this.pointers.set(event.pointerId, here);
    });
    for (const name of ["pointerup", "pointercancel", "pointerleave"])
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.onHover(-1));
    canvas.addEventListener("click", (event) => {
      if (moved > 5) return;
      const place = this.find(...point(event));
      if (place >= 0) this.onChoose(this.data.map.index[place]);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && this.scale === 1 && event.deltaY > 0) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), ...point(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = 0.1 / this.scale;
      const keys = {
        "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5),
        ArrowLeft: () => this.move(-step, 0), ArrowRight: () => this.move(step, 0),
        ArrowUp: () => this.move(0, step), ArrowDown: () => this.move(0, -step),
        Escape: () => this.whole(),
      };
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    window.matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.draw());
  }

  pinch(id, before, here) {
    const other = [...this.pointers].find(([pointer]) => pointer !== id)[1];
    const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
    this.zoom(apart(here) / Math.max(apart(before), 1),
      (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  }
}
