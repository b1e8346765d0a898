// A service worker as an extension's author would write it: it streams through client.js and notes in session
// storage how far it is, so that its next life can go on from there.
import "./background.js";
import { connect } from "./client.js";

const { runtime, storage } = chrome;
const host = connect();
let writes = Promise.resolve();

/** Append a partial to what is kept; writes are in a row, so that none overtakes another. */
function keep({ job_id, seq, text }) {
  writes = writes.then(async () => {
    const kept = (await storage.session.get({ text: "" })).text;
    await storage.session.set({ job_id, cursor: seq + 1, text: kept + text });
  });
}

const actions = {
  async start({ fields }) {
    await storage.session.clear();
    return new Promise((resolve) => {
      host.generate(fields, { onAccepted: resolve, onPartial: keep }).catch(() => {});
    });
  },
  progress: () => storage.session.get(null),
  async resume() {
    const { job_id, cursor } = await storage.session.get(["job_id", "cursor"]);
    const result = await host.attach({ job_id, cursor }, { onPartial: keep });
    await writes;
    return { result, resumedAt: cursor, ...(await storage.session.get(["text"])) };
  },
};

runtime.onMessage.addListener((message, sender, reply) => {
  const action = actions[message.action];
  if (!action) return false;
  Promise.resolve(action(message)).then(reply, (error) => reply({ failed: String(error) }));
  return true;
});
