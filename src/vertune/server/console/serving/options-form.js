/** A form for the options of a part, such as a task or a method, made of its JSON schema: an empty field means the default. */

import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { t } from "../phrases.js";

export class OptionsForm {
  /** `schema` is the JSON schema of the options; `without` are names of options that are not shown. */
  constructor(schema, without = []) {
    this.schema = schema;
    this.inputs = new Map();
    const shown = Object.entries(schema.properties ?? {}).filter(([name]) => !without.includes(name));
    const made = shown.map(([name, about]) => this.#field(name, resolved(about, schema)));
    this.element = h("div", { class: "options-form" }, made.length ? made : h("p", { class: "hint" }, t("serving.options.none")));
  }

  /** Return the options that differ from their defaults; throws an Error for a value that is not JSON where it must be. */
  value() {
    const found = {};
    for (const [name, { input, read }] of this.inputs) {
      const text = input.value.trim();
      if (text !== "") found[name] = read(text, name);
    }
    return found;
  }

  #field(name, about) {
    const { input, read } = widget(about);
    this.inputs.set(name, { input, read });
    const usual =
      about.default === undefined ? t("serving.options.required") : t("serving.options.default", { value: shown(about.default) });
    return field(name, input, `${(about.description ?? "").replaceAll("\n", " ")} ${usual}`.trim());
  }
}

/** Return an input for an option, and a function that turns its text into a value. */
function widget(about) {
  const kinds = kindsOf(about);
  const words = kinds.flatMap((kind) => kind.enum ?? (kind.const === undefined ? [] : [kind.const]));
  const only = kinds.filter((kind) => kind.type !== "null");
  if (only.length === 1 && only[0].type === "boolean") return choice(["true", "false"], (text) => text === "true");
  if (words.length && only.every((kind) => kind.enum || kind.const !== undefined)) return choice(words, (text) => text);
  if (only.length === 1 && (only[0].type === "integer" || only[0].type === "number")) {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, type } = only[0];
    const input = h("input", {
      type: "number",
      step: type === "integer" ? 1 : "any",
      min: minimum ?? exclusiveMinimum,
      max: maximum ?? exclusiveMaximum,
      placeholder: shown(about.default),
    });
    return { input, read: Number };
  }
  if (only.some((kind) => kind.type === "array" || kind.type === "object")) {
    return { input: h("textarea", { rows: 2, placeholder: shown(about.default), spellcheck: "false" }), read: structured(words) };
  }
  return {
    input: h("input", { placeholder: shown(about.default), autocomplete: "off" }),
    read: only.some(isNumber) ? numberOrWord : String,
  };
}

function choice(words, read) {
  return { input: select([["", t("serving.options.usual")], ...words.map((word) => [String(word), String(word)])], ""), read };
}

function isNumber(kind) {
  return kind.type === "integer" || kind.type === "number" || kind.type === "boolean";
}

function numberOrWord(text) {
  if (text === "true" || text === "false") return text === "true";
  return Number.isNaN(Number(text)) ? text : Number(text);
}

/** Return a function that reads JSON, or one of the words that an option may be instead. */
function structured(words) {
  return (text, name) => {
    if (words.includes(text)) return text;
    try {
      return JSON.parse(text);
    } catch {
      throw Object.assign(new Error(t("serving.options.json", { name })), { status: 422 });
    }
  };
}

function kindsOf(about) {
  return about.anyOf ? about.anyOf.flatMap(kindsOf) : [about];
}

/** Return the schema of an option with references to other schemas followed. */
function resolved(about, schema) {
  if (about.$ref) return { ...resolved(schema.$defs?.[about.$ref.split("/").at(-1)] ?? {}, schema), ...about, $ref: undefined };
  return about.anyOf ? { ...about, anyOf: about.anyOf.map((one) => resolved(one, schema)) } : about;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
