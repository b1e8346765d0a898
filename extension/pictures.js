// Pictures that go with the next message: dropped, pasted, picked or taken, and shown small until they are sent.

/** Media types that the host takes, by the first bytes of their files: a name's ending is often wrong. */
const SIGNATURES = [
  ["image/png", 0, "\x89PNG"],
  ["image/jpeg", 0, "\xff\xd8\xff"],
  ["image/gif", 0, "GIF8"],
  ["image/webp", 8, "WEBP"],
  ["image/avif", 4, "ftypavif"],
];
const HEADER_BYTES = 16;

/** Larger files than this, in bytes, longer sides, in pixels, and other formats (SVG, say) are drawn anew. */
const KEPT_BYTES = 2_000_000;
const KEPT_SIDE = 4096;

/** The longer side of what is drawn anew, in pixels: no model sees more than that. */
const LONGEST_SIDE = 2048;

/** The side of a picture that names no size of its own, such as many SVGs, in pixels. */
const DEFAULT_SIDE = 512;

/** As many as the host takes in one request, which is a whole chat. */
export const MOST = 16;

/** As many characters of data URLs in one chat: a browser sends the host no message over 64 MiB. */
export const MOST_CHARACTERS = 60_000_000;

const find = (selector) => document.querySelector(selector);

/** The pictures beside the composer. `onChange` is called whenever one comes or goes. */
export class Tray {
  #pictures = [];
  #list = find("#pictures");
  #queue = Promise.resolve();
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    find("#add-picture").addEventListener("click", () => find("#files").click());
    find("#files").addEventListener("change", ({ target }) => {
      this.add([...target.files]);
      target.value = "";
    });
    document.addEventListener("paste", (event) => this.#takeFrom(event, event.clipboardData));
    document.addEventListener("drop", (event) => this.#takeFrom(event, event.dataTransfer));
    for (const type of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(type, (event) => this.#showDropTarget(event));
    }
  }

  /** The pictures: each a data URL, `url`, and its file's name, `name`. */
  get pictures() {
    return [...this.#pictures];
  }

  /** Take files, after those that were brought before; those that are no pictures are named. */
  add(files) {
    this.#queue = this.#queue.then(() => this.#add(files));
    return this.#queue;
  }

  /** Resolves once everything that was brought is here. */
  settled() {
    return this.#queue;
  }

  async #add(files) {
    const refused = [];
    for (const file of files) {
      const url = await readPicture(file).catch(() => null);
      if (url === null) refused.push(`${file.name || "This"} is no picture that this browser can show.`);
      else if (this.#pictures.length >= MOST) refused.push(`${MOST} pictures are the most in one message.`);
      else this.#show(url, file.name || "pasted picture");
    }
    find("#tray-refused").textContent = [...new Set(refused)].join(" ");
    this.#changed();
  }

  /** Give the pictures and be empty. */
  take() {
    const taken = this.#pictures;
    this.#pictures = [];
    this.#list.replaceChildren();
    find("#tray-refused").textContent = "";
    this.#changed();
    return taken;
  }

  /** Show pictures again that were taken, and not sent. */
  putBack(pictures) {
    for (const { url, name } of pictures) this.#show(url, name);
    this.#changed();
  }

  #takeFrom(event, data) {
    const files = [...(data?.files ?? [])];
    if (files.length === 0 || (event.type === "paste" && holdsText(data))) return;
    event.preventDefault();
    this.add(files);
  }

  #showDropTarget(event) {
    const holdsFiles = event.dataTransfer?.types.includes("Files") ?? false;
    if (event.type === "dragover" && holdsFiles) event.preventDefault();
    document.body.classList.toggle("dropping", event.type === "dragover" && holdsFiles);
  }

  #show(url, name) {
    const picture = { url, name };
    const item = document.createElement("li");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => {
      this.#pictures = this.#pictures.filter((other) => other !== picture);
      item.remove();
      find("#tray-refused").textContent = "";
      (this.#list.querySelector("button") ?? find("#input")).focus();
      this.#changed();
    });
    item.append(thumbnail(url, name), remove);
    this.#list.append(item);
    this.#pictures.push(picture);
  }

  #changed() {
    const count = this.#pictures.length;
    find("#tray-count").textContent = count === 0 ? "" : `${count} ${count === 1 ? "picture" : "pictures"} to send`;
    this.#onChange();
  }
}

/** Office programs put a picture of the text beside the text: then the text is wanted. */
function holdsText(clipboard) {
  return clipboard.getData("text/plain").trim() !== "";
}

/** A picture in the page. */
export function thumbnail(url, name) {
  return Object.assign(new Image(), { src: url, alt: name, title: name });
}

/** A message's content: a string, or with pictures the parts of PROTOCOL.md. */
export function contentOf(text, pictures) {
  if (pictures.length === 0) return text;
  return [...pictures.map(({ url }) => ({ type: "image", data: url })), { type: "text", text }];
}

/** The data URLs of all pictures of a conversation, in order. */
export function picturesOf(messages) {
  const parts = messages.flatMap(({ content }) => (Array.isArray(content) ? content : []));
  return parts.filter(({ type }) => type === "image").map(({ data }) => data);
}

/** A file as the data URL of a picture that the host takes; rejects if it is none. */
async function readPicture(file) {
  const source = URL.createObjectURL(file);
  try {
    const image = Object.assign(new Image(), { src: source });
    await image.decode();
    const small = file.size <= KEPT_BYTES && Math.max(image.naturalWidth, image.naturalHeight) <= KEPT_SIDE;
    const type = small ? await mediaType(file) : null;
    return type ? await asDataUrl(new Blob([file], { type })) : draw(image);
  } finally {
    URL.revokeObjectURL(source);
  }
}

async function mediaType(file) {
  const bytes = new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  const header = String.fromCharCode(...bytes);
  return SIGNATURES.find(([, at, sign]) => header.startsWith(sign, at))?.[0] ?? null;
}

function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

function draw(image) {
  const width = image.naturalWidth || DEFAULT_SIDE;
  const height = image.naturalHeight || DEFAULT_SIDE;
  const longest = Math.max(width, height);
  // Rounded up: the host refuses a picture that is too slim, so the shorter side must not lose by it.
  const scaled = (side) => Math.ceil((side * Math.min(longest, LONGEST_SIDE)) / longest);
  const canvas = Object.assign(document.createElement("canvas"), { width: scaled(width), height: scaled(height) });
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}
