"use strict";
// The page works on data that anybody may have written, so text enters only through textContent.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(DATA.rows.map((row) => [row.id, row]));
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MAX_LINES = 8;

function make(parent, tag, attributes = {}, text) {
  const svg = parent.namespaceURI === SVG || tag === "svg";
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

const f3 = (x) => (x === null ? "" : x.toFixed(3));
const count = (n) => {
  for (const [size, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size) return `${+(n / size).toPrecision(3)}${unit}`;
  }
  return String(n);
};
const known = (x) => x !== null && x !== undefined;

// ------------------------------------------------------------------ sorting and filtering

const tbody = document.querySelector("#board tbody");
const heads = [...document.querySelectorAll("#board thead th")];
const lines = [...tbody.rows].map((element) => ({ element, row: byId.get(Number(element.dataset.id)) }));
let order = { key: "macro_f1", down: true };

function compare(a, b) {
  const x = a.row[order.key], y = b.row[order.key];
  if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : a.row.id - b.row.id; // missing: last
  const difference = typeof x === "string" ? x.localeCompare(y, "en") : x - y;
  return (order.down ? -difference : difference) || a.row.id - b.row.id;
}

function sortBy(key) {
  const numeric = heads.find((head) => head.dataset.key === key).classList.contains("num");
  const first = numeric && key !== "rank"; // numbers start with the largest, ranks and names do not
  order = { key, down: order.key === key ? !order.down : first };
  applyOrder();
}

function applyOrder() {
  for (const head of heads) {
    const current = head.dataset.key === order.key;
    head.setAttribute("aria-sort", current ? (order.down ? "descending" : "ascending") : "none");
  }
  $("sort-phone").value = order.key;
  tbody.append(...lines.sort(compare).map((line) => line.element));
}

function sizeClass(row) {
  const n = row.parameters;
  if (!known(n)) return "unknown";
  return n < 5e7 ? "s" : n < 5e8 ? "m" : n < 5e9 ? "l" : "xl";
}

function matches(row) {
  const words = $("f-text").value.trim().toLowerCase();
  const name = `${row.system} ${row.base_model || ""}`.toLowerCase();
  return row.board_number === Number($("f-set").value)
    && (row.status === "ranked" || $("f-published").checked)
    && (!$("f-method").value || row.method === $("f-method").value)
    && (!$("f-template").value || row.template === $("f-template").value)
    && (!$("f-size").value || sizeClass(row) === $("f-size").value)
    && (!words || name.includes(words));
}

let shown = [];
function filter() {
  for (const finding of document.querySelectorAll(".finding")) finding.hidden = finding.dataset.board !== $("f-set").value;
  for (const line of lines) line.element.hidden = !matches(line.row);
  shown = lines.filter((line) => !line.element.hidden).map((line) => line.row);
  const ours = shown.filter((row) => row.status === "ranked").length;
  const all = lines.filter((line) => line.row.board_number === Number($("f-set").value)).length;
  $("status").textContent = shown.length
    ? `${shown.length} of ${all} systems shown: ${ours} measured, ${shown.length - ours} published.`
    : "No system fits these filters.";
  draw();
}

// ------------------------------------------------------------------ figures

const hues = new Map();
function hue(method) {
  if (!hues.has(method)) hues.set(method, `var(--c${hues.size % MAX_LINES})`);
  return hues.get(method);
}
DATA.methods.forEach(hue);

function describe(row) {
  const parts = [`${row.system}${row.template ? `, ${row.prompt}` : ""}`, `macro F1 ${f3(row.macro_f1)}`];
  if (known(row.macro_f1_low)) parts.push(`95 % [${f3(row.macro_f1_low)}, ${f3(row.macro_f1_high)}]`);
  if (row.method) parts.push(row.method);
  if (known(row.parameters)) parts.push(`${count(row.parameters)} parameters`);
  return parts.join("\n");
}

let tipped = null; // the mark that the tooltip is about

function placeTip() {
  const box = tipped.getBoundingClientRect(), bubble = $("tip");
  const x = box.left + box.width / 2 - bubble.offsetWidth / 2;
  const above = box.top - bubble.offsetHeight - 10;
  bubble.style.left = `${Math.min(Math.max(8, x), innerWidth - bubble.offsetWidth - 8)}px`;
  bubble.style.top = `${above > 4 ? above : box.bottom + 10}px`;
}

function hideTip() {
  tipped = null;
  $("tip").hidden = true;
}

function tip(node, text) {
  const show = () => {
    tipped = node;
    $("tip").textContent = text;
    $("tip").hidden = false;
    placeTip();
  };
  for (const event of ["mouseenter", "focus"]) node.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) node.addEventListener(event, hideTip);
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", text.replaceAll("\n", ", "));
}

