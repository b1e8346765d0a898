// The chat: which model is loaded, what was said, and the one answer that may be on its way.
import { connect } from "./client.js";
import { openFigures } from "./figures.js";
import { explain } from "./problems.js";
import { shortName, View } from "./view.js";

const DEFAULT_MODEL = "demo";
const REMEMBERED = "model";
const REMARKS = { cancelled: "Stopped.", length: "Cut off: the limit of tokens was reached." };
const { runtime } = globalThis.browser ?? globalThis.chrome;

class Chat {
  #view = new View();
  #host = connect({ onStatus: (status) => this.#showConnection(status) });
  #messages = [];
  #model = localStorage.getItem(REMEMBERED) ?? DEFAULT_MODEL;
  #ready = false;
  #stopper = null;

  constructor() {
    this.#view.bind({
      send: (text) => this.#send(text),
      stop: () => this.#stopper?.abort(),
      newChat: () => this.#reset(),
      choose: (model) => this.#load(model),
      openFigures: () => this.#openFigures(),
    });
  }

  /** Reach the host and load the model that was used last. */
  async start() {
    this.#view.showState("waiting", "Connecting");
    this.#view.showProblem(null);
    try {
      const { models } = await this.#host.listModels();
      const names = models.map((entry) => entry.model);
      if (!names.includes(this.#model)) this.#model = DEFAULT_MODEL;
      this.#view.showModels(names, this.#model);
    } catch (error) {
      this.#fail(error, () => this.start(), "Not connected");
      return;
    }
    await this.#load(this.#model);
  }

  async #load(model) {
    this.#ready = false;
    this.#view.showProblem(null);
    this.#view.showFigures("");
    const name = shortName(model);
    this.#view.showState("waiting", `Loading ${name}`);
    const onProgress = ({ progress }) => {
      if (progress !== null) this.#view.showState("waiting", `Loading ${name}: ${Math.round(progress * 100)} %`);
    };
    try {
      const { model: state } = await this.#host.load({ model }, { onProgress });
      this.#model = model;
      localStorage.setItem(REMEMBERED, model);
      this.#ready = true;
      this.#view.showState("ready", `${name} (${state.backend_type})`);
      this.#view.input.focus();
    } catch (error) {
      this.#fail(error, () => this.#load(model), `${name} is not loaded`);
    }
  }

  #send(text) {
    if (!text || !this.#ready || this.#stopper) return;
    this.#view.input.value = "";
    this.#view.addUserTurn(text);
    this.#answer([...this.#messages, { role: "user", content: text }]);
  }

  /** Have the conversation `messages` answered; only then it becomes the one that the next question continues. */
  async #answer(messages) {
    const conversation = this.#messages;
    const answer = this.#view.addAnswer();
    this.#stopper = new AbortController();
    this.#view.showProblem(null);
    this.#view.showState("answering");
    try {
      const result = await this.#generate(messages, answer);
      conversation.splice(0, Infinity, ...messages, { role: "assistant", content: result.text });
      answer.end(REMARKS[result.finish_reason]);
      this.#view.showFigures(finalFigures(result.stats));
      this.#view.showState("ready");
    } catch (error) {
      const stopped = error.name === "AbortError"; // while the model was still loading
      answer.end(stopped ? REMARKS.cancelled : undefined);
      if (stopped) this.#view.showState("ready");
      else this.#fail(error, () => this.#answer(messages));
    }
    this.#stopper = null;
    this.#view.input.focus();
  }

  /** Load first: that is success at once, unless the model was unloaded meanwhile, or crashed. */
  async #generate(messages, answer) {
    const model = this.#model;
    const meter = new Meter();
    await this.#host.load({ model }, { onProgress: ({ message }) => answer.wait(message) });
    const onPartial = ({ text, tokens }) => {
      answer.append(text);
      this.#view.showFigures(meter.figures(tokens));
    };
    const onThinking = ({ thinking }) => answer.wait(thinking);
    return this.#host.generate({ model, messages }, { onPartial, onThinking, signal: this.#stopper.signal });
  }

  #fail(error, retry, words) {
    this.#view.showProblem(explain(error, runtime.id), retry);
    this.#view.showState(this.#ready ? "ready" : "failed", words);
  }

  #reset() {
    this.#stopper?.abort();
    this.#messages = [];
    this.#view.clear();
    this.#view.input.focus();
  }

  async #openFigures() {
    try {
      await openFigures(this.#host);
    } catch (error) {
      this.#fail(error, () => this.start());
    }
  }

  #showConnection(status) {
    if (status === "reconnecting") this.#view.showFigures("connection lost, connecting again");
  }
}

/** Tokens per second while an answer comes, by this page's own clock. */
class Meter {
  #first = null;

  figures(tokens) {
    const now = performance.now();
    this.#first ??= { time: now, tokens };
    const seconds = (now - this.#first.time) / 1000;
    const rate = seconds > 0.2 ? (tokens - this.#first.tokens) / seconds : null;
    return rate === null ? `${tokens} tokens` : `${tokens} tokens, ${rate.toFixed(1)} tokens/s`;
  }
}

/** The host's own figures of a finished answer. */
function finalFigures({ output_tokens, tokens_per_second, time_to_first_token }) {
  const parts = [`${output_tokens} tokens`];
  if (tokens_per_second !== null) parts.push(`${tokens_per_second.toFixed(1)} tokens/s`);
  if (time_to_first_token !== null) parts.push(`first after ${Math.round(time_to_first_token)} ms`);
  return parts.join(", ");
}

new Chat().start();
