// Starts the page: asks the host once a second what there is, and hands the answer to each part of the page.

import { Api, Unreachable } from "./api.js";
import { find, setText } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Log } from "./log.js";
import { Models } from "./models.js";
import { Settings } from "./settings.js";
import { Speed } from "./speed.js";
import { askForToken } from "./token.js";
import { duration } from "./words.js";
import { showTiles } from "./tiles.js";

const EVERY_MS = 1000;
const SLOW_EVERY = 3;
const RETRY_MS = 2000;

class Page {
  #api = new Api(askForToken);
  #parts = [];
  #pid = null;
  #round = 0;
  #timer = 0;

  constructor() {
    const refresh = () => this.#soon(0);
    this.models = new Models(this.#api, refresh);
    this.jobs = new Jobs(this.#api, refresh);
    this.speed = new Speed(this.#api);
    this.settings = new Settings(this.#api);
    this.log = new Log(this.#api);
    document.addEventListener("visibilitychange", () => document.hidden || refresh());
    this.#soon(0);
  }

  #soon(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), delay);
  }

  /** One round; the next comes after it, so that a slow host is not asked twice at once. */
  async #look() {
    if (document.hidden) return;
    try {
      const overview = await this.#api.get("api/v1/overview");
      await this.#show(overview);
      this.#soon(EVERY_MS);
    } catch (error) {
      this.#lose(error);
      this.#soon(RETRY_MS);
    }
  }

  async #show(overview) {
    const isNew = overview.pid !== this.#pid;
    this.#pid = overview.pid;
    this.#connected(overview);
    showTiles(overview);
    this.models.show(overview);
    this.jobs.show(overview);
    if (isNew) this.#begin();
    await this.speed.show(overview, isNew);
    if (isNew || this.#round % SLOW_EVERY === 0) await this.log.refresh();
    if (!isNew && this.#round % SLOW_EVERY === 0) await this.settings.refresh();
    this.#round += 1;
  }

  /** A daemon that was not seen before: what it knows is read anew, while the rest of the page goes on. */
  #begin() {
    this.models.begin();
    this.jobs.begin();
    this.settings.begin();
  }

  #connected(overview) {
    find("#lost").hidden = true;
    find("#connection .dot").dataset.state = "ready";
    setText(find("#connection-text"), "Connected");
    const age = duration(overview.time - overview.started_at);
    setText(find("#about"), `Version ${overview.version}, process ${overview.pid}, up for ${age}.`);
  }

  #lose(error) {
    const away = error instanceof Unreachable;
    if (!away) console.error(error);
    find("#connection .dot").dataset.state = "failed";
    setText(find("#connection-text"), away ? "Reconnecting" : "Trouble");
    setText(find("#lost-title"), away ? "The host does not answer" : "The host has trouble");
    const advice = away ? "start it with: tabagent-host serve --http" : "its log may say more";
    setText(find("#lost-text"), `${error.message} What you see below is how it was last. Trying again; ${advice}.`);
    find("#lost").hidden = false;
  }
}

new Page();
