// Making and updating elements. Text is only ever set as text.

export const find = (selector) => document.querySelector(selector);

/** An element with properties and children; a child that is null is left out. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set an element's text, touching the page only where it changes. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show `words` in a place for them, or hide it where there are none. */
export function showWords(selector, words) {
  const place = find(selector);
  setText(place, words ?? "");
  place.hidden = !words;
}

/**
 * Have a button do something that takes time, once at a time. It is not disabled meanwhile: that would take its focus. An
 * Enter that is held down presses it once.
 */
export function onPress(button, act) {
  button.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter") event.preventDefault();
  });
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    await act();
    button.setAttribute("aria-disabled", "false");
  });
}

/**
 * Make a list's children those of `items`, in their order. A child whose key was there before is kept and updated, so that
 * the focus stays where it is. From a child that goes away it moves to the one in its place, else to the section's title; to no
 * button, which the next key, meant for the one that went away, would press.
 */
export function keepList(list, items, keyOf, create, update) {
  const focused = [...list.children].findIndex((child) => child.contains(document.activeElement));
  const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const child = before.get(key) ?? create(item);
    child.dataset.key = key;
    update(child, item);
    return child;
  });
  for (const child of [...list.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((child, place) => {
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
  if (focused >= 0 && !list.contains(document.activeElement)) focusNear(list, focused);
}

function focusNear(list, place) {
  const near = list.children[Math.min(place, list.children.length - 1)] ?? list.closest("section").querySelector("h2");
  near.tabIndex = -1;
  near.focus({ preventScroll: true });
}
