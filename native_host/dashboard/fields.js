// Forms made from tables: each row a field with its name, label, kind and limits.

import { make } from "./dom.js";

/**
 * A labelled field. `kind` is "integer", "number", "text", "list" (strings, a comma between), "flag", or an array of choices.
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
  const isNumber = kind === "integer" || kind === "number";
  const control = make("input", { type: isNumber ? "number" : "text", placeholder: placeholder ?? "", autocomplete: "off", spellcheck: false });
  if (isNumber) Object.assign(control, { min: min ?? "", max: max ?? "", step: kind === "integer" ? 1 : "any" });
  return control;
}

/** What a field holds as the API wants it; undefined where it is empty and no list. */
export function readField(field, control) {
  const text = control.value.trim();
  if (field.kind === "list") return text.split(",").map((part) => part.trim()).filter(Boolean);
  if (text === "") return undefined;
  if (field.kind === "flag") return text === "yes";
  return field.kind === "integer" || field.kind === "number" ? Number(text) : text;
}

/** A value of the API as a field shows it. */
export function writeField(field, control, value) {
  if (field.kind === "list") control.value = (value ?? []).join(", ");
  else if (field.kind === "flag") control.value = value ? "yes" : "no";
  else control.value = value ?? "";
}
