/**
 * Client of the TabAgent native host: one ES module without dependencies, made to be copied.
 * It runs in extension pages and in service workers, in Chromium and in Firefox, and needs the
 * "nativeMessaging" permission. The messages themselves are described in PROTOCOL.md, their types in client.d.ts.
 *
 *   import { connect } from "./client.js";
 *   const host = connect();
 *   await host.load({ model: "demo" });
 *   const answer = await host.generate(
 *     { model: "demo", messages: [{ role: "user", content: "Hello" }] },
 *     { onPartial: ({ text }) => output.append(text) },
 *   );
 *   console.log(answer.text, answer.stats.tokens_per_second);
 *
 * @typedef {object} Handlers  What may be called before a request's result; all are optional. An error that one of them
 *   throws is reported as any uncaught error is, and the request goes on.
 * @property {(frame: {job_id: string}) => void} [onAccepted]  the generation has a job id now, or whatever else was asked for with
 *   `background: true`
 * @property {(frame: {text: string, reasoning?: string, tool_calls?: object[], seq: number, tokens: number,
 *   job_id: string}) => void} [onPartial]  new text; what the model thinks, and its calls, where there are any
 * @property {(frame: {phase: string, progress: ?number, message: ?string}) => void} [onProgress]  a load goes on
 * @property {(frame: {thinking: string, tokens: number}) => void} [onThinking]  still alive, also before any text
 * @property {AbortSignal} [signal]  stops the generation; the promise then gives what was generated so far,
 *   with `finish_reason: "cancelled"`. One that was aborted before the request rejects it with the signal's reason.
 *   A load goes on; with `background: true` it ends, and the promise rejects with `cancelled`. An unload goes on always. What
 *   `request("generate", { stream: false })` asks for goes on too, for its job is not told: call `generate` to stop it.
 */

export const HOST_NAME = "com.tabagent.native_host";

/** Pauses before each attempt to open a lost port again, in milliseconds. */
const RECONNECT_MS = [0, 250, 1000, 3000];

/** What the browsers say when a port fails, the code that we give it, and, where the installer mends that, what is wrong. */
const CONNECTION_ERRORS = [
  [/host not found/i, "host_not_found", "The native host is not installed for this browser."],
  [
    /No such native application/i,
    "host_not_found",
    "The native host is not installed for this browser, or does not know this extension.",
  ],
  [/forbidden/i, "host_forbidden", "The native host does not know this extension."],
  [/serialize|cyclic object|could not be cloned|maximum allowed size/i, "message_refused"],
  [/host has exited|error when communicating|unexpected error/i, "host_exited"],
  [/(?:)/, "host_unreachable"],
];

const NO_NATIVE_MESSAGING =
  'There is no native messaging here. Ask for the permission "nativeMessaging", load again what was open before it was granted, '
  + "and call from a page or a worker of the extension.";

const ANSWER_LOST = "The native host ended before this was done, and what there was of it is lost. Ask again.";

/** In Chromium `browser` may be an element of the page that has this id. */
const api = () => (globalThis.browser?.runtime ? globalThis.browser : globalThis.chrome);

/** The browser's `runtime`; without the permission, and in content scripts, it has no native messaging. */
function runtime() {
  const found = api()?.runtime;
  if (!found?.connectNative) throw new NativeHostError("host_unreachable", NO_NATIVE_MESSAGING);
  return found;
}

/**
 * An error reply of the host, or a failure to reach it.
 * `code` is one of PROTOCOL.md's error codes, or one of this module's own: `host_not_found` (not installed),
 * `host_forbidden` (this extension's id is not registered), `host_exited`, `host_unreachable`, `closed`,
 * `message_refused` (over 64 MiB, or not JSON), `reply_too_large`. `details` is what the host added, and for the first two
 * `install`, the command that mends it; `reply` is its whole reply, which for a failed generation holds the text until then.
 */
export class NativeHostError extends Error {
  constructor(code, message, reply = null, details = reply?.error.details ?? {}) {
    super(message);
    this.name = "NativeHostError";
    this.code = code;
    this.details = details;
    this.reply = reply;
  }
}

/** Open a client. The port is opened by the first request, and again after it was lost. */
export function connect(options = {}) {
  return new NativeHostClient(options);
}

/**
 * One request without a port: the browser starts the host, takes one reply, and closes it. Loaded models stay.
 * For a generation pass `stream: false`, or `stream: true` and fetch the text with `read_job`. For whatever takes long pass
 * `background: true`, and ask with `read_job` how far it is.
 *
 * @param {string} action  an action of PROTOCOL.md
 * @param {object} [fields]  the action's fields
 * @returns {Promise<object>} the result, or `accepted` for a streaming generation and for what goes on in the background
 * @throws {NativeHostError} `reply_too_large` for a reply over 256 KiB: those need a port
 */
