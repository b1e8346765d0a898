// The loops that are measured, run inside the page. Times are the page's own, in milliseconds; the page is
// cross-origin isolated, so that its clock has a resolution of 5 us. Everything comes out as JSON.
const ports = [];

class Port {
  onFrame = () => {};

  constructor(host) {
    this.port = chrome.runtime.connectNative(host);
    this.port.onMessage.addListener((frame) => this.onFrame(frame));
    this.port.onDisconnect.addListener(() => this.onFrame({ disconnected: chrome.runtime.lastError?.message ?? "ended" }));
  }

  /** Post a message and give the frame that `until` holds for; each frame goes to `each` first. */
  exchange(message, until, each = () => {}) {
    return new Promise((resolve, reject) => {
      this.onFrame = (frame) => {
        if (frame.disconnected) reject(new Error(frame.disconnected));
        each(frame);
        if (until(frame)) resolve(frame);
      };
      this.port.postMessage(message);
    });
  }
}

const isResultOf = (request) => (frame) => frame.type === "result" && frame.id === request.id;

/** Follow one generation: `arrivals` has the time and the tokens so far of each partial. */
async function follow(port, request, onFrame = () => {}) {
  const arrivals = [];
  const seqs = [];
  const texts = [];
  const sent = performance.now();
  const result = await port.exchange(request, isResultOf(request), (frame) => {
    const now = performance.now();
    if (frame.type === "partial") {
      arrivals.push([now, frame.tokens]);
      seqs.push(frame.seq);
      texts.push(frame.text);
    }
    onFrame(frame, now);
  });
  const ended = performance.now();
  const inOrder = seqs.every((seq, place) => seq === place);
  return { sent, ended, arrivals, inOrder, result, text: texts.join("") };
}

globalThis.bench = {
  open: (host) => ports.push(new Port(host)) - 1,

  request: (port, message) => ports[port].exchange(message, isResultOf(message)),

  /** `count` messages, each sent when the one before was answered: the time of each. */
  async pings(port, message, count) {
    const times = [];
    for (let number = 0; number < count; number++) {
      const sent = performance.now();
      await ports[port].exchange(message, () => true);
      times.push(performance.now() - sent);
    }
    return times;
  },

  stream: (port, request) => follow(ports[port], request),

  /** Milliseconds from a request to the first message that answers it; `before` is posted just before. */
  async firstSign(port, request, before) {
    let first = null;
    if (before) ports[port].port.postMessage(before);
    const sent = performance.now();
    const result = await ports[port].exchange(request, isResultOf(request), (frame) => {
      if (frame.id === request.id) first ??= performance.now() - sent;
    });
    return { first, result };
  },

  /** Milliseconds from a port's opening, with its first request, to the first message that answers it. */
  async firstSignOfPort(host, request) {
    let first = null;
    const sent = performance.now();
    const port = new Port(host);
    const result = await port.exchange(request, isResultOf(request), () => (first ??= performance.now() - sent));
    port.port.disconnect();
    return { first, result };
  },

  /** Post a request and wait for nothing. */
  post: (port, message) => ports[port].port.postMessage(message),

  /** A generation that is stopped `afterMs` after its first token, or after it was sent if `inPrefill`. */
  async stop(port, request, afterMs, inPrefill) {
    const { port: raw } = ports[port];
    let stopped = null;
    const stop = () => {
      stopped = performance.now();
      raw.postMessage({ id: "stop", action: "stop_generation" });
    };
    let armed = false;
    const run = await follow(ports[port], request, (frame) => {
      const begins = inPrefill ? frame.type === "accepted" : frame.type === "partial";
      if (begins && !armed) {
        armed = true;
        setTimeout(stop, afterMs);
      }
    });
    const last = run.arrivals.at(-1)?.[0] ?? 0;
    return {
      toLastToken: Math.max(0, last - stopped),
      toEnd: run.ended - stopped,
      tokens: run.arrivals.at(-1)?.[1] ?? 0,
      reason: run.result.finish_reason,
    };
  },

  /** The words w0 w1 w2 ..., each of which is one token of the ECHO model, echoed whole. */
  async burst(port, model, count) {
    const text = Array.from({ length: count }, (_, number) => `w${number}`).join(" ");
    const messages = [{ role: "user", content: text }];
    const request = { id: "burst", action: "generate", model, messages, settings: { max_tokens: count } };
    const { arrivals, inOrder, text: got } = await follow(ports[port], request);
    return { arrivals, complete: inOrder && got === text };
  },
};
