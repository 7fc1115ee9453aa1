"use strict";
// The page works on data that anybody may have written, so text enters only through textContent.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(DATA.rows.map((row) => [row.id, row]));
const $ = (id) => document.getElementById(id);

function make(parent, tag, attributes = {}, text) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

const known = (x) => x !== null && x !== undefined;

// ------------------------------------------------------------------ sorting and filtering

const tbody = document.querySelector("#board tbody");
const heads = [...document.querySelectorAll("#board thead th")];
const lines = [...tbody.rows].map((element) => ({ element, row: byId.get(Number(element.dataset.id)) }));
let order = { key: "macro_f1", down: true };

// What a row is sorted by; the row that the others are compared with differs from itself by 0.
const sorted = (row) => (order.key === "difference" && row.is_reference ? 0 : row[order.key]);

function compare(a, b) {
  const x = sorted(a.row), y = sorted(b.row);
  const foot = (line) => line.row.method === "upper reference"; // no system: at the foot
  if (foot(a) !== foot(b)) return foot(a) ? 1 : -1;
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
  remember();
}

function sizeClass(row) {
  const n = row.parameters;
  if (!known(n)) return "unknown";
  return n < 5e7 ? "s" : n < 5e8 ? "m" : n < 5e9 ? "l" : "xl";
}

const onBoard = (row) => row.board === $("f-set").value;

function matches(row) {
  const words = $("f-text").value.trim().toLowerCase();
  const name = `${row.system} ${row.run_name || ""} ${row.base_model || ""}`.toLowerCase();
  return onBoard(row)
    && (row.status === "ranked" || $("f-published").checked)
    && (!row.variant_of || $("f-variants").checked)
    && (!$("f-method").value || row.method === $("f-method").value)
    && (!$("f-template").value || row.template === $("f-template").value)
    && (!$("f-size").value || sizeClass(row) === $("f-size").value)
    && (!words || name.includes(words));
}

// A column that says the same of every measured system of the set is a sentence, no column.
function hideConstant() {
  const measured = lines.filter((line) => onBoard(line.row) && line.row.status === "ranked");
  const same = [];
  heads.forEach((head, column) => {
    const texts = new Set(measured.map((line) => line.element.cells[column].textContent.trim()));
    const constant = HIDEABLE.has(head.dataset.key) && measured.length > 1 && texts.size === 1;
    for (const row of [head.parentNode, ...lines.map((line) => line.element)]) row.cells[column].hidden = constant;
    const [text] = texts;
    if (constant && text) same.push(`${head.textContent.trim().toLowerCase()} ${text}`);
  });
  return same.length ? ` The same for all measured: ${same.join(", ")}.` : "";
}
const HIDEABLE = new Set(["method", "prompt", "parameters", "trainable_parameters", "macro_ap", "answer_mass", "predicted_rate", "unparsed", "seeds"]);

function filter() {
  for (const part of document.querySelectorAll("[data-board]")) part.hidden = part.dataset.board !== $("f-set").value;
  for (const line of lines) line.element.hidden = !matches(line.row);
  const shown = lines.filter((line) => !line.element.hidden).map((line) => line.row);
  const all = lines.filter((line) => onBoard(line.row)).map((line) => line.row);
  const ours = shown.filter((row) => row.status === "ranked").length;
  const folded = $("f-variants").checked ? 0 : all.filter((row) => row.variant_of).length;
  const same = hideConstant();
  $("status").textContent = (shown.length
    ? `${shown.length} of ${all.length} systems shown: ${ours} measured, ${shown.length - ours} published.`
    : "No system fits these filters.") + (folded ? ` ${folded} variants are folded.` : "") + same;
  remember();
}

// ------------------------------------------------------------------ state in the address

const FIELDS = ["f-set", "f-method", "f-template", "f-size", "f-text", "f-published", "f-variants", "b-set", "b-a", "b-b", "b-which", "b-value", "b-text"].filter($);
const initial = new Map();
let restoring = true; // until the address has been read

function remember() {
  if (restoring) return;
  const state = new URLSearchParams();
  for (const id of FIELDS) {
    const value = valueOf($(id));
    if (value !== initial.get(id)) state.set(keyOf(id), value);
  }
  if (order.key !== "macro_f1" || !order.down) state.set("sort", (order.down ? "-" : "") + order.key);
  const hash = state.size ? `#${state}` : "";
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname);
}

const keyOf = (id) => (id.startsWith("b-") ? `browse-${id.slice(2)}` : id.slice(2));
const valueOf = (field) => (field.type === "checkbox" ? String(field.checked) : field.value);

function assign(field, value) {
  if (field.type === "checkbox") field.checked = value === "true";
  else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
  else field.value = initial.get(field.id); // an address of another page, or typed by hand
}

function restore() {
  restoring = true;
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of FIELDS) {
    assign($(id), state.get(keyOf(id)) ?? initial.get(id));
    if (id === "b-set") listSystems();
  }
  const sort = state.get("sort") ?? "-macro_f1", key = sort.replace(/^-/, "");
  if (heads.some((head) => head.dataset.key === key)) order = { key, down: sort.startsWith("-") };
  if ($("browser") && [...state.keys()].some((name) => name.startsWith("browse-"))) $("browser").open = true;
  applyOrder();
  filter();
  browse();
  restoring = false;
  remember();
}