export async function send(action, fields = {}, { hostName = HOST_NAME } = {}) {
  const browser = runtime();
  let reply;
  try {
    reply = await browser.sendNativeMessage(hostName, { ...fields, action });
  } catch (error) {
    throw connectionError(error.message);
  }
  if (reply?.type === "chunk") {
    throw new NativeHostError("reply_too_large", "The reply is too large for one message. Use connect().");
  }
  return settle(reply);
}

/** A port to the host, kept open, on which any number of requests run at once. */
export class NativeHostClient {
  #options;
  #port = null;
  #lastId = 0;
  #pending = new Map();
  #chunks = new ChunkBuffer();
  #attempts = 0;
  #timer = null;

  /**
   * @param {object} [options]
   * @param {string} [options.hostName]
   * @param {(frame: {event: string}) => void} [options.onEvent]  what the host says unasked: a model crashed ...
   * @param {(status: "connected" | "reconnecting" | "disconnected") => void} [options.onStatus]
   */
  constructor(options = {}) {
    this.#options = { hostName: HOST_NAME, onEvent() {}, onStatus() {}, ...options };
  }

  ping() {
    return this.request("ping");
  }

  /** Load a model; `onProgress` hears at once that it begins. */
  load(fields, handlers) {
    return this.request("load", { stream: true, ...fields }, handlers);
  }

  unload(fields) {
    return this.request("unload", fields);
  }

  /**
   * Generate; with `stream: false` nothing is heard before the result. When the port is lost meanwhile it is opened
   * again and the generation goes on where it was: no text is lost, none comes twice.
   */
  generate(fields, handlers = {}) {
    // The host is asked for a stream all the same: without its job's id a generation can be neither stopped nor resumed.
    if (fields?.stream === false) {
      const { signal, onAccepted } = handlers ?? {};
      return this.request("generate", { ...fields, stream: true }, { signal, ...(fields.background && { onAccepted }) });
    }
    return this.request("generate", { stream: true, ...fields }, handlers);
  }

  /** Stop one generation (`job_id`), those of a `model`, or all of this extension. */
  stop(fields) {
    return this.request("stop_generation", fields);
  }

  /** Go on with a generation that another port or a stopped service worker began; `cursor` is the next `seq`. */
  attach({ job_id, cursor = 0 }, handlers) {
    return this.request("attach", { job_id, cursor }, handlers);
  }

  /** A vector for each text of `input` (a string or an array of them), from a loaded embedding model. */
  embed(fields) {
    return this.request("embed", fields);
  }

  listModels() {
    return this.request("list_models");
  }

  getState(fields) {
    return this.request("get_state", fields);
  }

  getStats(fields) {
    return this.request("get_stats", fields);
  }

  updateSettings(settings, fields) {
    return this.request("update_settings", { ...fields, settings });
  }

  /**
   * Send any action and resolve with its result.
   * @param {string} action
   * @param {object} [fields]
   * @param {?Handlers} [handlers]
   * @returns {Promise<object>}
   * @throws {NativeHostError}
   */
  request(action, fields = {}, handlers = {}) {
    handlers ??= {};
    return new Promise((resolve, reject) => {
      handlers.signal?.throwIfAborted();
      const id = `c${++this.#lastId}`;
      const request = { id, action, handlers, resolve, reject, jobId: null, cursor: 0 };
      if (action === "attach") Object.assign(request, { jobId: fields.job_id, cursor: fields.cursor });
      this.#post({ ...fields, id, action });
      this.#pending.set(id, request);
      request.onAbort = () => this.#stopJob(request);
      handlers.signal?.addEventListener("abort", request.onAbort);
    });
  }

