// The line that says what goes on while an answer is made: phase, tokens, tokens/s, time so far, time left; and the figures
// of an answer that is whole.

const TICK_MS = 250;
const RATE_AFTER_MS = 200;
const READ = /\((\d+) of (\d+) tokens\)/;
const PHASES = { start: "Starting", queued: "Waiting for the model", prefill: "Reading the prompt", decode: "Writing" };
const SIZES_NAMED = 3;
const find = (selector) => document.querySelector(selector);

/** One answer's progress, from its making until `end`. `mostTokens` is where the host will cut the answer off. */
export class Progress {
  #started = performance.now();
  #timer = setInterval(() => this.#show(), TICK_MS);
  #mostTokens;
  #phase = "start";
  #first = null;
  #tokens = 0;
  #read = null;
  #readAt = null;

  constructor(mostTokens) {
    this.#mostTokens = mostTokens;
    find("#progress").hidden = false;
    this.#show();
  }

  /** The host's sign of life. */
  hear({ phase, thinking, eta_ms: eta }) {
    const read = READ.exec(thinking);
    this.#phase = phase;
    if (read) this.#read = { done: Number(read[1]), total: Number(read[2]) };
    this.#readAt = eta === null ? null : performance.now() + eta;
    this.#show();
  }

  /** So many tokens of the answer are here. */
  count(tokens) {
    this.#phase = "decode";
    this.#tokens = tokens;
    this.#first ??= { at: performance.now(), tokens };
    this.#show();
  }

  end() {
    clearInterval(this.#timer);
    find("#progress").hidden = true;
  }

  #show() {
    const bar = find("#progress progress");
    const share = this.#phase === "prefill" && this.#read ? this.#read.done / this.#read.total : null;
    if (share === null) bar.removeAttribute("value"); // "under way", without a share
    else bar.value = share;
    find("#progress-words").textContent = this.#words().join(" · ");
  }

  #words() {
    const rate = this.#rate();
    const words = [PHASES[this.#phase] ?? this.#phase];
    if (this.#phase === "prefill" && this.#read) words.push(`${this.#read.done} of ${tokensOf(this.#read.total)}`);
    if (this.#phase === "decode") words.push(tokensOf(this.#tokens));
    if (rate !== null) words.push(`${rate.toFixed(1)} tokens/s`);
    words.push(seconds(performance.now() - this.#started));
    const left = this.#left(rate);
    if (left !== null) words.push(left);
    return words;
  }

  /** Tokens per second by this page's own clock; the first ones took the prefill's time and are not counted. */
  #rate() {
    const passed = this.#first ? performance.now() - this.#first.at : 0;
    return passed > RATE_AFTER_MS ? ((this.#tokens - this.#first.tokens) / passed) * 1000 : null;
  }

  #left(rate) {
    if (this.#phase === "prefill" && this.#readAt !== null) {
      return `about ${seconds(Math.max(this.#readAt - performance.now(), 0))} left`;
    }
    return rate ? `at most ${seconds(((this.#mostTokens - this.#tokens) / rate) * 1000)} left` : null;
  }
}

/** A count of tokens in words. */
export const tokensOf = (count) => `${count} ${count === 1 ? "token" : "tokens"}`;

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;

/** The host's own figures of a finished answer, and how its question's pictures, those after `earlier`, were seen. */
export function finalFigures({ output_tokens, tokens_per_second, time_to_first_token, pictures: all }, earlier) {
  const pictures = (all ?? []).slice(earlier); // null: it was stopped before they were looked at
  const parts = [tokensOf(output_tokens)];
  if (tokens_per_second !== null) parts.push(`${tokens_per_second.toFixed(1)} tokens/s`);
  if (time_to_first_token !== null) parts.push(`first after ${Math.round(time_to_first_token)} ms`);
  if (pictures.length) parts.push(sizesSeen(pictures));
  return parts.join(", ");
}

function sizesSeen(pictures) {
  const named = pictures.slice(0, SIZES_NAMED).map(
    ({ width, height, scaled_width: across, scaled_height: down }) => `${across} x ${down} of ${width} x ${height}`,
  );
  const rest = pictures.length - named.length;
  return `seen at ${named.join(", ")} pixels${rest ? ` and ${rest} more` : ""}`;
}
