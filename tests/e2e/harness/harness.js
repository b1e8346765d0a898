// What the end-to-end tests call in an extension page. Everything goes in and comes out as JSON.
// The first half talks raw native messaging, the second half goes through the client that others copy.
import { connect, HOST_NAME, send } from "./client.js";

const api = globalThis.browser ?? globalThis.chrome;
const ports = [];
const clients = [];

class Port {
  disconnected = null;
  #frames = [];
  #waiter = null;

  constructor() {
    this.port = api.runtime.connectNative(HOST_NAME);
    this.port.onMessage.addListener((frame) => this.#push(frame));
    this.port.onDisconnect.addListener((port) => {
      this.disconnected = api.runtime.lastError?.message ?? port.error?.message ?? "ended";
      this.#waiter?.();
    });
  }

  #push(frame) {
    this.#frames.push(frame);
    this.#waiter?.();
  }

  /** The next frame, or `{disconnected}`, or `{timeout: true}`. */
  async next(timeoutMs) {
    if (this.#frames.length === 0 && this.disconnected === null) {
      await new Promise((resolve) => {
        this.#waiter = resolve;
        setTimeout(resolve, timeoutMs);
      });
    }
    return this.#frames.shift() ?? (this.disconnected === null ? { timeout: true } : { disconnected: this.disconnected });
  }
}

/** Turn a rejection into a value: `{error: {code, message, details}}`. */
async function outcome(promise) {
  try {
    return { result: await promise };
  } catch (error) {
    return { error: { code: error.code ?? null, message: error.message, details: error.details ?? null } };
  }
}

const filler = (length) => "the quick brown fox jumps over the lazy dog é😀 ".repeat(Math.ceil(length / 47)).slice(0, length);
const userSays = (content) => [{ role: "user", content }];

