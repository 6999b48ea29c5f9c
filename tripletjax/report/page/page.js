// Sorting and filters. What is shown is in the address behind #, so that a
// view can be kept or sent: #sort=arms.map@r.desc&miner=semi_hard&text=0.2
"use strict";
(() => {
  const tables = [...document.querySelectorAll("table.sorts")];
  const marked = [...document.querySelectorAll("[data-axes]")];
  const axesOf = new Map(marked.map((e) => [e, JSON.parse(e.dataset.axes)]));
  const labels = new Map();
  for (const axes of axesOf.values())
    for (const [name, label] of Object.entries(axes)) {
      if (!labels.has(name)) labels.set(name, new Set());
      labels.get(name).add(label);
    }
  let view = new Map();

  function heads(table) {
    return [...table.tHead.rows[0].cells];
  }

  function key(row, column) {
    const cell = row.cells[column];
    const sort = cell.dataset.sort;
    if (sort === "") return null; // nothing measured: last, either way
    return sort === undefined ? cell.textContent : Number(sort);
  }

  function order(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function sortBy(table, column, descending) {
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [key(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? order(b, a) : order(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
    heads(table).forEach((head, i) => {
      if (i !== column) head.removeAttribute("aria-sort");
      else head.ariaSort = descending ? "descending" : "ascending";
    });
  }

  function filter() {
    const text = (view.get("text") || "").toLowerCase();
    for (const [element, axes] of axesOf) {
      const fits = [...labels.keys()].every(
        (name) => !view.get(name) || !(name in axes) || axes[name] === view.get(name));
      const searched = !text || element.tagName !== "TR" ||
        element.textContent.toLowerCase().includes(text);
      element.toggleAttribute("hidden", !(fits && searched));
    }
  }

  function show() {
    filter();
    const [name, ...rest] = (view.get("sort") || "").split(".");
    const table = tables.find((t) => t.id === name);
    if (!table) return;
    const descending = rest[rest.length - 1] === "desc";
    const column = (descending ? rest.slice(0, -1) : rest).join(".");
    const index = heads(table).findIndex((h) => h.dataset.name === column);
    if (index >= 0) sortBy(table, index, descending);
  }

  function write() {
    const set = [...view].filter(([, value]) => value);
    const hash = new URLSearchParams(set).toString();
    history.replaceState(null, "", hash ? "#" + hash : "#");
    show();
  }

  function read() {
    const hash = location.hash.slice(1);
    if (hash && document.getElementById(hash)) return;
    view = new Map(new URLSearchParams(hash));
    for (const field of document.querySelectorAll(".filters [name]"))
      field.value = view.get(field.name) || "";
    show();
  }

  for (const table of tables)
    heads(table).forEach((head) => {
      const name = head.textContent;
      head.dataset.name = name;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.ariaSort === "ascending" ? ".desc" : "";
        view.set("sort", `${table.id}.${name}${down}`);
        write();
      });
    });

  const bar = document.createElement("form");
  bar.className = "filters";
  bar.setAttribute("aria-label", "filters");
  for (const [name, found] of labels) {
    if (found.size < 2) continue;
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""));
    for (const each of found) select.append(new Option(each, each));
    label.append(name + " ", select);
    bar.append(label);
  }
  const search = document.createElement("input");
  search.name = "text";
  search.type = "search";
  search.placeholder = "rows with …";
  search.setAttribute("aria-label", "rows with this text");
  const reset = document.createElement("button");
  reset.type = "reset";
  reset.textContent = "all";
  bar.append(search, reset);
  bar.addEventListener("input", (event) => {
    view.set(event.target.name, event.target.value);
    write();
  });
  bar.addEventListener("reset", () => {
    view = new Map();
    write();
  });
  bar.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("#filters").append(bar);
  addEventListener("hashchange", read);
  read();
})();
