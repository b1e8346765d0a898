// The chat: which model is loaded, what was said, and the one answer that may be on its way.
import { connect, NativeHostError } from "./client.js";
import { openFigures } from "./figures.js";
import { shortName } from "./model_list.js";
import { contentOf, MOST, MOST_CHARACTERS, picturesOf, Tray } from "./pictures.js";
import { explain, explainExcess, explainRefused, refusedPicture } from "./problems.js";
import { finalFigures, Progress } from "./progress.js";
import { pictureOf, sourceTab } from "./tab_picture.js";
import { View } from "./view.js";

const DEFAULT_MODEL = "demo";
const VISION_MODEL = "demo-vision";
const QUESTION = "Describe the picture.";
const SETTINGS = { max_tokens: 2048, thinking_update_interval: 1 };
const SETTINGS_WITH_PICTURES = { ...SETTINGS, temperature: 0 }; // a description is to be right, not varied
const REMEMBERED = "model";
const RUNNING = "job";
const NO_ANSWER = "The model gave no answer.";
const REMARKS = { cancelled: "Stopped.", failed: "Not finished.", length: "Cut off: the limit of tokens was reached." };
const { runtime } = globalThis.browser ?? globalThis.chrome;

class Chat {
  #view = new View();
  #tray = new Tray(() => this.#checkPictures());
  #host = connect({ onStatus: (status) => this.#showConnection(status), onEvent: ({ event }) => this.#hear(event) });
  #messages = [];
  #model = localStorage.getItem(REMEMBERED) ?? DEFAULT_MODEL;
  #names = [];
  #takesPictures = false;
  #ready = false;
  #sending = false;
  #isLooking = false;
  #wantsLook = false;
  #connection = "disconnected";
  #stopper = null;

