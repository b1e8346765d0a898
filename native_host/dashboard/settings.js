// The settings of what this API's callers generate, as a form.

import { find, setText, showWords } from "./dom.js";
import { makeField, readField, writeField } from "./fields.js";

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
  #inForce = {};

  constructor(api) {
    this.#api = api;
    find("#settings-fields").append(...SETTINGS.map((field) => makeField(field, "setting")));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#apply();
    });
    this.#form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.#write();
      showWords("#settings-problem", null);
      setText(find("#settings-status"), "As in force.");
    });
  }

  /** Show what somebody else has set meanwhile, except in fields that were changed here and not applied yet. */
  async refresh() {
    const known = this.#inForce;
    const inForce = settingsOf(await this.#api.get(PATH));
    if (known !== this.#inForce) return;
    const changed = this.#changes();
    this.#inForce = inForce;
    for (const field of SETTINGS) {
      const isNew = JSON.stringify(known[field.name]) !== JSON.stringify(inForce[field.name]);
      if (isNew && !(field.name in changed)) writeField(field, this.#control(field), inForce[field.name]);
    }
  }

  async begin() {
    try {
      this.#inForce = settingsOf(await this.#api.get(PATH));
      this.#write();
      showWords("#settings-problem", null);
    } catch (error) {
      showWords("#settings-problem", `The settings cannot be read: ${error.message}`);
    }
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
      this.#inForce = settingsOf(await this.#api.post(PATH, { settings: changes }));
      this.#write();
      setText(find("#settings-status"), "In force from the next generation on.");
    } catch (error) {
      showWords("#settings-problem", error.code === "no_active_backend" ? NO_MODEL : error.message);
    }
  }

  /** What differs from what is in force; an emptied field goes back to its default. */
  #changes() {
    const changes = {};
    for (const field of SETTINGS) {
      const value = readField(field, this.#control(field)) ?? null;
      const before = this.#inForce[field.name];
      if (JSON.stringify(value) !== JSON.stringify(before)) changes[field.name] = value;
    }
    return changes;
  }

  #write() {
    for (const field of SETTINGS) writeField(field, this.#control(field), this.#inForce[field.name]);
  }

  #control(field) {
    return this.#form.elements[field.name];
  }
}

const settingsOf = (answer) => answer.settings ?? answer;
