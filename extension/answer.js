// An answer in the page. Text of a model is only ever set as text, never as HTML.

/** One answer on its way: first a line that says what goes on, then what the model thinks, then the text. */
export class Answer {
  #element;
  #follow;
  #thoughts = null;
  #text = null;
  #note = null;

  constructor(element, follow) {
    this.#element = element;
    this.#follow = follow;
    element.setAttribute("aria-busy", "true"); // a screen reader reads the answer once, when it is whole
  }

  /** Whether something of the model is there, be it only what it thinks. */
  get hasText() {
    return this.#text !== null || this.#thoughts !== null;
  }

  /** Say what goes on while there is no text yet. */
  wait(words) {
    if (!this.hasText) this.#element.textContent = words;
  }

  /** Add to what the model thinks before it answers, in a fold that is open until the answer begins. */
  think(reasoning) {
    if (!this.#thoughts) this.#beginThoughts();
    this.#thoughts.lastChild.append(reasoning);
    this.#follow();
  }

  append(text) {
    if (!this.#text) this.#begin();
    this.#text.appendData(text);
    this.#follow();
  }

  /** The answer is over, with a remark below it if there is one; without any text it goes away. */
  end(remark) {
    this.#element.setAttribute("aria-busy", "false");
    if (remark) this.#element.after((this.#note = block("note", remark)));
    if (!this.hasText) this.#element.remove();
    this.#follow();
  }

  /** Take the answer and its remark out of the log again. */
  remove() {
    this.#element.remove();
    this.#note?.remove();
  }

  #begin() {
    this.#text = document.createTextNode("");
    this.#element.classList.remove("waiting");
    if (this.#thoughts) {
      this.#thoughts.open = false;
      this.#thoughts.after(this.#text); // to take the thoughts out and in again would take their focus
    } else this.#element.replaceChildren(this.#text);
  }

  #beginThoughts() {
    const summary = document.createElement("summary");
    summary.textContent = "Thoughts";
    this.#thoughts = document.createElement("details");
    this.#thoughts.append(summary, block("", ""));
    this.#thoughts.open = !this.#text;
    this.#element.classList.remove("waiting");
    if (this.#text) this.#text.before(this.#thoughts);
    else this.#element.replaceChildren(this.#thoughts);
  }
}

/** A `div` with a text. */
export function block(className, text) {
  const element = document.createElement("div");
  element.className = className;
  element.textContent = text;
  return element;
}