// One stop for the Tab key a figure; the arrow keys go from mark to mark.
function walkable(container) {
  const marks = [...container.querySelectorAll(".mark")];
  marks.forEach((mark, index) => {
    mark.setAttribute("tabindex", index ? -1 : 0);
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = marks[(index + step + marks.length) % marks.length];
      mark.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    });
  });
}

function plotOf(id) {
  const plot = document.querySelector(`#${id} .plot`);
  plot.replaceChildren();
  return plot;
}

function empty(plot, text) {
  make(plot, "p", { class: "empty" }, text);
}

function ticks(low, high, wanted = 5) {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  // A third more of them than wanted is better than half as many; labels have two decimals.
  const step = Math.max(0.01, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= 0.75 * raw));
  const found = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + 1e-9; t += step) found.push(+t.toFixed(10));
  return found;
}

function frame(plot, height) {
  const width = Math.max(300, plot.clientWidth);
  const box = { left: 42, right: width - 12, top: 22, bottom: height - 40, width, height };
  return [make(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group" }), box];
}

function scoreAxis(svg, box, rows) {
  const ends = rows.flatMap((row) => [row.macro_f1, row.macro_f1_low ?? row.macro_f1, row.macro_f1_high ?? row.macro_f1]);
  const low = Math.max(0, Math.min(...ends) - 0.03), high = Math.min(1, Math.max(...ends) + 0.03);
  const y = (score) => box.bottom - ((score - low) / (high - low)) * (box.bottom - box.top);
  for (const t of ticks(low, high)) {
    make(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(t), y2: y(t) });
    make(svg, "text", { x: box.left - 6, y: y(t) + 4, "text-anchor": "end" }, t.toFixed(2));
  }
  make(svg, "text", { x: 2, y: 11 }, "macro F1");
  return y;
}

// Logarithmic axis with a place of its own for 0, left of all others.
function logAxis(svg, box, values, label) {
  const positive = values.filter((v) => v > 0), zero = values.some((v) => v === 0);
  const low = Math.log10(Math.min(...positive, 1e12)) - 0.25, high = Math.log10(Math.max(...positive, 1)) + 0.25;
  const start = box.left + (zero ? 54 : 14);
  const x = (v) => (v === 0 || high <= low ? box.left + 24 : start + ((Math.log10(v) - low) / (high - low)) * (box.right - start - 10));
  if (zero) {
    make(svg, "text", { x: x(0), y: box.bottom + 18, "text-anchor": "middle" }, "0");
    make(svg, "line", { class: "grid", x1: start - 8, x2: start - 8, y1: box.top, y2: box.bottom, "stroke-dasharray": "2 4" });
  }
  if (positive.length) {
    const decades = Math.floor(high) - Math.ceil(low) + 1;
    const factors = decades >= 3 ? [1] : decades >= 2 ? [1, 3] : [1, 2, 5];
    let last = -Infinity;
    for (let e = Math.floor(low); e <= high; e += 1) {
      for (const f of factors) {
        const v = f * 10 ** e, at = x(v);
        if (Math.log10(v) < low || Math.log10(v) > high || at - last < 38) continue;
        last = at;
        make(svg, "line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom });
        make(svg, "text", { x: at, y: box.bottom + 18, "text-anchor": "middle" }, count(v));
      }
    }
  }
  make(svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, label);
  return x;
}

function key(plot, methods, published, unknown) {
  const list = make(plot, "div", { class: "key" });
  for (const method of methods) {
    const item = make(list, "span");
    make(item, "i", { style: `background:${hue(method)}` });
    item.append(method);
  }
  if (published) {
    const item = make(list, "span");
    make(item, "i", { class: "hollow" });
    item.append("published");
  }
  if (unknown) make(list, "span", {}, `(${unknown} of unknown size not drawn)`);
}

function drawAgainst(id, field, label, height = 330) {
  const plot = plotOf(id);
  const rows = shown.filter((row) => known(row[field]) && known(row.macro_f1));
  if (!rows.length) return empty(plot, "No row shown here says its size.");
  const methods = [...new Set(rows.filter((row) => row.status === "ranked").map((row) => row.method))];
  const unknown = shown.filter((row) => row.status === "ranked" && !known(row[field])
    && !(field === "training_size" && row.trainable_parameters === 0)).length; // untrained: no size
  key(plot, methods, rows.some((row) => row.status !== "ranked"), unknown);
  const [svg, box] = frame(plot, height);
  const y = scoreAxis(svg, box, rows), x = logAxis(svg, box, rows.map((row) => row[field]), label);
  // Rows of the same size stand beside one another, so that their bars can be read.
  const crowd = new Map(), place = new Map();
  for (const row of rows) crowd.set(row[field], (crowd.get(row[field]) ?? 0) + 1);
  const points = [...rows].sort((a, b) => a[field] - b[field] || b.macro_f1 - a.macro_f1).map((row) => {
    const number = place.get(row[field]) ?? 0, step = Math.min(7, 48 / crowd.get(row[field]));
    place.set(row[field], number + 1);
    return { row, at: x(row[field]) + (number % 2 ? 1 : -1) * Math.ceil(number / 2) * step };
  });
  for (const method of methods) {
    const best = new Map(); // sorted by size, then best first: the first of a size is its best
    for (const point of points) {
      if (point.row.status !== "ranked" || point.row.method !== method) continue;
      if (!best.has(point.row[field])) best.set(point.row[field], `${point.at},${y(point.row.macro_f1)}`);
    }
    make(svg, "polyline", { points: [...best.values()].join(" "), fill: "none", stroke: hue(method), "stroke-width": 2, "stroke-linejoin": "round", opacity: 0.7 });
  }
  for (const point of points) mark(svg, point.at, y, point.row);
  walkable(svg);
}

function mark(svg, x, y, row) {
  const group = make(svg, "g", { class: "mark" });
  const published = row.status !== "ranked", colour = published ? "var(--muted)" : hue(row.method);
  make(group, "circle", { class: "halo", cx: x, cy: y(row.macro_f1), r: 13, fill: colour });
  if (known(row.macro_f1_low)) {
    make(group, "line", { x1: x, x2: x, y1: y(row.macro_f1_low), y2: y(row.macro_f1_high), stroke: colour, "stroke-width": 1.5, opacity: 0.6 });
  }
  if (published) {
    const s = 5, cy = y(row.macro_f1);
    make(group, "path", { d: `M${x} ${cy - s}L${x + s} ${cy}L${x} ${cy + s}L${x - s} ${cy}Z`, fill: "var(--card)", stroke: colour, "stroke-width": 1.5 });
  } else {
    make(group, "circle", { cx: x, cy: y(row.macro_f1), r: 5, fill: colour, stroke: "var(--card)", "stroke-width": 1.5 });
  }
  tip(group, describe(row));
}

const ruler = document.createElement("canvas").getContext("2d");
function shorten(text, pixels) {
  ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`; // as the figures' text
  const fits = (words) => ruler.measureText(words).width <= pixels;
  let letters = text.length;
  while (letters > 6 && !fits(`${text.slice(0, letters)}…`)) letters -= 1;
  return fits(text) ? text : `${text.slice(0, letters)}…`;
}

function drawSpread() {
  const plot = plotOf("fig-spread");
  const wanted = new Set(shown.map((row) => row.group));
  const groups = DATA.spreads.filter((spread) => wanted.has(spread.group)).slice(0, 24);
  if (!groups.length) return empty(plot, "No system shown was run with several wordings or seeds.");
  make(plot, "div", { class: "key" }, "● wording p1   ■ p2   ▲ p3");
  const width = Math.max(300, plot.clientWidth), left = Math.min(210, width * 0.42), rowHeight = 26;
  const height = groups.length * rowHeight + 44;
  const svg = make(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group" });
  const scores = groups.flatMap((group) => group.runs.map((run) => run.macro_f1));
  const low = Math.min(...scores) - 0.01, high = Math.max(...scores) + 0.01;
  const x = (score) => left + 12 + ((score - low) / (high - low)) * (width - left - 30);
  for (const t of ticks(low, high, width < 480 ? 3 : 5)) {
    make(svg, "line", { class: "grid", x1: x(t), x2: x(t), y1: 4, y2: height - 38 });
    make(svg, "text", { x: x(t), y: height - 22, "text-anchor": "middle" }, t.toFixed(2));
  }
  make(svg, "text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "macro F1");
  groups.forEach((group, index) => {
    const cy = 16 + index * rowHeight, values = group.runs.map((run) => run.macro_f1);
    make(svg, "text", { class: "strong", x: left, y: cy + 4, "text-anchor": "end" }, `${shorten(group.system, left - 42)} · ${group.template}`);
    make(svg, "line", { x1: x(Math.min(...values)), x2: x(Math.max(...values)), y1: cy, y2: cy, stroke: hue(group.method), "stroke-width": 7, opacity: 0.22, "stroke-linecap": "round" });
    for (const run of group.runs) {
      const dot = make(svg, "g", { class: "mark" }), at = x(run.macro_f1);
      make(dot, "circle", { class: "halo", cx: at, cy, r: 11, fill: hue(group.method) });
      const shape = [`M${at - 4.5} ${cy}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z`, `M${at - 4} ${cy - 4}h8v8h-8Z`, `M${at} ${cy - 5.5}L${at + 5} ${cy + 4}H${at - 5}Z`][run.paraphrase - 1] ?? `M${at - 4} ${cy - 4}h8v8h-8Z`;
      make(dot, "path", { d: shape, fill: hue(group.method), stroke: "var(--card)", "stroke-width": 1 });
      tip(dot, `${group.system}, ${group.template}\nwording p${run.paraphrase}${known(run.seed) ? `, seed ${run.seed}` : ""}\nmacro F1 ${f3(run.macro_f1)}`);
    }
  });
  walkable(svg);
}

function drawPrecisionRecall() {
  const plot = plotOf("fig-pr"), select = $("pr-row");
  const rows = shown.filter((row) => row.precision);
  const before = select.value;
  select.replaceChildren(...rows.map((row) => new Option(`${row.system}${row.template ? ` · ${row.prompt}` : ""}`, row.id)));
  select.disabled = !rows.length;
  if (!rows.length) return empty(plot, "No row shown has samples (lm_eval --log_samples).");
  if (rows.some((row) => String(row.id) === before)) select.value = before;
  const row = byId.get(Number(select.value));
  const list = make(plot, "div", { class: "key" });
  for (const [name, colour] of [["precision", "var(--c0)"], ["recall", "var(--c1)"]]) {
    const item = make(list, "span");
    make(item, "i", { style: `background:${colour}` });
    item.append(name);
  }
  const width = Math.max(300, plot.clientWidth), left = Math.min(190, width * 0.5), step = 21;
  const height = DATA.values.length * step + 34;
  const svg = make(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group" });
  const x = (score) => left + 12 + score * (width - left - 26);
  for (const t of [0, 0.25, 0.5, 0.75, 1]) {
    make(svg, "line", { class: "grid", x1: x(t), x2: x(t), y1: 2, y2: height - 28 });
    make(svg, "text", { x: x(t), y: height - 10, "text-anchor": "middle" }, String(t));
  }
  DATA.values.forEach((value, index) => {
    const p = row.precision[index], r = row.recall[index], cy = 12 + index * step;
    make(svg, "text", { x: left, y: cy + 4, "text-anchor": "end" }, shorten(value, left));
    if (!known(p)) return;
    const group = make(svg, "g", { class: "mark" });
    make(group, "rect", { class: "halo", x: x(Math.min(p, r)) - 8, y: cy - 9, width: Math.abs(x(p) - x(r)) + 16, height: 18, rx: 9, fill: "var(--muted)" });
    make(group, "line", { x1: x(p), x2: x(r), y1: cy, y2: cy, stroke: "var(--muted)", "stroke-width": 2, opacity: 0.5 });
    make(group, "circle", { cx: x(p), cy, r: 5, fill: "var(--c0)" });
    make(group, "circle", { cx: x(r), cy, r: 5, fill: "var(--c1)" });
    tip(group, `${value}\nprecision ${f3(p)}\nrecall ${f3(r)}\nF1 ${f3(row.f1[index])}`);
  });
  walkable(svg);
}

function drawValues() {
  const plot = plotOf("fig-values");
  const rows = shown.filter((row) => row.f1 && row.f1.some(known) && row.method !== "upper reference");
  const reference = shown.filter((row) => row.f1 && row.method === "upper reference");
  if (!rows.length) return empty(plot, "No row shown has scores per value.");
  rows.sort((a, b) => b.macro_f1 - a.macro_f1);
  const table = make(plot, "table", { class: "heat" });
  const head = make(make(table, "thead"), "tr");
  make(head, "th", { class: "corner", scope: "col" }, "");
  for (const value of DATA.values) make(make(head, "th", { scope: "col" }), "span", {}, value);
  const body = make(table, "tbody");
  for (const row of [...rows, ...reference]) {
    const line = make(body, "tr", { class: row.method === "upper reference" ? "reference" : row.status });
    const name = make(line, "th", { scope: "row", title: row.system });
    make(name, "span", {}, row.system);
    if (row.template) make(name, "small", {}, ` ${row.prompt}`);
    row.f1.forEach((score, index) => {
      if (!known(score)) return make(line, "td", { class: "missing", title: `${DATA.values[index]}: no argument holds it` }, "–");
      const share = Math.round(Math.min(1, score / 0.9) * 100);
      make(line, "td", { class: share > 62 ? "strong-cell" : null, title: `${row.system}, ${DATA.values[index]}: ${f3(score)}`, style: `background:color-mix(in oklab, var(--heat) ${share}%, var(--heat-0))` }, score.toFixed(2).replace("0.", "."));
    });
  }
}

function draw() {
  const axis = document.querySelector("input[name=size-axis]:checked").value;
  drawAgainst("fig-size", axis, axis === "parameters" ? "parameters" : "trained parameters");
  drawAgainst("fig-training", "training_size", "training arguments");
  drawSpread();
  drawPrecisionRecall();
  drawValues();
}

// ------------------------------------------------------------------ wiring

for (const head of heads) {
  head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.key));
  $("sort-phone").append(new Option(head.textContent, head.dataset.key));
}
$("sort-phone").addEventListener("change", (event) => sortBy(event.target.value));
for (const id of ["f-set", "f-method", "f-template", "f-size", "f-published"]) $(id).addEventListener("change", filter);
$("f-text").addEventListener("input", filter);
$("reset").addEventListener("click", () => {
  for (const id of ["f-set", "f-method", "f-template", "f-size"]) $(id).selectedIndex = 0;
  $("f-text").value = "";
  $("f-published").checked = true;
  order = { key: "macro_f1", down: true };
  applyOrder();
  filter();
});
for (const input of document.querySelectorAll("input[name=size-axis]")) input.addEventListener("change", draw);
$("pr-row").addEventListener("change", drawPrecisionRecall);
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
let drawnAt = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === drawnAt) return;
  drawnAt = innerWidth;
  requestAnimationFrame(draw);
});
addEventListener("scroll", () => { if (tipped) placeTip(); }, { passive: true });
applyOrder();
filter();
