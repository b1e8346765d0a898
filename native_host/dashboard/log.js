// The end of the daemon's log.

import { find, make, showWords } from "./dom.js";

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const LEVEL = new RegExp(`^[\\d-]+ [\\d:,]+ (${LEVELS.join("|")}) `);
const NEAR_END_PX = 40;

export class Log {
  #api;
  #lines = [];
  #shown = "";

  constructor(api) {
    this.#api = api;
    find("#log-level").addEventListener("change", () => this.#render());
  }

  async refresh() {
    try {
      const { lines } = await this.#api.get("api/v1/overview/log?lines=300");
      this.#lines = withLevels(lines);
      showWords("#log-problem", null);
    } catch (error) {
      showWords("#log-problem", `The log cannot be shown: ${error.message}`);
    }
    this.#render();
  }

  #render() {
    const least = LEVELS.indexOf(find("#log-level").value);
    const lines = this.#lines.filter(({ level }) => LEVELS.indexOf(level) >= least);
    const text = lines.map(({ line }) => line).join("\n");
    showWords("#log-empty", lines.length ? null : this.#lines.length ? "No such line among the last 300." : "The log is empty.");
    const place = find("#log");
    place.hidden = lines.length === 0;
    if (text === this.#shown) return;
    this.#shown = text;
    const following = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_END_PX;
    place.replaceChildren(...lines.map(({ level, line }) => make("p", { textContent: line, className: classOf(level) })));
    if (following) place.scrollTop = place.scrollHeight;
  }
}

/** Each line with its level; a traceback's lines have that of the line before. */
function withLevels(lines) {
  let level = "INFO";
  return lines.map((line) => {
    level = LEVEL.exec(line)?.[1] ?? level;
    return { level, line };
  });
}

function classOf(level) {
  return { WARNING: "warning", ERROR: "error", CRITICAL: "error" }[level] ?? "";
}
