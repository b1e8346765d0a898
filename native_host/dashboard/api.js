// The host's HTTP API, with its token and its errors in words. The token stays in this tab's session storage.

const TOKEN_KEY = "tabagent-token";
const ANSWER_MS = 15_000;
const CAN_BE_SENT = /^[!-~]+$/;

/** The host said no. `message` is a sentence for a person; `fields` names those of the request that are wrong, and how. */
export class ApiError extends Error {
  constructor(status, message, { code, details } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.fields = details?.fields ?? [];
  }
}

/** The host could not be reached, or did not answer in time. */
export class Unreachable extends Error {}

export class Api {
  #token = sessionStorage.getItem(TOKEN_KEY);
  #askForToken;

  /** @param askForToken shows the dialog; resolves to a token. `refused` is true if one was refused before. */
  constructor(askForToken) {
    this.#askForToken = askForToken;
    this.#takeTokenOfAddress();
  }

  /** @param {number} [waitMs] how long the answer may take. */
  get(path, waitMs) {
    return this.#request("GET", path, undefined, waitMs);
  }

  /** @param {number} [waitMs] how long the answer may take; a load takes minutes. */
  post(path, body, waitMs) {
    return this.#request("POST", path, body, waitMs);
  }

  delete(path) {
    return this.#request("DELETE", path);
  }

  /** Save what a path answers with as a file. */
  async save(path, name) {
    const response = await this.#allowed("GET", path, undefined, ANSWER_MS);
    if (!response.ok) throw errorOf(response, await readJson(response));
    const address = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: address, download: name }).click();
    URL.revokeObjectURL(address);
  }

  async #request(method, path, body, waitMs = ANSWER_MS) {
    const response = await this.#allowed(method, path, body, waitMs);
    const answer = await readJson(response);
    if (!response.ok || answer?.status === "error") throw errorOf(response, answer);
    return answer;
  }

  /** Ask, and again with another token while the one that was sent is refused. */
  async #allowed(method, path, body, waitMs) {
    const used = this.#token;
    const response = await this.#fetch(method, path, body, waitMs);
    if (response.status !== 401) return response;
    await this.#renewToken(used);
    return this.#allowed(method, path, body, waitMs);
  }

  /** A token with a curly quote, say, would make `fetch` throw. It is left out, and so refused as a wrong one is. */
  async #fetch(method, path, body, waitMs) {
    const headers = CAN_BE_SENT.test(this.#token ?? "") ? { Authorization: `Bearer ${this.#token}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const signal = AbortSignal.timeout(waitMs);
    try {
      return await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
    } catch (error) {
      if (error.name === "TimeoutError") throw new Unreachable("The host took too long to answer.");
      throw new Unreachable("The host cannot be reached.");
    }
  }

  /** Ask once, however many requests were refused at the same time. */
  async #renewToken(refused) {
    if (this.#token !== refused) return;
    this.asking ??= this.#askForToken(Boolean(refused));
    this.#token = await this.asking;
    this.asking = undefined;
    sessionStorage.setItem(TOKEN_KEY, this.#token);
  }

  /** A link may carry the token behind `#token=`, which browsers send to nobody; it is taken out of the address. */
  #takeTokenOfAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!token) return;
    this.#token = token;
    sessionStorage.setItem(TOKEN_KEY, token);
    history.replaceState(null, "", location.pathname);
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function errorOf(response, answer) {
  const message = answer?.message ?? `The host answered with status ${response.status}.`;
  return new ApiError(response.status, message, answer?.error);
}
