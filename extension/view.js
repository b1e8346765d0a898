// The page's elements. Text of a model or of the host is only ever set as text, never as HTML.
import { Answer, block } from "./answer.js";
import { ModelList } from "./model_list.js";
import { thumbnail } from "./pictures.js";

const find = (selector) => document.querySelector(selector);
const NEAR_END_PX = 100;

/** Characters of a paragraph. Chromium needs seconds for each change of a longer one that runs in its own direction. */
const MOST_IN_OWN_DIRECTION = 20_000;

/** What the page shows; `chat.js` decides when. */
export class View {
  input = find("#input");
  models = new ModelList();
  #scroller = find("#scroller");
  #seen = { top: 0, most: 0, width: 0 };
  #atEnd = true;
  #state = "waiting";
  #obstacle = false;
  #problemIsOfChat = false;
  #focused = null;
  #acts = 0;

  constructor() {
    document.addEventListener("focusin", ({ target }) => (this.#focused = target));
    document.addEventListener("mousedown", () => setTimeout(() => this.#seeWhoLeft())); // the focus moves after this event
    new ResizeObserver(() => this.#follow()).observe(this.#scroller);
    this.#scroller.addEventListener("scroll", () => this.#notice());
  }

  /** Call the handlers when the person acts: `send` and `suggest` with a text, `choose` with a model. */
  bind({ send, suggest, stop, newChat, choose, lookForModels, openFigures, addTab, useVision }) {
    find("#composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.input.value.trim();
      this.#onceChosen(() => send(text));
    });
    this.input.addEventListener("beforeinput", ({ data }) => directParagraphs(this.input, this.input.value + (data ?? "")));
    this.input.addEventListener("input", () => {
      this.#acts += 1;
      directParagraphs(this.input, this.input.value);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send(this.input.value.trim());
    });
    document.addEventListener("keydown", (event) => {
      const closesOther = event.isComposing || find("#figures-dialog").open;
      if (event.key === "Escape" && !closesOther) stop();
    });
    find("#stop").addEventListener("click", stop);
    find("#new-chat").addEventListener("click", () => {
      this.#acts += 1;
      newChat();
    });
    find("#open-figures").addEventListener("click", openFigures);
    find("#add-tab").addEventListener("click", addTab);
    find("#use-vision").addEventListener("click", useVision);
    find("#suggestions").addEventListener("click", ({ target }) => {
      if (target.matches(".suggestion")) this.#onceChosen(() => suggest(target.textContent));
    });
    find("#problem-command button").addEventListener("click", async ({ target }) => {
      await navigator.clipboard.writeText(find("#problem-command code").textContent);
      this.#tellCopied(target, "Copied");
    });
    this.models.bind(choose, lookForModels);
  }

  /** Act when the list's choice is made and loaded, unless the person types on, begins a new chat or acts again meanwhile. */
  async #onceChosen(act) {
    const number = (this.#acts += 1);
    await this.models.settle();
    if (number === this.#acts) act();
  }

  /** Put words into the box. */
  write(text) {
    directParagraphs(this.input, text);
    this.input.value = text;
  }

  /** Offer to take a picture of the tab from which the page was opened. */
  offerTab() {
    find("#add-tab").hidden = false;
  }

  /** Say why the message cannot be sent as it is, and offer `model` instead; "" if it can be sent. */
  showObstacle(words, model) {
    if (find("#tray-note").textContent !== words) find("#tray-note").textContent = words; // else it would be read out again
    find("#use-vision").hidden = !words || model === null;
    find("#use-vision").textContent = `Use ${model}`;
    this.#obstacle = words !== "";
    this.#showSend();
    this.#keepFocus();
  }

  /** @param {"waiting" | "ready" | "answering" | "failed"} state */
  showState(state, words) {
    find("#dot").dataset.state = state;
    if (words !== undefined) find("#model-name").textContent = words;
    const answering = state === "answering";
    this.#state = state;
    this.#showSend();
    find("#send").hidden = answering;
    find("#stop").hidden = !answering;
    this.models.enable(state === "ready" || state === "failed");
    this.#keepFocus();
  }

  showFigures(words) {
    find("#figures").textContent = words;
  }

  /**
   * Show an error with what to do about it, and call `retry` when the person has, if there is one; null: no error.
   * `isOfChat`: it is about a message, and goes with the chat.
   */
  showProblem(problem, retry = null, isOfChat = false) {
    this.#problemIsOfChat = isOfChat;
    find("#retry").onclick = retry;
    find("#retry").hidden = retry === null;
    find("#problem").hidden = !problem;
    this.#keepFocus();
    if (!problem) return;
    find("#problem-title").textContent = problem.title;
    find("#problem-text").textContent = problem.text;
    find("#problem-command").hidden = !problem.command;
    find("#problem-command code").textContent = problem.command ?? "";
    this.#tellCopied(find("#problem-command button"), "");
  }

  /** Show on the button that the command was copied, and say so to those who do not see it; "": it was not yet. */
  #tellCopied(button, words) {
    button.textContent = words || "Copy";
    find("#copied").textContent = words;
  }

  clear() {
    find("#log").replaceChildren();
    find("#welcome").hidden = false;
    this.#scroller.scrollTop = 0;
    this.showFigures("");
    if (this.#problemIsOfChat) this.showProblem(null);
  }

  /** Show what the person said and return its element. */
  addUserTurn(text, pictures) {
    find("#welcome").hidden = true;
    this.#keepFocus();
    const turn = this.#add("turn user", text, "You");
    if (pictures.length === 0) return turn;
    const shown = block("pictures", "");
    shown.append(...pictures.map(({ url }, place) => thumbnail(url, `Picture ${place + 1}`)));
    turn.prepend(shown);
    return turn;
  }

  /** Take a turn out of the log again. */
  removeTurn(turn) {
    turn.remove();
    find("#welcome").hidden = find("#log").hasChildNodes();
  }

  /** Add an empty answer and return what fills it. */
  addAnswer() {
    return new Answer(this.#add("turn assistant waiting", "Thinking", "Model"), () => this.#follow());
  }

  #showSend() {
    find("#send").disabled = this.#state !== "ready" || this.#obstacle;
    for (const button of document.querySelectorAll(".suggestion")) button.disabled = find("#send").disabled;
  }

  #add(className, text, speaker) {
    const element = block(className, text);
    directParagraphs(element, text);
    element.setAttribute("role", "article");
    element.setAttribute("aria-label", speaker); // a person sees who speaks by the turn's place
    find("#log").append(element);
    this.#goToEnd();
    return element;
  }

  /** Keep the end of a chat in sight, however much has come at once, unless the person has scrolled up to read. */
  #follow() {
    this.#notice();
    if (this.#atEnd && find("#log").hasChildNodes()) this.#goToEnd();
  }

  #goToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atEnd = true;
    this.#seen.top = this.#scroller.scrollTop;
  }

  /**
   * A person scrolls up to read there, however slowly, until they come down near the end again. A page that became shorter
   * is no such wish, nor one that became narrower: its lines break anew, and the browser scrolls by itself.
   */
  #notice() {
    const { scrollHeight, scrollTop: top, clientHeight, clientWidth: width } = this.#scroller;
    const most = scrollHeight - clientHeight;
    const seen = this.#seen;
    if (top < seen.top && most >= seen.most && width === seen.width) this.#atEnd = false;
    else if (most - top < (top > seen.top ? NEAR_END_PX : 1)) this.#atEnd = true;
    this.#seen = { top, most, width };
  }

  /** A person who clicks into the text, to read or to mark some, wants the focus nowhere. */
  #seeWhoLeft() {
    if (isNowhere(document.activeElement)) this.#focused = null;
  }

  /** Put the focus into the box for words if what has it, or had it until now, is hidden, disabled or gone. */
  #keepFocus() {
    const active = document.activeElement;
    const focused = isNowhere(active) ? this.#focused : active;
    if (focused && (focused.disabled || !focused.checkVisibility())) this.input.focus();
  }
}

/** Let each paragraph of an element's text run in its own direction, unless one is so long that the page would stand still. */
function directParagraphs(element, text) {
  const isLong = text.length > MOST_IN_OWN_DIRECTION && text.split("\n").some(({ length }) => length > MOST_IN_OWN_DIRECTION);
  element.classList.toggle("long", isLong);
}

function isNowhere(active) {
  return active === null || active === document.body;
}
