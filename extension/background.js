// The toolbar button opens the chat in a tab of its own, beside the one that it was clicked in, which the page may then
// take a picture of. The page talks to the host by itself, so that this
// worker may be stopped by the browser at any time.
const { action, runtime, tabs } = globalThis.browser ?? globalThis.chrome;

action.onClicked.addListener((tab) => {
  tabs.create({ url: runtime.getURL(`chat.html?tab=${tab.id}`), index: tab.index + 1 });
});
