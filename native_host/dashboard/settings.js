// The settings of what this API's callers generate, as a form.

import { find, setText, showWords } from "./dom.js";
import { makeField, problemOf, readField, writeField } from "./fields.js";

const PATH = "api/v1/params";
const NO_MODEL = "Load a model first: settings are held against what it can do.";

const SETTINGS = [
  { name: "temperature", label: "Temperature", kind: "number", min: 0, max: 2, hint: "0 to 2; 0 is greedy" },
  { name: "top_p", label: "Top p", kind: "number", min: 0, max: 1, hint: "above 0, to 1" },
  { name: "top_k", label: "Top k", kind: "integer", min: 0, hint: "0 is off" },
  { name: "min_p", label: "Min p", kind: "number", min: 0, max: 1, hint: "0 is off" },
  { name: "max_tokens", label: "Most tokens", kind: "integer", min: 1, hint: "of an answer" },
  { name: "repeat_penalty", label: "Repeat penalty", kind: "number", min: 0, max: 10, hint: "1 is off" },
  { name: "presence_penalty", label: "Presence penalty", kind: "number", min: -2, max: 2, hint: "0 is off" },
  { name: "frequency_penalty", label: "Frequency penalty", kind: "number", min: -2, max: 2, hint: "0 is off" },
  { name: "seed", label: "Seed", kind: "integer", min: 0, max: 4294967295, placeholder: "a fresh one" },
  { name: "stop", label: "Stop strings", kind: "list", hint: "one a line; \\n is a line break" },
  { name: "thinking_update_interval", label: "Sign of life", kind: "number", min: 0, max: 3600, hint: "seconds; 0 is off" },
];

export class Settings {
  #api;
  #form = find("#settings");
  #inForce;
  #isRead = false;

  constructor(api) {
    this.#api = api;
    find("#settings-fields").append(...SETTINGS.map((field) => makeField(field, "setting")));
    this.#inForce = this.#typed(); // nothing, until it was read
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#apply();
    });
    this.#form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const field of SETTINGS) writeField(field, this.#control(field), this.#inForce[field.name]);
      showWords("#settings-problem", null);
      setText(find("#settings-status"), this.#isRead ? "As in force." : "");
    });
  }

  /** A daemon that was not seen before has nothing to do with what another one said, but what was typed is still wanted. */
  begin() {
    showWords("#settings-problem", null);
    setText(find("#settings-status"), "");
    return this.refresh();
  }

  /** Show what is in force, whoever has set it. */
  async refresh() {
    const known = this.#inForce;
    const answer = await this.#api.get(PATH).catch((error) => error);
    if (known !== this.#inForce) return; // another answer came meanwhile
    if (answer instanceof Error) showWords("#settings-unread", `The settings cannot be read: ${answer.message} Trying again.`);
    else this.#take(settingsOf(answer));
  }

  async #apply() {
    setText(find("#settings-status"), "");
    showWords("#settings-problem", null);
    const changes = this.#changes();
    if (Object.keys(changes).length === 0) {
      setText(find("#settings-status"), "Nothing was changed.");
      return;
    }
    try {
      const answer = await this.#api.post(PATH, { settings: changes });
      this.#inForce = { ...this.#inForce, ...changes };
      this.#take(settingsOf(answer));
      setText(find("#settings-status"), "In force from the next generation on.");
    } catch (error) {
      showWords("#settings-problem", error.code === "no_active_backend" ? NO_MODEL : problemOf(error, SETTINGS, "settings"));
    }
  }

  /** Take what is in force now and show it, except in fields that were changed here and not applied yet. */
  #take(inForce) {
    const [known, changed] = [this.#inForce, this.#changes()];
    this.#inForce = inForce;
    this.#isRead = true;
    showWords("#settings-unread", null);
    for (const field of SETTINGS) {
      const isNew = !isSame(known[field.name], inForce[field.name]);
      if (isNew && !(field.name in changed)) writeField(field, this.#control(field), inForce[field.name]);
    }
  }

  /** What differs from what is in force; an emptied field goes back to its default. */
  #changes() {
    const changed = Object.entries(this.#typed()).filter(([name, value]) => !isSame(value, this.#inForce[name]));
    return Object.fromEntries(changed);
  }

  #typed() {
    return Object.fromEntries(SETTINGS.map((field) => [field.name, readField(field, this.#control(field)) ?? null]));
  }

  #control(field) {
    return this.#form.elements[field.name];
  }
}

const settingsOf = (answer) => answer.settings ?? answer;

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
