// The toolbar button opens the chat in a tab of its own. The page talks to the host by itself, so that this
// worker may be stopped by the browser at any time.
const { action, runtime, tabs } = globalThis.browser ?? globalThis.chrome;

action.onClicked.addListener(() => {
  tabs.create({ url: runtime.getURL("chat.html") });
});