  /** Close the port. Requests under way fail with `closed`; a generation may be attached to later. */
  close() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#port?.disconnect();
    this.#port = null;
    this.#attempts = 0;
    this.#fail(new NativeHostError("closed", "The connection was closed."), () => true);
  }

  #open() {
    const port = runtime().connectNative(this.#options.hostName);
    port.onMessage.addListener((frame) => port === this.#port && this.#receive(frame));
    port.onDisconnect.addListener((lost) => {
      const message = api().runtime.lastError?.message ?? lost?.error?.message;
      if (port === this.#port) this.#lose(connectionError(message));
    });
    this.#port = port;
    this.#chunks = new ChunkBuffer();
  }

  #post(message) {
    if (!this.#port) this.#open();
    try {
      this.#port.postMessage(message);
    } catch (error) {
      throw new NativeHostError("message_refused", `The browser refused the message: ${error.message}`);
    }
  }

  #receive(frame) {
    const isNew = this.#attempts !== null;
    this.#attempts = null;
    if (isNew) tell(this.#options, "onStatus", "connected");
    const message = frame.type === "chunk" ? this.#chunks.add(frame) : frame;
    if (!message) return;
    const request = this.#pending.get(message.id);
    if (request) this.#dispatch(request, message);
    else if (message.type === "event") tell(this.#options, "onEvent", message);
  }

  #dispatch(request, message) {
    const { handlers } = request;
    if (message.type === "result") this.#finish(request, message);
    else if (message.type === "accepted") this.#accept(request, message);
    else if (message.type === "partial") this.#advance(request, message);
    else if (message.type === "progress") tell(handlers, "onProgress", message);
    else if (message.type === "thinking_update") tell(handlers, "onThinking", message);
  }

  #finish(request, message) {
    this.#forget(request);
    try {
      request.resolve(settle(message));
    } catch (error) {
      if (request.isResumed && error.code === "job_not_found") error.message = ANSWER_LOST;
      request.reject(error);
    }
  }

  #accept(request, message) {
    if (request.action !== "read_job") request.jobId = message.job_id; // a read is no part of the job that it reads
    tell(request.handlers, "onAccepted", message);
    if (request.handlers.signal?.aborted) this.#stopJob(request);
  }

  /** Pass new text on, unless it came before: after an attach the host may repeat some. */
  #advance(request, message) {
    if (message.seq < request.cursor) return;
    request.cursor = message.seq + 1;
    tell(request.handlers, "onPartial", message);
  }

  #stopJob(request) {
    if (!request.jobId || !this.#pending.has(request.id)) return;
    this.stop({ job_id: request.jobId }).catch(() => {}); // the generation's own result says how it ended
  }

  /** The port is gone: generations with a job are resumed, everything else fails. */
  #lose(error) {
    this.#port = null;
    this.#fail(error, (request) => !request.jobId);
    this.#attempts ??= 0;
    const pause = RECONNECT_MS[this.#attempts];
    if (this.#pending.size === 0 || pause === undefined) {
      this.#fail(error, () => true);
      this.#attempts = 0;
      tell(this.#options, "onStatus", "disconnected");
      return;
    }
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#resume(), pause);
    tell(this.#options, "onStatus", "reconnecting");
  }

  #resume() {
    for (const request of this.#pending.values()) {
      const { id, jobId, cursor } = request;
      request.isResumed = true;
      if (jobId) this.#post({ id, action: "attach", job_id: jobId, cursor });
      if (request.handlers.signal?.aborted) this.#stopJob(request);
    }
  }

  #fail(error, which) {
    for (const request of [...this.#pending.values()].filter(which)) {
      this.#forget(request);
      request.reject(error);
    }
  }

  /** A signal may live as long as the extension: nothing of a request that is over stays with it. */
  #forget({ id, handlers, onAbort }) {
    this.#pending.delete(id);
    handlers.signal?.removeEventListener("abort", onAbort);
  }
}

/** Joins the `chunk` frames of replies that were too large to send whole (PROTOCOL.md, section 6). */
class ChunkBuffer {
  #parts = new Map();

  /** Take a chunk; give the whole message with the last one, else null. */
  add({ id, index, last, data }) {
    const parts = index === 0 ? [] : this.#parts.get(id);
    parts.push(data);
    this.#parts.set(id, parts);
    if (!last) return null;
    this.#parts.delete(id);
    return JSON.parse(parts.join(""));
  }
}

/** Call a handler, if there is one, so that its errors hold nothing up. */
function tell(handlers, name, what) {
  try {
    handlers[name]?.(what);
  } catch (error) {
    reportError(error);
  }
}

/** Give a success back, throw an error reply. */
function settle(reply) {
  if (reply?.status !== "error") return reply;
  throw new NativeHostError(reply.error.code, reply.message, reply);
}

/** A failed port as an error with a code and what to do, made from the browser's own words; without any the host ended. */
function connectionError(words = "Native host has exited.") {
  const [, code, problem] = CONNECTION_ERRORS.find(([pattern]) => pattern.test(words));
  if (code === "message_refused") return new NativeHostError(code, words);
  const installer = `${/Windows/.test(globalThis.navigator?.userAgent) ? "py" : "python3"} install.py`;
  if (problem) {
    const install = `${installer} --extension-id ${api().runtime.id}`;
    return new NativeHostError(code, `${problem} Run in the folder of its repository: ${install}`, null, { install });
  }
  const what = code === "host_exited" ? "The native host ended" : `The native host could not be reached (${words})`;
  return new NativeHostError(code, `${what}. Try again; if it comes back, run in the folder of its repository: ${installer} check`);
}
