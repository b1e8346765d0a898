// A picture of the tab in which the toolbar button was clicked. That click is what permits it ("activeTab"), for that
// tab alone, until it goes to another site.

const { tabs } = globalThis.browser ?? globalThis.chrome;

/** How long a tab may take to be painted once it is shown, and the pause before a second try, in milliseconds. */
const PAINT_MS = 250;
const AGAIN_MS = 700;

/** The tab from which this page was opened, or null: it stands in the page's address. */
export function sourceTab() {
  const id = Number.parseInt(new URLSearchParams(location.search).get("tab") ?? "", 10);
  return Number.isNaN(id) ? null : id;
}

/** What the tab shows now, as a PNG file. It comes to the front for a moment: only what is seen can be taken. */
export async function pictureOf(tabId) {
  const [tab, here] = await Promise.all([tabs.get(tabId), tabs.getCurrent()]);
  if (!tab.active) await tabs.update(tabId, { active: true });
  try {
    const url = await capture(tab.windowId);
    return new File([await (await fetch(url)).blob()], `${tab.title || "page"}.png`, { type: "image/png" });
  } finally {
    await tabs.update(here.id, { active: true });
  }
}

async function capture(windowId) {
  await pause(PAINT_MS);
  try {
    return await tabs.captureVisibleTab(windowId, { format: "png" });
  } catch {
    await pause(AGAIN_MS); // not painted yet, or the browser's limit of two a second
    return tabs.captureVisibleTab(windowId, { format: "png" });
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
