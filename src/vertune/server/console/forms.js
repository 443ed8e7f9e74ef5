/** Fields of forms: an input with its label, a hint and a place for what is wrong with it. */

import { freshId, h } from "./dom.js";

/** Return an input with a label above it and an optional hint below. */
export function field(label, input, hint = "") {
  const id = freshId("field");
  const about = `${id}-hint`;
  input.id ||= id;
  if (hint) input.setAttribute("aria-describedby", about);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, hint && h("span", { class: "hint", id: about }, hint));
}

/** Return a select; `options` are [value, text]. */
export function select(options, chosen, attributes = {}) {
  const made = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", attributes, made);
}

/** Return a checkbox with its text beside it. */
export function checkbox(text, checked, attributes = {}) {
  const input = h("input", { type: "checkbox", checked, ...attributes });
  return { input, element: h("label", { class: "choice field" }, input, h("span", {}, text)) };
}

/** Return radio buttons in a group; `options` are [value, text, hint]. */
export function radios(legend, options, chosen, onchange = () => {}) {
  const name = freshId("radio");
  const made = (value) => h("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) });
  const inputs = options.map(([value]) => made(value));
  const rows = options.map(([, text, hint], place) =>
    h("label", { class: "choice" }, inputs[place], h("span", {}, text, hint && h("span", { class: "hint block" }, hint))),
  );
  return {
    element: h("fieldset", { class: "field" }, h("legend", {}, legend), rows),
    get value() {
      return inputs.find((input) => input.checked)?.value ?? null;
    },
  };
}
