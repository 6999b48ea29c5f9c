// The threshold: a slider over the distances of pairs, and what it gets wrong.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600, HEIGHT = 150;

export const short = (value) => Number(value.toPrecision(4)).toString();

export class ThresholdView {
  constructor(data, ask, onChange) {
    this.data = data;
    this.ask = ask;
    this.onChange = onChange;
    const { edges } = data.pairs;
    // The slider reaches whatever is asked about.
    this.low = Math.min(edges[0], data.threshold.value);
    this.high = Math.max(edges[edges.length - 1], data.threshold.value);
    this.field = document.querySelector("#threshold");
    this.slider = document.querySelector("#slider");
    this.list = document.querySelector("#rates");
    this.asked = null; // while an answer is awaited: what to ask next
    this.running = false;
    this.field.addEventListener("input", () => this.set(this.field.valueAsNumber, "field"));
    this.slider.addEventListener("input", () =>
      this.set(this.low + (this.high - this.low) * this.slider.value / 1000, "slider"));
    document.querySelector("#back").addEventListener("click",
      () => this.set(data.threshold.value));
    this.note();
    this.drawHistogram();
    this.set(data.threshold.value);
  }

  set(value, from = "") {
    if (!Number.isFinite(value)) return;
    this.value = value;
    if (from === "slider") this.value = value = Number(value.toPrecision(5));
    if (from !== "field") this.field.value = Number(value.toPrecision(6));
    if (from !== "slider")
      this.slider.value = 1000 * (value - this.low) / (this.high - this.low || 1);
    this.moveCut();
    this.onChange(value);
    this.asked = value;
    this.next();
  }

  // One question at a time; of those that came meanwhile the last one.
  async next() {
    const { same, different } = this.data.pairs;
    if (this.running || this.asked === null || !(same + different)) return;
    const value = this.asked;
    this.asked = null;
    this.running = true;
    const found = await this.ask(`api/rates?threshold=${encodeURIComponent(value)}`);
    this.running = false;
    if (found && this.asked === null) this.show(found);
    this.next();
  }

  show(found) {
    const share = (count, of) => of
      ? `${count.toLocaleString("en")} of ${of.toLocaleString("en")} (${rate(count / of)})`
      : "no such pairs";
    const rows = [
      ["false accepts", share(found.false_accepts, found.different), "different pairs taken for the same"],
      ["false rejects", share(found.false_rejects, found.same), "same pairs taken for different"],
    ];
    this.list.replaceChildren(...rows.flatMap(([name, value, said]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      term.title = said;
      text.textContent = value;
      text.dataset.rate = name;
      return [term, text];
    }));
    this.list.dataset.threshold = found.threshold;
  }

  note() {
    const { pairs, threshold, images, distance } = this.data;
    const parts = [`Begins at ${short(threshold.value)}: ${threshold.said}.`];
    if (!(pairs.same + pairs.different))
      parts.push("No identity of these images is known, so that nothing is counted.");
    else {
      const of = pairs.images.toLocaleString("en");
      parts.push(pairs.images < pairs.known
        ? `Counted over all pairs of ${of} images, drawn from the ${pairs.known.toLocaleString("en")} whose identity is known.`
        : `Counted over all pairs of the ${of} images${pairs.known < images ? " whose identity is known" : ""}.`);
    }
    parts.push(`Distance: ${distance.replaceAll("_", " ")}.`);
    document.querySelector("#threshold-note").textContent = parts.join(" ");
  }

  // Shares of each kind, so that the few same pairs are seen beside the others.
  drawHistogram() {
    const svg = document.querySelector("#histogram");
    const { edges, same, different } = this.data.pairs;
    for (const [name, counts] of [["different", different], ["same", same]]) {
      const most = Math.max(...counts);
      if (!most) continue;
      const points = counts.flatMap((count, i) => {
        const y = (HEIGHT - (HEIGHT - 12) * count / most).toFixed(1);
        return [[this.x(edges[i]), y], [this.x(edges[i + 1]), y]];
      });
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      path.setAttribute("d", `M${points[0][0]} ${HEIGHT}L${
        points.map((p) => p.join(" ")).join("L")}L${points[points.length - 1][0]} ${HEIGHT}Z`);
      svg.append(path);
    }
    this.cut = document.createElementNS(SVG, "line");
    this.cut.setAttribute("class", "cut");
    this.cut.setAttribute("y1", 0);
    this.cut.setAttribute("y2", HEIGHT);
    svg.append(this.cut);
  }

  x(value) {
    return Number((WIDTH * (value - this.low) / (this.high - this.low || 1)).toFixed(2));
  }

  moveCut() {
    const at = Math.min(WIDTH, Math.max(0, this.x(this.value)));
    this.cut.setAttribute("x1", at);
    this.cut.setAttribute("x2", at);
  }
}

function rate(share) {
  if (share === 0 || share === 1) return `${100 * share} %`;
  return share < 1e-3 ? share.toExponential(1) : `${(100 * share).toPrecision(3)} %`;
}