globalThis.harness = {
  /** One message over sendNativeMessage: `{reply}` or `{failed}`. */
  async oneShot(message) {
    try {
      return { reply: await api.runtime.sendNativeMessage(HOST_NAME, message) };
    } catch (error) {
      return { failed: error.message };
    }
  },

  open: () => ports.push(new Port()) - 1,
  post: (port, message) => ports[port].port.postMessage(message),
  postUndefined: (port) => ports[port].port.postMessage(undefined),
  next: (port, timeoutMs = 20000) => ports[port].next(timeoutMs),
  disconnect: (port) => ports[port].port.disconnect(),

  /** Post, and gather frames up to the `result` with the same id (or the first frame, without one). */
  async exchange(port, message) {
    ports[port].port.postMessage(message);
    for (const frames = []; ; ) {
      const frame = await ports[port].next(20000);
      frames.push(frame);
      if (frame.type === "result" || frame.disconnected || frame.timeout) return frames;
    }
  },

  /** A request of a little over `bytes` bytes, of which only the first words are to be echoed. */
  async sendBig(port, model, bytes) {
    const messages = userSays(`first words ${"x".repeat(bytes)}`);
    const settings = { max_tokens: 2 };
    const frames = await this.exchange(port, { id: "big", action: "generate", model, stream: false, settings, messages });
    return frames.at(-1);
  },

  /** Have a text of `length` characters echoed whole: how many chunks came, how long the largest, and is it equal? */
  async echoBig(port, model, length) {
    const text = filler(length);
    const settings = { max_tokens: 10_000_000 };
    ports[port].port.postMessage({ id: "e", action: "generate", model, stream: false, settings, messages: userSays(text) });
    const chunks = [];
    for (;;) {
      const frame = await ports[port].next(60000);
      if (frame.type !== "chunk") return { unexpected: frame, chunks: chunks.length };
      chunks.push(frame);
      if (!frame.last) continue;
      const result = JSON.parse(chunks.map(({ data }) => data).join(""));
      const largest = Math.max(...chunks.map((chunk) => new TextEncoder().encode(JSON.stringify(chunk)).length));
      const inOrder = chunks.every(({ index, last }, place) => index === place && last === (place === chunks.length - 1));
      return { equal: result.text === text, chunks: chunks.length, largest, inOrder, status: result.status };
    }
  },

  send: (action, fields) => outcome(send(action, fields)),

  /** Open a client of client.js and give its number; `statuses` keeps what it says of the connection. */
  connect() {
    const client = { statuses: [] };
    client.host = connect({ onStatus: (status) => client.statuses.push(status) });
    return clients.push(client) - 1;
  },
  statuses: (client) => clients[client].statuses,
  request: (client, action, fields) => outcome(clients[client].host.request(action, fields)),
  embed: (client, fields) => outcome(clients[client].host.embed(fields)),
  close: (client) => clients[client].host.close(),

  /** Begin a generation; `progress` tells how far it is and `finished` waits for its end. */
  begin(client, fields) {
    const run = { partials: [], thinking: [], job: null, abort: new AbortController() };
    const handlers = {
      signal: run.abort.signal,
      onAccepted: ({ job_id }) => (run.job = job_id),
      onPartial: (partial) => run.partials.push(partial),
      onThinking: ({ thinking }) => run.thinking.push(thinking),
    };
    run.end = outcome(clients[client].host.generate(fields, handlers));
    run.end.then(() => (run.over = true));
    clients[client].run = run;
  },
  progress(client) {
    const { partials, thinking, job, over } = clients[client].run;
    return { partials: partials.length, thinking, job, over: over ?? false };
  },
  abort: (client) => clients[client].run.abort.abort(),
  async finished(client) {
    const { end, partials, thinking } = clients[client].run;
    return { ...(await end), text: partials.map(({ text }) => text).join(""), seqs: partials.map(({ seq }) => seq), thinking };
  },

  generateWithoutHandlers: (fields) => outcome(connect().generate(fields, null)),

  /** A generation whose caller's handlers all throw: its outcome, and what the page heard of them. */
  async thrownByHandlers(fields) {
    const heard = [];
    const listen = (event) => heard.push(event.error.message);
    const fail = (name) => () => {
      throw new Error(name);
    };
    const handlers = { onAccepted: fail("accepted"), onPartial: fail("partial") };
    addEventListener("error", listen);
    const end = await outcome(connect({ onStatus: fail("status") }).generate(fields, handlers));
    removeEventListener("error", listen);
    return { ...end, heard };
  },

  /** How many listeners a signal has left after as many generations, one that failed among them. */
  async listenersLeft(client, fields, count) {
    const { signal } = new AbortController();
    let left = 0;
    for (const [name, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
      signal[name] = (...all) => {
        left += change;
        return AbortSignal.prototype[name].apply(signal, all);
      };
    }
    for (let done = 0; done < count; done += 1) await outcome(clients[client].host.generate(fields, { signal }));
    await outcome(clients[client].host.generate({ ...fields, model: "/no/such" }, { signal }));
    return left;
  },

  /** What both ways of asking say of a message that is no JSON. */
  async askWithLoop() {
    const loop = {};
    loop.itself = loop;
    return [await outcome(connect().request("ping", { loop })), await outcome(send("ping", { loop }))];
  },

  /** What both ways of asking a host of another name come to. */
  askHost: async (hostName) => [
    await outcome(connect({ hostName }).ping()),
    await outcome(send("ping", {}, { hostName })),
  ],

  /** A ping as in a Chromium without `browser`, where an element of this id has that name in the window. */
  async askBesideAnElementCalledBrowser() {
    const { browser } = globalThis;
    delete globalThis.browser;
    const element = Object.assign(document.createElement("p"), { id: "browser" });
    document.body.append(element);
    const asked = await outcome(connect().ping());
    element.remove();
    globalThis.browser = browser;
    return asked;
  },

  /** What both ways of asking say where the browser offers no native messaging. */
  async askWithoutPermission() {
    const { browser } = globalThis;
    globalThis.browser = { runtime: {} };
    const asked = [outcome(connect().ping()), outcome(send("ping"))];
    globalThis.browser = browser;
    return Promise.all(asked);
  },

  echoClientBig: async (client, model, length) => {
    const text = filler(length);
    const fields = { model, stream: false, settings: { max_tokens: 10_000_000 }, messages: userSays(text) };
    const answer = await outcome(clients[client].host.generate(fields));
    return answer.error ? answer : { equal: answer.result.text === text, length: answer.result.text.length };
  },

  /** Ask the service worker; see worker.js. */
  worker: (message) => api.runtime.sendMessage(message),
};
