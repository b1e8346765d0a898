// The dialog that asks for the token.

import { find, showWords } from "./dom.js";

/** Show the dialog until a token was given; resolves to it. */
export function askForToken(wasRefused) {
  const dialog = find("#token-dialog");
  const input = find("#token");
  showWords("#token-problem", wasRefused ? "That token is not this host's. Copy the whole line that the command prints." : null);
  input.value = "";
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    // Without a token there is nothing to see. A `cancel` event could be prevented, but Chromium sends none for a second Escape.
    dialog.onclose = () => dialog.showModal();
    find("#token-form").onsubmit = () => {
      dialog.onclose = null;
      resolve(input.value.trim());
    };
  });
}
