// Speed and memory over time: charts, a legend that switches backends on and off, and the percentiles.

import { Chart } from "./chart.js";
import { find, keepList, make, setText, showWords } from "./dom.js";
import { Looks } from "./looks.js";
import * as words from "./words.js";

const FIGURES = ["tokens_per_second", "time_to_first_token"];
const PERCENTILES = ["p50", "p95", "p99"];
const RANGES = { 900: "the last 15 minutes", 3600: "the last hour", 86400: "the last 24 hours", 604800: "the last 7 days", 7776000: "the last 90 days" };
const PARTS = 60;
const STALE_S = 30;

export class Speed {
  #api;
  #charts = {
    tokens_per_second: new Chart("#speed-chart", "#speed-readout", (value) => words.tokensPerSecond(value)),
    time_to_first_token: new Chart("#first-chart", "#first-readout", (value) => `${words.milliseconds(value)} ms`),
    memory: new Chart("#memory-chart", "#memory-readout", words.bytes, words.roundBytes),
  };
  #backendLooks = new Looks();
  #modelLooks = new Looks();
  #hidden = new Set();
  #answer = null;
  #time = 0;
  #loaded = new Map();
  #asked = { generations: -1, at: 0 };

  constructor(api) {
    this.#api = api;
    find("#range").addEventListener("change", () => this.#time && this.#refresh());
    find("#export").addEventListener("click", () => this.#export());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Ask again where a generation has ended since, or the charts' right edge has moved on. */
  async show({ generations, models, time }, isNew) {
    const isStale = generations !== this.#asked.generations || time - this.#asked.at >= STALE_S;
    this.#time = time;
    this.#loaded = new Map(models.map((model) => [model.model, model.resident_bytes]));
    if (!isNew && !isStale) return;
    this.#asked = { generations, at: time };
    await this.#refresh();
  }

  get #seconds() {
    return Number(find("#range input:checked").value);
  }

  get #backends() {
    return Object.keys(this.#answer.groups).sort();
  }

  async #refresh() {
    const span = { from: this.#time - this.#seconds, to: this.#time };
    const query = `since=${span.from}&parts=${PARTS}`;
    const ask = (path) => this.#api.get(`api/v1/stats/${path}${query}`);
    try {
      const [{ groups }, { backends }, { models }] = await Promise.all([ask("grouped?by=backend&"), ask("history?"), ask("memory?")]);
      this.#answer = { groups, history: backends, memory: models, span };
      this.#backendLooks.share(this.#backends);
      this.#modelLooks.share(Object.keys(models));
      showWords("#speed-problem", null);
    } catch (error) {
      showWords("#speed-problem", `The figures cannot be shown: ${error.message}`);
      return;
    }
    this.#showLegend();
    this.#showPercentiles();
    this.#draw();
  }

  #draw() {
    if (!this.#answer) return;
    const { history, memory, span } = this.#answer;
    const isEmpty = this.#backends.length === 0;
    find("#charts").hidden = find("#charts-note").hidden = isEmpty;
    showWords("#charts-empty", isEmpty ? `No generation in ${RANGES[this.#seconds]}. As soon as a program or an extension `
      + "has asked a model something, its speed is shown here." : null);
    const part = (span.to - span.from) / PARTS;
    const shown = this.#backends.filter((backend) => !this.#hidden.has(backend));
    for (const figure of FIGURES) {
      const lines = shown.flatMap((backend) => linesOf(backend, history[backend] ?? [], figure, part, this.#backendLooks.of(backend)));
      this.#charts[figure].draw(lines, span);
    }
    this.#drawMemory(memory, span);
  }

  #drawMemory(memory, span) {
    const models = Object.keys(memory);
    find("#memory-figure").hidden = models.length === 0;
    keepList(find("#memory-legend"), models, (model) => model, (model) => {
      return make("li", { title: model }, swatch(this.#modelLooks.of(model)), words.shortName(model));
    }, () => {});
    this.#charts.memory.draw(models.map((model) => this.#memoryLine(model, memory[model], span)), span);
  }

  /** A point stands until the next one, so the line goes in steps: down to 0 at an unload, and to what is loaded now. */
  #memoryLine(model, samples, span) {
    const points = samples.map((sample) => [sample.time, sample.resident_bytes]);
    const now = this.#loaded.get(model) ?? null;
    if (now !== null) points.push([span.to, now]);
    const { colour, line } = this.#modelLooks.of(model);
    return { name: words.shortName(model), colour, dash: line, stepped: true, points };
  }

  #showLegend() {
    keepList(find("#legend"), this.#backends, (backend) => backend, (backend) => this.#legendEntry(backend), () => {});
  }

  #legendEntry(backend) {
    const button = make("button", { type: "button", className: "quiet" }, swatch(this.#backendLooks.of(backend)), backend);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      if (!this.#hidden.delete(backend)) this.#hidden.add(backend);
      button.setAttribute("aria-pressed", String(!this.#hidden.has(backend)));
      this.#draw();
    });
    return make("li", {}, button);
  }

  async #export() {
    try {
      await this.#api.save("api/v1/stats/export.csv", "tabagent-stats.csv");
      showWords("#speed-problem", null);
    } catch (error) {
      showWords("#speed-problem", `The figures cannot be exported: ${error.message}`);
    }
  }

  #showPercentiles() {
    find("#percentiles").hidden = find("#export-row").hidden = this.#backends.length === 0;
    keepList(find("#percentile-rows"), this.#backends, (backend) => backend, createRow, (row, backend) => {
      cellsOf(this.#answer.groups[backend]).forEach((text, place) => setText(row.children[place + 1], text));
    });
  }
}

/** A backend's two lines: what half of its generations had, and what 95 in 100 stayed below. Points lie amid their part. */
function linesOf(backend, points, figure, part, look) {
  return ["p50", "p95"].map((percentile) => ({
    name: `${backend} ${percentile}`,
    colour: look.colour,
    dash: percentile === "p95" ? look.upper : look.line,
    isUpper: percentile === "p95",
    points: points.filter((point) => point[figure][percentile] !== null).map((point) => [point.time + part / 2, point[figure][percentile]]),
  }));
}

function swatch({ colour, round }) {
  const square = make("span", { className: "swatch" });
  square.style.setProperty("--colour", `var(${colour})`);
  square.dataset.round = round;
  square.setAttribute("aria-hidden", "true");
  return square;
}

function createRow(backend) {
  const cells = Array.from({ length: 1 + FIGURES.length * PERCENTILES.length }, () => make("td", { className: "number" }));
  return make("tr", {}, make("th", { scope: "row", textContent: backend }), ...cells);
}

function cellsOf(aggregate) {
  const speeds = PERCENTILES.map((name) => words.tokensPerSecond(aggregate.tokens_per_second[name]));
  const firsts = PERCENTILES.map((name) => words.milliseconds(aggregate.time_to_first_token[name]));
  return [words.number(aggregate.count), ...speeds, ...firsts];
}
