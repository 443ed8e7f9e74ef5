/**
 * What a person answers with, by the type of the target. An editor has `element` (the controls), `text` (what replaces a field, or null),
 * `show(item, value, suggested)`, `value()` (null: no answer yet) and `key(event)` (whether it took the key). It calls `answered()` when
 * one step made the answer complete, and `changed()` after other changes.
 */

import { AnswerEditor, SpansEditor } from "./editors-of-places.js";
import { h } from "../dom.js";
import { t } from "../phrases.js";
import { LabelsPanel } from "./labels-panel.js";

/** Return a new editor for the target of a project. */
export function editorFor(shape, settings, calls) {
  const Editor = EDITORS[shape.type];
  const scale = shape.type === "number" && shape.labels.length > 1 && shape.labels.every((label) => Number.isFinite(Number(label.name)));
  return new (scale ? ScaleEditor : Editor)(shape, settings, calls);
}

/** One label of several. */
class ChoiceEditor {
  text = null;
  /** Whether one key press can be the complete answer. */
  single = true;

  constructor(shape, settings, calls) {
    this.calls = calls;
    this.panel = new LabelsPanel({ labels: shape.labels, choose: (name) => this.choose(name) });
    this.element = this.panel.element;
    this.chosen = null;
    this.suggested = null;
  }

  show(item, value, suggested) {
    this.chosen = value;
    this.suggested = suggested;
    this.panel.mark(this.#names(value), this.#names(suggested));
  }

  value() {
    return this.chosen;
  }

  choose(name) {
    this.chosen = this.read(name);
    this.panel.mark([name], this.#names(this.suggested));
    this.calls.answered();
  }

  key(event) {
    return this.panel.key(event.key);
  }

  read(name) {
    return name;
  }

  #names(value) {
    return value === null || value === undefined ? [] : [String(value)];
  }
}

/** A number that is one step of a scale. */
class ScaleEditor extends ChoiceEditor {
  read(name) {
    return Number(name);
  }
}

/** Any number of labels. */
class ChoicesEditor {
  text = null;

  constructor(shape, settings, calls) {
    this.calls = calls;
    this.panel = new LabelsPanel({ labels: shape.labels, choose: (name) => this.toggle(name) });
    this.element = this.panel.element;
    this.order = shape.labels.map((label) => label.name);
    this.chosen = [];
    this.suggested = [];
  }

  show(item, value, suggested) {
    this.chosen = [...(value ?? [])];
    this.suggested = suggested ?? [];
    this.panel.mark(this.chosen, this.suggested);
  }

  value() {
    return this.order.filter((name) => this.chosen.includes(name));
  }

  toggle(name) {
    this.chosen = this.chosen.includes(name) ? this.chosen.filter((one) => one !== name) : [...this.chosen, name];
    this.panel.mark(this.chosen, this.suggested);
    this.calls.changed();
  }

  key(event) {
    return this.panel.key(event.key);
  }
}

/** A number. */
class NumberEditor {
  text = null;
  panel = null;

  constructor(shape, settings, calls) {
    this.calls = calls;
    this.input = h("input", {
      class: "number-answer", inputmode: "decimal", autocomplete: "off", enterkeyhint: "done", oninput: () => calls.changed(),
    });
    this.hint = h("p", { class: "hint", hidden: true });
    this.element = h("div", { class: "field" }, h("label", {}, h("span", {}, t("label.number")), this.input), this.hint);
  }

  show(item, value, suggested) {
    this.input.value = value ?? "";
    this.hint.hidden = suggested === null || suggested === undefined;
    if (!this.hint.hidden) this.hint.textContent = t("label.number.suggested", { value: suggested });
    if (!matchMedia("(pointer: coarse)").matches) {
      this.input.focus({ preventScroll: true });
      this.input.select();
    }
  }

  value() {
    const text = this.input.value.trim().replace(",", ".").replace("−", "-");
    const number = Number(text);
    const valid = text !== "" && Number.isFinite(number);
    this.input.setAttribute("aria-invalid", String(text !== "" && !valid));
    return valid ? number : null;
  }

  /** Digits and signs are the input's, also when it has no focus; letters are commands. */
  key(event) {
    if (!/^[\d.,\-−]$/.test(event.key)) return false;
    if (document.activeElement === this.input) return "native";
    this.input.focus();
    return "native";
  }
}

const EDITORS = { label: ChoiceEditor, labels: ChoicesEditor, number: NumberEditor, spans: SpansEditor, answers: AnswerEditor };