  constructor() {
    this.#view.bind({
      send: (text) => this.#send(text),
      suggest: (text) => this.#send(text, this.#view.input.value),
      stop: () => this.#stopper?.abort(),
      newChat: () => this.#reset(),
      choose: (model) => this.#load(model),
      lookForModels: () => this.#lookForModels(),
      openFigures: () => this.#openFigures(),
      addTab: () => this.#addTab(),
      useVision: () => this.#load(VISION_MODEL),
    });
    if (sourceTab() !== null) this.#view.offerTab();
  }

  #hear(event) {
    if (event !== "daemon_stopping") this.#lookForModels(); // that one has better things to do
  }

  /** Reach the host and load the model that was used last. */
  async start() {
    this.#view.showState("waiting", "Connecting");
    this.#view.showProblem(null);
    try {
      await this.#stopForgotten();
      this.#names = await this.#listModels();
      if (!this.#names.includes(this.#model)) this.#model = DEFAULT_MODEL;
      this.#view.models.fill(this.#names, this.#model);
    } catch (error) {
      this.#fail(error, () => this.start(), "Not connected");
      return;
    }
    await this.#load(this.#model);
  }

  /** The names of what can be loaded, and of what another program has loaded under a name of its own. */
  async #listModels() {
    const [{ models }, { models: loaded }] = await Promise.all([this.#host.listModels(), this.#host.getState()]);
    return [...new Set([...models, ...loaded].map(({ model }) => model))];
  }

  /** Offer what was put into the folders, or loaded by others, since. That starts no host, and who acts next hears what is wrong. */
  async #lookForModels() {
    this.#wantsLook = this.#connection === "connected";
    if (this.#isLooking) return; // that one looks once more
    this.#isLooking = true;
    try {
      while (this.#wantsLook) {
        this.#wantsLook = false;
        this.#names = await this.#listModels();
        this.#view.models.offer(this.#names);
        this.#checkPictures();
      }
    } catch (error) {
      if (!(error instanceof NativeHostError)) throw error;
    } finally {
      this.#isLooking = false;
    }
  }

  /** A page that was loaded anew in mid-answer has forgotten it: the model should not go on for nobody. */
  async #stopForgotten() {
    const job = sessionStorage.getItem(RUNNING);
    const [{ type }] = performance.getEntriesByType("navigation");
    sessionStorage.removeItem(RUNNING);
    if (!job || type !== "reload") return; // a copy of this tab has a copy of what it keeps
    try {
      await this.#host.stop({ job_id: job });
    } catch (error) {
      if (error.code !== "job_not_found") throw error; // it had ended, and the host was started anew
    }
  }

  async #load(model) {
    this.#ready = false;
    this.#view.showProblem(null);
    this.#view.showFigures("");
    const name = this.#view.models.labelOf(model);
    this.#view.showState("waiting", `Loading ${name}`);
    const onProgress = ({ progress }) => {
      if (progress !== null) this.#view.showState("waiting", `Loading ${name}: ${Math.round(progress * 100)} %`);
    };
    try {
      const { model: state } = await this.#host.load({ model }, { onProgress });
      this.#model = model;
      this.#view.models.select(model);
      localStorage.setItem(REMEMBERED, model);
      this.#takesPictures = state.capabilities.image;
      this.#ready = true;
      this.#checkPictures();
      this.#view.showState("ready", `${name} (${state.backend_type})`);
    } catch (error) {
      this.#fail(error, () => this.#load(model), `${name} is not loaded`);
    }
  }

  /** A picture that was brought a moment ago belongs to the message: wait until it is here. `draft` stays in the box. */
  async #send(words, draft = "") {
    if (this.#sending) return;
    this.#sending = true;
    await this.#tray.settled();
    this.#sending = false;
    const text = words || (this.#tray.pictures.length ? QUESTION : "");
    if (!text || !this.#ready || this.#stopper || this.#obstacle()) return;
    const pictures = this.#tray.take();
    this.#view.input.value = draft;
    const turn = this.#view.addUserTurn(text, pictures);
    const message = { role: "user", content: contentOf(text, pictures) };
    this.#answer([...this.#messages, message], { words, pictures, turn });
  }

  /** Say before anything is sent that the model takes no pictures, or not so many or so large ones. */
  #checkPictures() {
    const canSwitch = this.#ready && !this.#takesPictures && this.#names.includes(VISION_MODEL);
    this.#view.showObstacle(this.#obstacle(), canSwitch ? VISION_MODEL : null);
  }

  #obstacle() {
    if (!this.#ready) return "";
    const [brought, sent] = [this.#tray.pictures.length, picturesOf(this.#messages).length];
    if (this.#takesPictures) return brought ? this.#excess(brought + sent) : "";
    const name = shortName(this.#model);
    if (brought) return `${name} takes no pictures. Choose a model that does, or remove them.`;
    if (!sent) return "";
    return `${name} takes no pictures, and this chat has some. Choose a model that does, or begin a new chat.`;
  }

  /** Say that the `count` pictures of the chat and of the tray are more than one request may have; "" if not. */
  #excess(count) {
    const advice = "Remove some, or begin a new chat.";
    if (count > MOST) return `A chat may have ${MOST} pictures, and this one would have ${count}. ${advice}`;
    const urls = [...picturesOf(this.#messages), ...this.#tray.pictures.map(({ url }) => url)];
    const characters = urls.reduce((sum, url) => sum + url.length, 0);
    return characters > MOST_CHARACTERS ? `These pictures are too large together for one message. ${advice}` : "";
  }

  async #addTab() {
    try {
      await this.#tray.add([await pictureOf(sourceTab())]);
      this.#view.showProblem(null);
    } catch (error) {
      const problem = { title: "The page could not be taken", text: error.message, command: null };
      this.#view.showProblem(problem, () => this.#addTab());
    }
  }

  /**
   * Have the conversation `messages` answered; only then it becomes the one that the next question continues. `sent`
   * is its last message as the person made it: words, pictures, and the turn that shows them.
   */
  async #answer(messages, sent) {
    const conversation = this.#messages;
    const answer = this.#view.addAnswer();
    const progress = new Progress(SETTINGS.max_tokens);
    let failure = null;
    this.#stopper = new AbortController();
    this.#view.showProblem(null);
    this.#view.showFigures("");
    this.#view.showState("answering");
    try {
      const result = await this.#generate(messages, answer, progress);
      conversation.splice(0, Infinity, ...messages, { role: "assistant", content: result.text });
      this.#checkPictures();
      answer.end(REMARKS[result.finish_reason] ?? (result.text ? undefined : NO_ANSWER));
      const earlier = picturesOf(messages.slice(0, -1)).length;
      const figures = finalFigures(result.stats, earlier);
      if (conversation === this.#messages) this.#view.showFigures(figures); // else a new chat was begun meanwhile
      this.#view.showState("ready");
    } catch (error) {
      const stopped = error.name === "AbortError"; // while the model was still loading
      answer.end(stopped ? REMARKS.cancelled : answer.hasText ? REMARKS.failed : undefined);
      this.#view.showState("ready");
      if (!stopped && conversation === this.#messages) failure = error;
    }
    progress.end();
    this.#stopper = null;
    if (failure) this.#failToAnswer(failure, messages, sent, answer);
  }

  /** Offer to try again, unless the same message would be refused again: then the person gets it back to change it. */
  #failToAnswer(error, messages, sent, answer) {
    const refused = refusedPicture(error);
    const isOfLast = refused?.message === messages.length - 1 && refused.part < sent.pictures.length;
    const isFree = this.#view.input.value === "" && this.#tray.pictures.length === 0;
    const excess = explainExcess(error, messages.length === 1, isFree);
    if (isOfLast) this.#takeBackWithout(refused, sent);
    else if (excess && isFree) this.#takeBack(sent, excess);
    else this.#view.showProblem(excess ?? explain(error, runtime.id), () => this.#answerAnew(answer, messages, sent), true);
  }

  /** What had come until the failure is no part of the chat, and the new answer takes its place. */
  #answerAnew(failed, messages, sent) {
    failed.remove();
    this.#answer(messages, sent);
  }

  /** Give all of a message but the picture that the host refused back. */
  #takeBackWithout({ part, reason }, sent) {
    const { words, pictures } = sent;
    const others = pictures.filter((picture, place) => place !== part);
    const back = words ? [words, ""].includes(this.#view.input.value) : others.length > 0;
    this.#takeBack({ ...sent, pictures: others }, explainRefused(pictures[part].name, reason, back));
  }

  /** Give a message back to the person, to be sent again, and say why. What was typed meanwhile stays. */
  #takeBack({ words, pictures, turn }, problem) {
    this.#view.removeTurn(turn);
    this.#tray.putBack(pictures);
    if (this.#view.input.value === "") this.#view.write(words);
    this.#view.showProblem(problem, null, true);
  }

  /** Load first: that is success at once, unless the model was unloaded meanwhile, or crashed. */
  async #generate(messages, answer, progress) {
    const { signal } = this.#stopper;
    const model = this.#model;
    await unlessAborted(signal, this.#host.load({ model }, { onProgress: ({ message }) => answer.wait(message) }));
    const onPartial = ({ text, reasoning, tokens }) => {
      if (reasoning) answer.think(reasoning);
      if (text) answer.append(text);
      progress.count(tokens);
    };
    const onThinking = (update) => {
      answer.wait(update.thinking);
      progress.hear(update);
    };
    const settings = picturesOf(messages).length ? SETTINGS_WITH_PICTURES : SETTINGS;
    const fields = { model, messages, settings };
    const onAccepted = ({ job_id: job }) => sessionStorage.setItem(RUNNING, job);
    try {
      return await this.#host.generate(fields, { onAccepted, onPartial, onThinking, signal });
    } finally {
      sessionStorage.removeItem(RUNNING);
    }
  }

  #fail(error, retry, words) {
    this.#view.showProblem(explain(error, runtime.id), retry);
    this.#view.showState(this.#ready ? "ready" : "failed", words);
  }

  #reset() {
    this.#stopper?.abort();
    this.#messages = [];
    this.#view.clear();
    this.#checkPictures();
    this.#view.input.focus();
  }

  async #openFigures() {
    try {
      await openFigures(this.#host);
    } catch (error) {
      this.#fail(error, () => this.start());
    }
  }

  #showConnection(status) {
    const wasLost = this.#connection === "reconnecting";
    this.#connection = status;
    if (status === "reconnecting") this.#view.showFigures("connection lost, connecting again");
    else if (wasLost) this.#view.showFigures("");
  }
}

/** What `promise` gives, or the signal's reason as soon as it is aborted. A load goes on then, and nobody waits for it. */
function unlessAborted(signal, promise) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    promise.then(resolve, reject);
  });
}

new Chat().start();
