// How the lines of one chart are told apart: by their colours, and by dashes too where there are more lines than colours.

const COLOURS = 6;

/** One for each time that all colours are in use: dashes, in pixels, of a backend's or model's line and of its upper line. */
const DASHES = [
  { line: [], upper: [5, 4] },
  { line: [8, 3], upper: [5, 3, 1, 3] },
  { line: [2, 2], upper: [1, 5] },
  { line: [8, 3, 2, 3], upper: [5, 3, 1, 3, 1, 3] },
];

export class Looks {
  #places = new Map();

  /** Give each name a look that no other one has. One that was there the last time keeps its own. */
  share(names) {
    for (const name of [...this.#places.keys()]) if (!names.includes(name)) this.#places.delete(name);
    for (const name of names) if (!this.#places.has(name)) this.#places.set(name, this.#free());
  }

  /** A name's `colour`, a CSS variable, its dashes `line` and `upper`, and the place of both in the table, `round`. */
  of(name) {
    const place = this.#places.get(name);
    const round = Math.floor(place / COLOURS) % DASHES.length;
    return { colour: `--series-${place % COLOURS}`, round, ...DASHES[round] };
  }

  #free() {
    const taken = new Set(this.#places.values());
    let place = 0;
    while (taken.has(place)) place += 1;
    return place;
  }
}
