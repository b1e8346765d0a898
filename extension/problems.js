// What to tell a person about an error: what happened, what to do, and the command that does it.

/**
 * One row an error code: `title`, and what to do about it. Where `text` is missing, the host's own sentence is
 * shown. `command` is made from the error's details and this extension's id.
 */
const PROBLEMS = {
  host_not_found: {
    title: "The native host is not installed",
    text: "The models run in a program of its own on this computer, and the browser finds none. It comes from where this extension "
      + "comes from: run this command in the folder of its repository (Python 3.11 or newer), then try again.",
    command: () => "python3 install.py",
  },
  host_forbidden: {
    title: "The native host does not know this extension",
    text: "Register the extension's id with this command, in the folder of the host's repository, then try again.",
    command: (details, id) => `python3 install.py --extension-id ${id}`,
  },
  host_exited: {
    title: "The connection to the native host was lost",
    text: "Try again. If this comes back, let the host look for the cause:",
    command: () => "tabagent-host doctor",
  },
  host_unreachable: { title: "The native host could not be reached", command: () => "tabagent-host doctor" },
  daemon_unavailable: { title: "The native host could not start", command: () => "tabagent-host doctor" },
  job_not_found: {
    title: "The answer was lost",
    text: "The native host was started anew while it answered. Send your message again.",
  },
  origin_forbidden: {
    title: "The native host does not let this extension in",
    text: "Its configuration leaves this extension out, in the section [origins]. This command tells where that file is:",
    command: () => "tabagent-host config --path",
  },
  engine_missing: { title: "An engine is missing", command: (details) => details.install },
  engine_broken: { title: "An engine does not start", command: (details) => details.install },
  backend_crashed: {
    title: "The model crashed",
    text: "It is started again with the next message. Everything else goes on.",
  },
  cancelled: { title: "The answer was ended" }, // its model was unloaded, or the host is stopping
  out_of_memory: { title: "The model does not fit into memory" },
  model_not_found: { title: "There is no such model" },
  busy: { title: "The host is busy" },
};

/** What the host calls a picture of a request, or their number, and what it says of it. */
const PICTURE_FIELD = /^messages\[(\d+)\]\.content\[(\d+)\]\S*: (.+)$/;
const PICTURES_FIELD = /^messages: (has \d+ pictures?, .+)$/;
const NO_PICTURE = "A picture cannot be sent";

/** Behind this a decoder says in its own words what it stumbled over, which helps nobody to mend the picture. */
const DECODERS_WORDS = /(is a broken or truncated \w+ picture): .+$/;

/** Give `{message, part, reason}` where the host refused a picture: which one, and why; else null. */
export function refusedPicture(error) {
  const found = PICTURE_FIELD.exec(error.details?.fields?.[0] ?? "");
  if (!found) return null;
  const reason = found[3].replace(/\.$/, "").replace(DECODERS_WORDS, "$1");
  return { message: Number(found[1]), part: Number(found[2]), reason };
}

/** What to tell of a refused picture by its file's name; `back`: the rest of its message may be sent again. */
export function explainRefused(name, reason, back) {
  const advice = back ? " Your message is back in the box without it." : "";
  return { title: NO_PICTURE, text: `${name} ${reason}.${advice}`, command: null };
}

/**
 * What to tell of a chat that is more than the model takes, in tokens or in pictures; null for another error. `isFirst`: it
 * has one message; `isBack`: its last one may be changed and sent again.
 */
export function explainExcess(error, isFirst, isBack) {
  const problem = tooLong(error, isFirst) ?? tooManyPictures(error, isFirst);
  if (problem && isBack) problem.text += " Your message is back in the box.";
  return problem;
}

function tooLong({ code, details }, isFirst) {
  if (code !== "context_overflow") return null;
  const { prompt_tokens: has } = details;
  const most = `at most ${details.most_prompt_tokens} fit`;
  return isFirst
    ? { title: "Your message is too long for this model", text: `Shorten it: it has ${has} tokens, and ${most}.` }
    : { title: "The conversation is too long for this model", text: `It has ${has} tokens, and ${most}. Begin a new chat.` };
}

function tooManyPictures(error, isFirst) {
  const found = PICTURES_FIELD.exec(error.details?.fields?.[0] ?? "");
  const advice = isFirst ? "Remove some." : "Remove some, or begin a new chat.";
  return found && { title: "These are too many pictures for this model", text: `This chat ${found[1]}. ${advice}` };
}

/** Give `{title, text, command}` for an error; `command` is null where there is none. */
export function explain(error, extensionId) {
  const refused = refusedPicture(error);
  if (refused) {
    const text = `A picture of this chat ${refused.reason}. Begin a new chat.`;
    return { title: NO_PICTURE, text, command: null };
  }
  const row = PROBLEMS[error.code] ?? { title: "That did not work" };
  const command = row.command?.(error.details ?? {}, extensionId);
  return { title: row.title, text: row.text ?? error.message, command: command ?? null };
}
