// Numbers as people read them. What is not known is a dash.

const UNKNOWN = "-";
const UNITS = ["B", "kB", "MB", "GB", "TB"];
const STEP = 1000;

const known = (value) => value !== null && value !== undefined;

/** A number with a fixed count of decimals, thousands apart. */
export function number(value, decimals = 0) {
  if (!known(value)) return UNKNOWN;
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export const tokens = (count) => `${number(count)} ${count === 1 ? "token" : "tokens"}`;

export const tokensPerSecond = (value) => number(value, known(value) && value >= 1000 ? 0 : 1);

/** Milliseconds: whole ones, tenths below ten. */
export const milliseconds = (value) => number(value, known(value) && value < 10 ? 1 : 0);

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const { scaled, unit } = inUnit(value);
  return `${number(scaled, scaled < 100 && value >= STEP ** 2 ? 1 : 0)} ${unit}`;
}

/** Bytes that are a round number of a unit, as on an axis. */
export function roundBytes(value) {
  const { scaled, unit } = inUnit(value);
  return value ? `${scaled.toLocaleString("en", { maximumFractionDigits: 2 })} ${unit}` : "0";
}

function inUnit(value) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log(Math.max(value, 1)) / Math.log(STEP)));
  return { scaled: value / STEP ** power, unit: UNITS[power] };
}

/** A span of seconds in its two largest units. */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Who asked, shortly: an extension's id is long. */
export function caller(origin) {
  if (origin === "cli") return "a terminal";
  if (origin === "http") return "a program over HTTP";
  const extension = /^chrome-extension:\/\/([a-p]{32})\/?$/.exec(origin);
  return extension ? `extension ${extension[1].slice(0, 8)}…` : origin;
}

/** The last part of a path; a model's name as it is. */
export const shortName = (name) => name.split(/[\\/]/).filter(Boolean).at(-1) ?? name;
