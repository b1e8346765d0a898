// What runs now: each generation with its live speed and a stop button.

import { find, keepList, make, onPress, setText, showWords } from "./dom.js";
import * as words from "./words.js";

const PHASES = { queued: "waiting for the model", prefill: "reading the prompt", decode: "generating" };

export class Jobs {
  #api;
  #refresh;

  constructor(api, refresh) {
    this.#api = api;
    this.#refresh = refresh;
  }

  /** A daemon that was not seen before has nothing to do with what another one could not stop. */
  begin() {
    showWords("#jobs-problem", null);
  }

  show({ jobs, time }) {
    find("#jobs-empty").hidden = jobs.length > 0;
    keepList(find("#jobs"), jobs, (job) => job.job_id, (job) => this.#create(job), (row, job) => update(row, job, time));
  }

  #create(job) {
    const stop = make("button", { type: "button", className: "stop", textContent: "Stop" });
    stop.setAttribute("aria-label", `Stop the generation of ${words.shortName(job.model)}`);
    onPress(stop, () => this.#stop(job));
    const progress = make("progress", { max: 1 });
    progress.setAttribute("aria-label", "Prompt read");
    return make(
      "li",
      { className: "row" },
      make("div", { className: "name" }, make("span", { textContent: words.shortName(job.model), title: job.model }), " ", make("span", { className: "state" })),
      stop,
      make("p", { className: "live" }),
      progress,
      make("p", { className: "soft" }),
    );
  }

  async #stop(job) {
    showWords("#jobs-problem", null);
    try {
      await this.#api.delete(`api/v1/overview/jobs/${encodeURIComponent(job.job_id)}`);
    } catch (error) {
      showWords("#jobs-problem", `It could not be stopped: ${error.message}`);
    }
    this.#refresh();
  }
}

function update(row, job, time) {
  const reading = job.state === "prefill" && job.prefill_total > 0;
  setText(row.querySelector(".state"), PHASES[job.state] ?? job.state);
  const live = row.querySelector(".live");
  setText(live, liveWords(job, reading));
  live.hidden = job.state === "queued";
  const progress = row.querySelector("progress");
  progress.hidden = !reading;
  if (reading) progress.value = job.prefill_done / job.prefill_total;
  setText(row.querySelector(".soft"), `asked by ${words.caller(job.origin)}, ${words.duration(time - job.created)} ago`);
}

function liveWords(job, reading) {
  if (reading) return `${words.number(job.prefill_done)} of ${words.number(job.prefill_total)} prompt ${job.prefill_total === 1 ? "token" : "tokens"}`;
  if (job.tokens_per_second === null) return words.tokens(job.tokens);
  return `${words.tokens(job.tokens)}, ${words.tokensPerSecond(job.tokens_per_second)} tokens/s`;
}
