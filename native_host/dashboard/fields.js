// Forms made from tables: each row a field with its name, label, kind and limits.

import { make } from "./dom.js";

/**
 * A labelled field. `kind` is "integer", "number", "text", "list" (strings, one a line), "flag", or an array of choices.
 * @param {{name: string, label: string, kind: string | string[], hint?: string, min?: number, max?: number}} field
 * @param {string} prefix of its id
 */
export function makeField(field, prefix) {
  const control = makeControl(field);
  control.id = `${prefix}-${field.name}`;
  control.name = field.name;
  const hint = field.hint ? make("span", { className: "hint", textContent: field.hint }) : null;
  return make("label", {}, field.label, control, hint);
}

function makeControl({ kind, min, max, placeholder }) {
  if (Array.isArray(kind) || kind === "flag") {
    const choices = kind === "flag" ? ["no", "yes"] : kind;
    return make("select", {}, ...choices.map((choice) => new Option(choice, choice)));
  }
  if (kind === "list") return make("textarea", { rows: 2, placeholder: placeholder ?? "", autocomplete: "off", spellcheck: false });
  const isNumber = kind === "integer" || kind === "number";
  const control = make("input", { type: isNumber ? "number" : "text", placeholder: placeholder ?? "", autocomplete: "off", spellcheck: false });
  if (isNumber) Object.assign(control, { min: min ?? "", max: max ?? "", step: kind === "integer" ? 1 : "any" });
  return control;
}

/** What a field holds as the API wants it; undefined where it is empty and no list. */
export function readField(field, control) {
  if (field.kind === "list") return control.value.split("\n").filter(Boolean).map(unescaped);
  const text = control.value.trim();
  if (text === "") return undefined;
  if (field.kind === "flag") return text === "yes";
  return field.kind === "integer" || field.kind === "number" ? Number(text) : text;
}

/** A value of the API as a field shows it. */
export function writeField(field, control, value) {
  if (field.kind === "list") control.value = (value ?? []).map(escaped).join("\n");
  else if (field.kind === "flag") control.value = value ? "yes" : "no";
  else control.value = value ?? "";
}

const INVALID = "The request is not valid: ";

/** What is wrong with a form, its fields of the request's `group` by their labels: each wrong one, or the host's own sentence. */
export function problemOf(error, fields, group) {
  const isList = error.message.startsWith(INVALID);
  const text = isList ? `${error.fields.join(". ")}.` : error.message;
  return fields.reduce((told, { name, label }) => told.replaceAll(nameIn(group, name), label), text);
}

/** A field as the host names it; one that is a word of the language only behind its group. */
function nameIn(group, name) {
  return new RegExp(`\\b(${group}\\.)${name.includes("_") ? "?" : ""}${name}\\b`, "g");
}

// A string on one line: a line break in it is written \n, a backslash \\.
const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const unescaped = (line) => line.replace(/\\([n\\])/g, (_, mark) => (mark === "n" ? "\n" : mark));
