// The host's figures: its own page where the HTTP API is on, else a table of what the port tells.

import { shortName } from "./model_list.js";

const find = (selector) => document.querySelector(selector);
const PERCENTILES = ["p50", "p95", "p99"];
const MEGABYTE = 1_000_000;
const UNKNOWN = "-";

/** Open the dashboard in a new tab, or the dialog. */
export async function openFigures(host) {
  const { http_url: page } = await host.ping();
  if (page) {
    globalThis.open(`${page}/`, "_blank", "noopener");
    return;
  }
  const [{ models }, { by_backend: backends }] = await Promise.all([host.getState(), host.getStats({ scope: "aggregate" })]);
  fill("#loaded-table", models.map(modelCells), "No model is loaded.");
  fill("#speed-table", Object.entries(backends).map(backendCells), "Nothing was generated yet.");
  find("#figures-dialog").showModal();
}

function modelCells({ model, backend, backend_type: type, state, resident_bytes: resident }) {
  return [shortName(model), type ?? backend, state, resident === null ? UNKNOWN : `${Math.round(resident / MEGABYTE)} MB`];
}

function backendCells([backend, { count, tokens_per_second: speed, time_to_first_token: first }]) {
  return [backend, String(count), ...PERCENTILES.map((name) => rounded(speed[name], 1)), ...PERCENTILES.map((name) => rounded(first[name], 0))];
}

const rounded = (value, decimals) => (value === null ? UNKNOWN : value.toFixed(decimals));

/** Write the rows of a table, each with its name as its head; without any, say so. */
function fill(selector, rows, empty) {
  const columns = find(`${selector} thead tr`).children.length;
  const made = rows.map(([name, ...values]) => row(cell("th", name, { scope: "row" }), ...values.map((value) => cell("td", value))));
  find(`${selector} tbody`).replaceChildren(...(made.length ? made : [row(cell("td", empty, { colSpan: columns }))]));
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function cell(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), properties, { textContent: text });
}
