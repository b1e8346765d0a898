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
    const cancel = (event) => event.preventDefault(); // without a token there is nothing to see
    dialog.addEventListener("cancel", cancel);
    find("#token-form").onsubmit = () => {
      dialog.removeEventListener("cancel", cancel);
      resolve(input.value.trim());
    };
  });
}
