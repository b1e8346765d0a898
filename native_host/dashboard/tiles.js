// The four figures at the top: the current or last generation's, and the memory in use.

import { find, make, setText } from "./dom.js";
import * as words from "./words.js";

/** @param overview the answer of `/api/v1/overview` */
export function showTiles({ current, jobs, models, memory }) {
  const running = jobs.length > 0;
  const which = current.input_tokens === null && current.output_tokens === null ? "no generation yet"
    : running ? "running now" : "last generation";
  tile("speed", words.tokensPerSecond(current.tokens_per_second), "tokens/s", which);
  tile("first", words.milliseconds(current.time_to_first_token), "ms", which);
  tile("tokens", words.number(current.output_tokens), "out", tokensNote(current, which));
  const used = memory.host_bytes + models.reduce((sum, model) => sum + (model.resident_bytes ?? 0), 0);
  tile("memory", words.bytes(used), "", `${words.bytes(memory.available_bytes)} free`);
}

function tokensNote({ input_tokens: input, cached_tokens: cached }, which) {
  if (input === null) return which;
  return `${words.number(input)} in${cached ? `, ${words.number(cached)} cached` : ""}`;
}

function tile(name, figure, unit, note) {
  const place = find(`#tile-${name}`);
  const text = `${figure} ${unit}`.trim();
  if (place.dataset.shown !== text) {
    place.dataset.shown = text;
    place.replaceChildren(figure, ...(unit && figure !== "-" ? [" ", make("small", { textContent: unit })] : []));
  }
  setText(find(`#tile-${name}-note`), note);
}
