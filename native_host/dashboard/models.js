// What is loaded, on what, in how much memory; loading and unloading.

import { ApiError, Unreachable } from "./api.js";
import { find, keepList, make, onPress, setText, showWords } from "./dom.js";
import { makeField, problemOf, readField } from "./fields.js";
import * as words from "./words.js";

const LOAD_MS = 1_800_000;
const LIST_MS = 180_000;

const OPTIONS = [
  { name: "context_length", label: "Context length", kind: "integer", min: 8, hint: "tokens", placeholder: "as configured" },
  { name: "threads", label: "Threads", kind: "integer", min: 1, max: 1024, placeholder: "measured" },
  { name: "device", label: "Device", kind: "text", placeholder: "auto" },
  { name: "gpu_layers", label: "GPU layers", kind: "integer", min: -1, hint: "llamacpp; -1 for all" },
  { name: "dtype", label: "Weights", kind: ["", "auto", "fp32", "fp16", "q4", "q4f16", "int8", "uint8", "q8", "bnb4"], hint: "onnx" },
  { name: "fast_path", label: "Fast path", kind: ["", "yes", "no"], hint: "onnx" },
  { name: "lora", label: "Adapter (LoRA)", kind: "text", hint: "absolute path" },
  { name: "keep_alive_s", label: "Keep loaded", kind: "number", min: 0, hint: "seconds without use", placeholder: "as configured" },
  { name: "tokens_per_second", label: "Tokens/s", kind: "number", min: 0, hint: "echo" },
  { name: "prefill_ms", label: "Prefill, ms", kind: "number", min: 0, hint: "echo" },
];

export class Models {
  #api;
  #refresh;

  constructor(api, refresh) {
    this.#api = api;
    this.#refresh = refresh;
    find("#load-options").append(...OPTIONS.map((option) => makeField(option, "load")));
    find("#load").addEventListener("invalid", ({ target }) => open(target.closest("details")), true);
    find("#load-model").addEventListener("focus", () => this.#listAnew());
    find("#load").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#load(event.target);
    });
  }

  /** Read which models and backends there are, for the form's lists; each when it comes, since backends take seconds. */
  async begin() {
    showWords("#models-problem", null);
    showWords("#load-problem", null);
    await Promise.all([this.#listModels(), this.#listBackends()].map((list) => list.catch((error) => {
      showWords("#load-problem", `What can be loaded is not known: ${error.message}`);
    })));
  }

  /** Offer a file that was put into a folder since; whoever loads one hears of a host that does not answer. */
  async #listAnew() {
    await this.#listModels().catch((error) => {
      if (!(error instanceof ApiError || error instanceof Unreachable)) throw error;
    });
  }

  async #listModels() {
    const { models } = await this.#api.get("api/v1/models", LIST_MS);
    find("#known-models").replaceChildren(...models.map(({ model, format }) => new Option(format, model)));
  }

  async #listBackends() {
    const { backends } = await this.#api.get("api/v1/backends", LIST_MS);
    const names = ["auto", ...backends.filter(({ usable }) => usable).map(({ backend }) => backend)];
    const chosen = find("#load-backend").value;
    find("#load-backend").replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) find("#load-backend").value = chosen;
  }

  show({ models, active, time }) {
    find("#models-empty").hidden = models.length > 0;
    keepList(find("#models"), models, (model) => model.model, (model) => this.#create(model),
      (row, model) => update(row, model, { isActive: model.model === active && models.length > 1, time }));
  }

  #create(model) {
    const unload = make("button", { type: "button", className: "quiet", textContent: "Unload" });
    unload.setAttribute("aria-label", `Unload ${words.shortName(model.model)}`);
    onPress(unload, () => this.#unload(model.model));
    const dot = make("span", { className: "dot" });
    dot.setAttribute("aria-hidden", "true");
    return make(
      "li",
      { className: "row" },
      make("div", { className: "name" }, dot, make("span", { textContent: words.shortName(model.model), title: model.model_path }), " ", make("span", { className: "state" })),
      unload,
      make("p", { className: "live" }),
      makeProgress(),
      make("dl", { className: "facts" }),
      make("p", { className: "remark" }),
    );
  }

  async #load(form) {
    const button = form.querySelector("button");
    const hadFocus = document.activeElement === button;
    button.disabled = true;
    showWords("#load-problem", null);
    setText(find("#load-status"), `Loading ${words.shortName(form.model.value.trim())}. A large model takes minutes.`);
    this.#refresh();
    try {
      const { message } = await this.#api.post("api/v1/load", requestOf(form), LOAD_MS);
      setText(find("#load-status"), message);
    } catch (error) {
      setText(find("#load-status"), "");
      showWords("#load-problem", problemOf(error, OPTIONS, "options"));
    }
    button.disabled = false;
    if (hadFocus && document.activeElement === document.body) button.focus();
    this.#refresh();
  }

  async #unload(model) {
    showWords("#models-problem", null);
    setText(find("#load-status"), "");
    try {
      await this.#api.post("api/v1/unload", { model });
    } catch (error) {
      showWords("#models-problem", error.message);
    }
    this.#refresh();
  }
}

