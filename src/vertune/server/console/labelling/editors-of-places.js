/** Editors for answers that are places in a text: spans with labels, and the answer to a question. See editors.js for what they share. */

import { h } from "../dom.js";
import { show as showMessage } from "../messages.js";
import { t } from "../phrases.js";
import { LabelsPanel } from "./labels-panel.js";
import { MarkedText } from "./marked-text.js";
import { Offsets } from "./offsets.js";

/** Spans of a text, each with a label. */
export class SpansEditor {
  constructor(shape, settings, calls) {
    this.shape = shape;
    this.calls = calls;
    this.hues = new Map(shape.labels.map((label) => [label.name, label.hue]));
    /** The label that the next selection gets, or null. */
    this.brush = null;
    this.panel = new LabelsPanel({ labels: shape.labels, choose: (name) => this.choose(name), coloured: true });
    this.marked = new MarkedText({
      snap: settings.snap, name: shape.marked,
      selected: () => this.brush && this.#add(this.brush), remove: (span) => this.#remove(span),
    });
    this.text = this.marked.element;
    this.removing = h("button", { type: "button", class: "plain", onclick: () => this.#removeSelected() }, t("label.spans.remove"));
    this.element = h(
      "div",
      {},
      this.panel.element,
      h("p", { class: "hint" }, t("label.spans.hint")),
      h("div", { class: "buttons" }, this.removing),
    );
  }

  show(item, value, suggested) {
    const text = String(item.fields[this.shape.marked] ?? "");
    this.offsets = new Offsets(text);
    const proposed = new Set((suggested ?? []).map((span) => JSON.stringify([span.start, span.end, span.label])));
    const spans = (value ?? []).map((span) => ({
      start: this.offsets.fromPoints(span.start),
      end: this.offsets.fromPoints(span.end),
      label: span.label,
      hue: this.hues.get(span.label),
      suggested: proposed.has(JSON.stringify([span.start, span.end, span.label])) && item.label?.state !== "done",
    }));
    this.marked.show(text, spans);
    this.panel.mark(this.brush ? [this.brush] : []);
  }

  value() {
    const { offsets } = this;
    return this.marked.spans.map(({ start, end, label }) => ({ start: offsets.toPoints(start), end: offsets.toPoints(end), label }));
  }

  /** Give the selection this label; without one, the label is for the next selections, until it is chosen again. */
  choose(name) {
    if (this.marked.selection) {
      this.#add(name);
      return;
    }
    this.brush = this.brush === name ? null : name;
    this.panel.mark(this.brush ? [this.brush] : []);
  }

  key(event) {
    if (event.key === "Delete" || event.key === "Backspace") {
      this.#removeSelected();
      return true;
    }
    return this.panel.key(event.key);
  }

  #add(label) {
    const { start, end } = this.marked.selection;
    const others = this.marked.spans.filter((span) => span.start < end && start < span.end);
    const same = others.length === 1 && others[0].start === start && others[0].end === end;
    const marked = others.find((span) => !span.suggested); // a suggestion gives way
    if (marked && !same) {
      showMessage(t("label.spans.overlap", { label: marked.label }), { kind: "bad" });
      return;
    }
    const span = { start, end, label, hue: this.hues.get(label), suggested: false };
    this.marked.selection = null;
    this.marked.setSpans([...this.marked.spans.filter((one) => !others.includes(one)), span]);
    this.calls.changed();
  }

  #remove(span) {
    this.marked.selection = null;
    this.marked.setSpans(this.marked.spans.filter((one) => one !== span));
    this.calls.changed();
  }

  #removeSelected() {
    const { selection, spans } = this.marked;
    const span = selection && spans.find((one) => one.start < selection.end && selection.start < one.end);
    if (span) this.#remove(span);
    else showMessage(t("label.spans.choose"));
  }
}

/** The answer to a question: one span of the text, or none. */
export class AnswerEditor {
  panel = null;
  single = true;

  constructor(shape, settings, calls) {
    this.shape = shape;
    this.calls = calls;
    this.marked = new MarkedText({
      snap: settings.snap, name: shape.marked,
      selected: (range) => this.#choose(range), remove: () => this.#choose(null),
    });
    this.text = this.marked.element;
    this.none = h(
      "button",
      { type: "button", class: "label", "aria-pressed": "false", "aria-keyshortcuts": "n", onclick: () => this.#noAnswer() },
      h("kbd", { "aria-hidden": "true" }, "n"),
      h("span", { class: "label-name" }, t("label.answer.none")),
    );
    this.shown = h("output", { class: "answer" });
    this.element = h("div", {}, h("p", { class: "hint" }, t("label.answer.hint")), this.shown, h("div", { class: "labels" }, this.none));
  }

  show(item, value, suggested) {
    const text = String(item.fields[this.shape.marked] ?? "");
    this.offsets = new Offsets(text);
    this.known = value !== null && value !== undefined;
    this.suggested = item.label?.state !== "done" && suggested !== null && suggested !== undefined;
    const answer = value?.[0];
    const start = answer && this.offsets.fromPoints(answer.start);
    const range = answer ? { start, end: start + answer.text.length } : null;
    this.marked.show(text, range ? [this.#span(range, this.suggested)] : []);
    this.#tell();
  }

  /** Return the answer; what is selected with the keyboard becomes it. */
  value() {
    if (this.marked.selection) this.#choose(this.marked.selection);
    if (!this.known) return null;
    return this.marked.spans.map(({ start, end }) => ({ start: this.offsets.toPoints(start), text: this.marked.text.slice(start, end) }));
  }

  key(event) {
    if (event.key !== "n") return false;
    this.#noAnswer();
    return true;
  }

  #span(range, suggested) {
    return { ...range, label: t("label.answer"), hue: 2, suggested };
  }

  #choose(range) {
    this.known = range !== null;
    this.marked.selection = null;
    this.marked.setSpans(range ? [this.#span(range, false)] : []);
    this.#tell();
    this.calls.changed();
  }

  #noAnswer() {
    this.known = true;
    this.marked.selection = null;
    this.marked.setSpans([]);
    this.#tell();
    this.calls.answered();
  }

  #tell() {
    const [span] = this.marked.spans;
    this.none.ariaPressed = String(this.known && !span);
    this.shown.textContent = span ? this.marked.text.slice(span.start, span.end) : "";
  }
}
