// One chart over time, drawn by uPlot, from lines of [seconds since the epoch, value].

import { find, setText } from "./dom.js";

const HEIGHT = 200;
const TIMES_PX = 30;
const VALUES_PX = 58;
const DAY_S = 86_400;
const known = (value) => value !== null && value !== undefined;
const colourOf = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

export class Chart {
  #place;
  #readout;
  #title;
  #format;
  #mark;
  #plot = null;
  #drawn = null;

  /**
   * @param {(value: number | null) => string} format makes a value's text, unit included
   * @param {(value: number) => string} [mark] makes the text of a mark on the axis
   */
  constructor(place, readout, format, mark) {
    this.#place = find(place);
    this.#readout = find(readout);
    this.#title = this.#place.ariaLabel;
    this.#format = format;
    this.#mark = mark ?? ((value) => value.toLocaleString("en"));
    this.#place.tabIndex = 0;
    this.#place.addEventListener("keydown", (event) => this.#move(event));
    this.#place.addEventListener("focus", () => this.#readout.setAttribute("aria-live", "polite"));
    this.#place.addEventListener("blur", () => this.#readout.setAttribute("aria-live", "off"));
    new ResizeObserver(() => this.#fit()).observe(this.#place);
  }

  /**
   * @param {{name: string, colour: string, dash: number[], isUpper?: boolean, stepped?: boolean, points: [number, number][]}[]} lines
   *   `colour` is a CSS variable; an upper line is thinner than the line below it
   * @param {{from: number, to: number}} span seconds since the epoch
   */
  draw(lines, span) {
    const kept = this.#chosenTime();
    this.#plot?.destroy();
    this.#plot = null;
    this.#drawn = { lines, span };
    this.#place.setAttribute("aria-label", this.#inWords(lines));
    if (kept === null) setText(this.#readout, "");
    const width = this.#place.clientWidth;
    if (width) this.#plot = new globalThis.uPlot(this.#options(lines, span, width, kept), columnsOf(lines), this.#place);
  }

  #fit() {
    const width = this.#place.clientWidth;
    if (!width || !this.#drawn) return;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.draw(this.#drawn.lines, this.#drawn.span);
  }

  /** The time under the cursor, if somebody who uses the keyboard may be there; it then stays where it is. */
  #chosenTime() {
    const { cursor } = this.#plot ?? {};
    if (document.activeElement !== this.#place || !known(cursor?.idx)) return null;
    return this.#plot.posToVal(cursor.left, "x");
  }

  #options(lines, span, width, kept) {
    const axis = { stroke: colourOf("--soft"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colourOf("--grid"), width: 1 };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true, range: [span.from, span.to] }, y: { range: (_, __, most) => [0, (most || 1) * 1.1] } },
      axes: [
        { ...axis, grid: { show: false }, size: TIMES_PX, values: timesOfDay },
        { ...axis, grid, size: VALUES_PX, values: (_, splits) => splits.map(this.#mark) },
      ],
      series: [{}, ...lines.map(seriesOf)],
      hooks: {
        ready: [(plot) => known(kept) && goTo(plot, kept)],
        setCursor: [(plot) => plot.status === 1 && this.#tell(plot, lines)], // before it is ready there is no cursor
      },
    };
  }

  /** What lies under the pointer: a time, and each line's value there. */
  #tell(plot, lines) {
    const index = plot.cursor.idx;
    const found = known(index) ? lines.flatMap(({ name }, place) => {
      const value = plot.data[place + 1][index];
      return known(value) ? [`${name} ${this.#format(value)}`] : [];
    }) : [];
    setText(this.#readout, found.length ? `${timeWords(plot.data[0][index])}: ${found.join(", ")}` : "");
  }

  /** Move along the points with the keyboard, as the pointer does. */
  #move(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser's own: back, the page's end
    const times = this.#plot?.data[0] ?? [];
    const last = times.length - 1;
    const at = this.#plot?.cursor.idx ?? times.length;
    const place = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (place === undefined || last < 0) return;
    event.preventDefault();
    goTo(this.#plot, times[Math.min(Math.max(place, 0), last)]);
  }

  #inWords(lines) {
    const parts = lines.map(({ name, points }) => `${name}: ${points.length} points, the last ${this.#format(points.at(-1)?.[1])}`);
    return `${this.#title}. ${parts.join("; ") || "Nothing to show"}.`;
  }
}

/** Set the cursor of a plot on a time, or on the first one that is shown. */
function goTo(plot, time) {
  plot.setCursor({ left: Math.max(plot.valToPos(time, "x"), 0), top: 0 });
}

/** uPlot's form: one column of times, then one a line, with null where a line has no value at that time. */
function columnsOf(lines) {
  const columns = lines.map(({ points }) => new Map(points));
  const times = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((one, other) => one - other);
  return [times, ...columns.map((column) => times.map((time) => column.get(time) ?? null))];
}

/** A line of one point is that point, or else nothing of it would be seen: a ring for an upper line, a dot for others. */
function seriesOf({ colour, dash, isUpper, stepped, points: { length } }) {
  const stroke = colourOf(colour);
  const points = { show: length === 1 || (!isUpper && !stepped), size: isUpper ? 7 : 5, fill: isUpper ? "transparent" : stroke };
  const paths = stepped ? globalThis.uPlot.paths.stepped({ align: 1 }) : undefined;
  return { stroke, points, paths, width: isUpper ? 1.5 : 2, dash, spanGaps: true };
}

/** The axis: hours and minutes; at midnight, and all along a long axis, the day. */
function timesOfDay(_plot, splits, _axis, _space, step) {
  return splits.map((seconds) => {
    const time = new Date(seconds * 1000);
    const isDay = step >= DAY_S || (time.getHours() === 0 && time.getMinutes() === 0);
    const parts = isDay ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hour12: false };
    return time.toLocaleString("en-GB", parts);
  });
}

function timeWords(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
