// The list of models. On the closed list each arrow key changes what it shows: that is a step on the way to a choice, and the
// choice is made with Enter, or when the list is left. What is picked from the opened list is chosen at once.

/** What sends a message, and so asks for the choice by itself: a load that began before the click would swallow it. */
const SENDERS = "#send, .suggestion";

export class ModelList {
  #list = document.querySelector("#model");
  #choose = () => {};
  #chosen = "";
  #isStep = false;

  constructor() {
    this.#list.addEventListener("keydown", (event) => this.#press(event));
    this.#list.addEventListener("keypress", () => this.#step()); // a letter, which goes to the model that begins with it
    this.#list.addEventListener("change", () => this.#isStep || this.#take());
    document.addEventListener("focusout", ({ relatedTarget }) => relatedTarget?.matches(SENDERS) || this.settle());
  }

  /** Call `choose(model)` when the person has made a choice, and `look()` when they may be about to make one. */
  bind(choose, look) {
    this.#choose = choose;
    for (const type of ["pointerenter", "focus"]) this.#list.addEventListener(type, look);
    globalThis.addEventListener("focus", look); // back from another window, where a file may have been put into the folder
  }

  /** Fill the list and select one. */
  fill(names, selected) {
    this.#list.replaceChildren(...names.map((name) => new Option("", name)));
    this.#label();
    this.select(selected);
  }

  /** Offer these models from now on. What is selected stays so, and nothing goes away under a person who is in the list. */
  offer(names) {
    const { value } = this.#list;
    const kept = document.activeElement === this.#list ? null : new Set([...names, this.#list.value, this.#chosen]);
    for (const option of [...this.#list.options]) if (kept && !kept.has(option.value)) option.remove();
    const there = new Set([...this.#list.options].map(({ value }) => value));
    this.#list.append(...names.filter((name) => !there.has(name)).map((name) => new Option("", name)));
    this.#label();
    this.#list.value = value; // an empty list would select the first of them
  }

  /** What the list calls a model. */
  labelOf(model) {
    return labelAmong(model, [...this.#list.options].map(({ value }) => value));
  }

  select(model) {
    this.#list.value = model;
    this.#chosen = this.#list.value;
  }

  enable(isEnabled) {
    this.#list.disabled = !isEnabled;
  }

  /** Choose what the steps have come to; resolves once that is done, or at once where there was no step. */
  settle() {
    return ["", this.#chosen].includes(this.#list.value) ? undefined : this.#take();
  }

  #label() {
    const names = [...this.#list.options].map(({ value }) => value);
    for (const option of this.#list.options) {
      const label = labelAmong(option.value, names);
      if (option.text !== label) option.text = label;
    }
  }

  #press(event) {
    this.#step();
    if (event.key !== "Enter" || this.#list.value === this.#chosen) return;
    event.preventDefault(); // it would open the list in Chromium
    this.#take();
  }

  /** The browser changes the value before anything else happens; keys in the opened list do not come here. */
  #step() {
    this.#isStep = true;
    setTimeout(() => (this.#isStep = false));
  }

  #take() {
    this.#chosen = this.#list.value;
    return this.#choose(this.#chosen);
  }
}

/** The last part of a path; a model's name as it is. */
export function shortName(name) {
  return partsOf(name).at(-1) ?? name;
}

/** The short name, and before it as many of its folders as tell it from the others of that name: a closed list cuts the end off. */
function labelAmong(name, names) {
  const parts = partsOf(name);
  const others = names.filter((other) => other !== name && shortName(other) === shortName(name)).map(partsOf);
  const tail = (path, length) => path.slice(-length).join("/");
  let length = 1;
  while (length < parts.length && others.some((other) => tail(other, length) === tail(parts, length))) length += 1;
  const folder = parts.at(-length);
  const tells = length > 2 && !others.some((other) => other.includes(folder));
  return tells ? `${folder}/\u2026/${shortName(name)}` : tail(parts, length);
}

function partsOf(name) {
  return name.split(/[\\/]/).filter(Boolean);
}