// ------------------------------------------------------------------ arguments

const PAGE = 20;
let shownArguments = PAGE;
const bits = (n) => { let k = 0; for (; n; n &= n - 1) k += 1; return k; };
const browsed = () => DATA.samples.find((board) => board.board === $("b-set").value);

function listSystems() {
  const names = browsed().systems.map((system) => system.name);
  const before = [$("b-a").value, $("b-b").value];
  $("b-a").replaceChildren(...names.map((name) => new Option(name)));
  $("b-b").replaceChildren(new Option("none", ""), ...names.map((name) => new Option(name)));
  initial.set("b-a", names[0]).set("b-b", "");
  assign($("b-a"), before[0]);
  assign($("b-b"), before[1]);
}

function chips(parent, name, labels, predicted) {
  const line = make(parent, "p", { class: "chips" });
  make(line, "b", {}, name);
  const kinds = [["hit", labels & predicted, "✓ "], ["missed", labels & ~predicted, "missed: "], ["wrong", predicted & ~labels, "wrong: "]];
  for (const [kind, mask, word] of kinds) {
    DATA.values.forEach((value, index) => { if ((mask >> index) & 1) make(line, "span", { class: kind }, word + value); });
  }
  if (!(labels | predicted)) make(line, "span", { class: "hit" }, "✓ no value");
}

function browse() {
  if (!DATA.samples) return;
  const board = browsed(), list = $("arguments");
  const [a, b] = ["b-a", "b-b"].map((id) => board.systems.find((system) => system.name === $(id).value));
  const mask = $("b-value").value === "" ? 0xfffff : 1 << Number($("b-value").value);
  const words = $("b-text").value.trim().toLowerCase(), which = $("b-which").value;
  const found = board.arguments.map((argument, index) => {
    const of = (system) => (system ? bits((system.predicted[index] ^ argument.labels) & mask) : 0);
    const differ = b ? bits((a.predicted[index] ^ b.predicted[index]) & mask) : 0;
    return { argument, index, a: of(a), b: of(b), differ };
  }).filter((each) => ({
    wrong: each.a > 0, differ: each.differ > 0, worse: b && each.a > each.b, better: b && each.a < each.b, all: true,
  })[which] && (!words || `${each.argument.premise} ${each.argument.conclusion} ${each.argument.id}`.toLowerCase().includes(words)));
  if (which !== "all") found.sort((x, y) => (which === "wrong" ? y.a - x.a : Math.abs(y.a - y.b) - Math.abs(x.a - x.b)) || x.index - y.index);
  list.replaceChildren();
  $("b-status").textContent = `${found.length} of ${board.arguments.length} arguments.`;
  for (const { argument, index } of found.slice(0, shownArguments)) {
    const item = make(list, "li");
    make(item, "p", {}, argument.premise);
    make(item, "p", { class: "muted" }, `${argument.id}, ${argument.stance} «${argument.conclusion}»`);
    chips(item, a.name, argument.labels, a.predicted[index]);
    if (b) chips(item, b.name, argument.labels, b.predicted[index]);
  }
  $("b-more").hidden = found.length <= shownArguments;
  remember();
}

if (DATA.samples) {
  for (const id of ["b-set", "b-a", "b-b", "b-which", "b-value"]) {
    $(id).addEventListener("change", () => { if (id === "b-set") listSystems(); shownArguments = PAGE; browse(); });
  }
  $("b-text").addEventListener("input", () => { shownArguments = PAGE; browse(); });
  $("b-more").addEventListener("click", () => { shownArguments += PAGE; browse(); });
}

// ------------------------------------------------------------------ wiring

for (const head of heads) {
  head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.key));
  $("sort-phone").append(new Option(head.textContent.trim(), head.dataset.key));
}
$("sort-phone").addEventListener("change", (event) => sortBy(event.target.value));
for (const id of ["f-set", "f-method", "f-template", "f-size", "f-published", "f-variants"]) $(id).addEventListener("change", filter);
$("f-text").addEventListener("input", filter);
$("reset").addEventListener("click", () => {
  for (const id of FIELDS.filter((each) => each[0] === "f")) assign($(id), initial.get(id));
  order = { key: "macro_f1", down: true };
  applyOrder();
  filter();
});
for (const button of document.querySelectorAll("button[data-file]")) {
  button.addEventListener("click", () => {
    const link = make(document.body, "a", { download: button.dataset.file });
    link.href = URL.createObjectURL(new Blob([DATA.files[button.dataset.file]], { type: button.dataset.type }));
    link.click();
    setTimeout(() => { URL.revokeObjectURL(link.href); link.remove(); }, 1000);
  });
}
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
$("filters").open = innerWidth > 720; // on a phone the table comes first
if (DATA.samples) listSystems();
for (const id of FIELDS) if (!initial.has(id)) initial.set(id, valueOf($(id)));
addEventListener("hashchange", () => { if (!/^#ranking$/.test(location.hash)) restore(); });
restore();