/** A wrong option that nobody sees would keep the form from being sent without a word. */
function open(details) {
  if (details) details.open = true;
}

function makeProgress() {
  const progress = make("progress", { max: 1 });
  progress.setAttribute("aria-label", "Loaded");
  return progress;
}

function requestOf(form) {
  const options = {};
  for (const option of OPTIONS) {
    const value = readField(option, form.elements[option.name]);
    if (value !== undefined) options[option.name] = option.name === "fast_path" ? value === "yes" : value;
  }
  const request = { model: form.model.value.trim(), backend: form.backend.value };
  return Object.keys(options).length ? { ...request, options } : request;
}

function update(row, model, { isActive, time }) {
  row.querySelector(".dot").dataset.state = model.state;
  setText(row.querySelector(".state"), isActive ? `${model.state}, used last` : model.state);
  showLoading(row, model.loading);
  const facts = factsOf(model, time);
  const list = row.querySelector("dl");
  const text = JSON.stringify(facts);
  if (list.dataset.shown !== text) {
    list.dataset.shown = text;
    list.replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
  }
  const remark = row.querySelector(".remark");
  setText(remark, model.notes.join(" "));
  remark.hidden = model.notes.length === 0;
}

/** How far a load is; a bar without a value where that is not known. */
function showLoading(row, loading) {
  const live = row.querySelector(".live");
  const progress = row.querySelector("progress");
  live.hidden = progress.hidden = loading === null;
  if (loading === null) return;
  setText(live, loadingWords(loading));
  if (loading.progress === null) progress.removeAttribute("value");
  else progress.value = loading.progress;
}

function loadingWords({ phase, progress, loaded_bytes, total_bytes }) {
  if (progress === null) return phase;
  const percent = `${phase}, ${Math.floor(progress * 100)} %`;
  return total_bytes ? `${percent} (${words.bytes(loaded_bytes)} of ${words.bytes(total_bytes)})` : percent;
}

function factsOf(model, time) {
  const { current } = model.performance;
  const facts = [
    ["runs on", model.backend_type ?? model.backend],
    ["device", model.device],
    ["weights", model.dtype],
    ["memory", model.resident_bytes === null ? null : words.bytes(model.resident_bytes)],
    ["context", model.context_length === null ? null : words.tokens(model.context_length)],
    ["speed", current.tokens_per_second === null ? null : `${words.tokensPerSecond(current.tokens_per_second)} tokens/s`],
    ["unloads in", model.expires_at === null || model.loading ? null : words.duration(model.expires_at - time)],
  ];
  return facts.filter(([, value]) => value !== null);
}
