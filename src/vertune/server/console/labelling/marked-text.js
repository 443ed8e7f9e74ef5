/** A text in which people mark spans, with the mouse, by touch or with the keyboard. Places are UTF-16 units here; see offsets.js. */

import { h, replace } from "../dom.js";
import { say } from "../messages.js";
import { t } from "../phrases.js";
import { snapped, unitAt, unitsOf } from "./offsets.js";

export class MarkedText {
  /** `selected(range)` is called with each new selection, and `remove(span)` to remove a span. */
  constructor({ snap, name, selected, remove }) {
    this.snap = snap;
    this.on = { selected, remove };
    this.text = "";
    this.spans = [];
    this.selection = null;
    this.cursor = -1;
    this.anchor = -1;
    this.element = h("div", {
      class: "marked-text", tabindex: "0", role: "application", "aria-label": name, "aria-roledescription": t("label.marking.role"),
      onpointerup: (event) => this.#released(event), onkeydown: (event) => this.#key(event),
      onfocus: () => this.cursor >= 0 && this.render(), onblur: () => this.cursor >= 0 && this.render(),
    });
  }

  /** Show a text with spans: {start, end, label, hue, suggested}. */
  show(text, spans) {
    this.text = text;
    this.cached = null;
    this.starts = new Map();
    this.cursor = this.anchor = -1;
    this.selection = null;
    this.setSpans(spans);
  }

  /** Replace the spans. */
  setSpans(spans) {
    this.spans = [...spans].sort((one, other) => one.start - other.start);
    this.render();
  }

  /** Select a range, or nothing. */
  select(range) {
    this.selection = range;
    this.render();
  }

  /** The words or characters of the text, found when they are first needed. */
  get units() {
    this.cached ??= unitsOf(this.text, this.snap);
    return this.cached;
  }

  render() {
    this.starts.clear();
    const parts = [];
    let place = 0;
    for (const span of this.spans) {
      if (span.start < place) continue;
      this.#pieces(place, span.start, parts);
      const inner = [];
      this.#pieces(span.start, span.end, inner);
      const mark = h("mark", { class: `hue-${span.hue ?? 0}${span.suggested ? " suggested" : ""}`, "data-label": span.label }, inner);
      parts.push(mark);
      place = span.end;
    }
    this.#pieces(place, this.text.length, parts);
    replace(this.element, parts);
  }

  /** Add the nodes of a stretch of the text, cut where the selection and the cursor begin and end. */
  #pieces(from, to, parts) {
    const cursor = this.cursor >= 0 && document.activeElement === this.element ? this.units[this.cursor] : null;
    const cuts = [from, to, this.selection?.start, this.selection?.end, cursor?.[0], cursor?.[1]];
    const places = [...new Set(cuts.filter((place) => place >= from && place <= to))].sort((one, other) => one - other);
    for (let index = 0; index + 1 < places.length; index += 1) {
      const [start, end] = [places[index], places[index + 1]];
      const node = document.createTextNode(this.text.slice(start, end));
      this.starts.set(node, start);
      const classes = [];
      if (this.selection && start >= this.selection.start && end <= this.selection.end) classes.push("selected");
      if (cursor && start >= cursor[0] && end <= cursor[1]) classes.push("cursor");
      parts.push(classes.length ? h("span", { class: classes.join(" ") }, node) : node);
    }
  }

  #spanAt(place) {
    return this.spans.find((span) => span.start <= place && place < span.end) ?? null;
  }

  /** Take the selection of the browser, or the word that was pressed. */
  #released(event) {
    if (event.button > 0) return;
    const chosen = getSelection();
    const range = chosen.rangeCount && this.element.contains(chosen.anchorNode) ? chosen.getRangeAt(0) : null;
    if (range && !range.collapsed) {
      const [start, end] = [this.#place(range.startContainer, range.startOffset), this.#place(range.endContainer, range.endOffset)];
      const found = snapped(this.units, start, end);
      chosen.removeAllRanges();
      if (found) this.#choose(found);
      return;
    }
    const place = this.#pressedPlace(event);
    if (place === null) return;
    const span = this.#spanAt(place);
    if (span) {
      this.selection = { start: span.start, end: span.end };
      this.render();
      return;
    }
    const unit = snapped(this.units, place, place + 1);
    if (!unit) return this.select(null);
    const before = this.selection;
    const inside = before && unit.start >= before.start && unit.end <= before.end;
    if (inside) return this.select(null);
    this.#choose(before ? { start: Math.min(before.start, unit.start), end: Math.max(before.end, unit.end) } : unit);
  }

  #pressedPlace(event) {
    if (document.caretPositionFromPoint) {
      const caret = document.caretPositionFromPoint(event.clientX, event.clientY);
      return caret && this.element.contains(caret.offsetNode) ? this.#place(caret.offsetNode, caret.offset) : null;
    }
    const caret = document.caretRangeFromPoint?.(event.clientX, event.clientY);
    return caret && this.element.contains(caret.startContainer) ? this.#place(caret.startContainer, caret.startOffset) : null;
  }

  /** Return the place in the text of a position in the document. */
  #place(node, offset) {
    if (this.starts.has(node)) return this.starts.get(node) + offset;
    const child = node.childNodes[offset];
    for (const [text, start] of this.starts) {
      const after = node.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING && !node.contains(text);
      if (child ? child.contains(text) : after) return start;
    }
    return this.text.length;
  }

  #choose(range) {
    this.selection = range;
    this.cursor = unitAt(this.units, range.end - 1);
    this.anchor = unitAt(this.units, range.start);
    this.render();
    this.on.selected(range);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const jump = { Home: -this.units.length, End: this.units.length }[event.key];
    if (step || jump) this.#step(step ?? jump, event.shiftKey);
    else if (event.key === "Delete" || event.key === "Backspace") this.#delete();
    else if (event.key === "Escape") this.#leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step(step, extend) {
    if (!this.units.length) return;
    const from = this.cursor < 0 ? (step > 0 ? -1 : this.units.length) : this.cursor;
    this.cursor = Math.max(0, Math.min(this.units.length - 1, from + step));
    if (!extend || this.anchor < 0) this.anchor = this.cursor;
    const [low, high] = [Math.min(this.anchor, this.cursor), Math.max(this.anchor, this.cursor)];
    this.selection = { start: this.units[low][0], end: this.units[high][1] };
    this.render();
    this.element.querySelector(".cursor")?.scrollIntoView({ block: "nearest" });
    const span = this.#spanAt(this.units[this.cursor][0]);
    const words = this.text.slice(this.selection.start, this.selection.end);
    say(span ? t("label.marking.within", { words, label: span.label }) : words);
  }

  #delete() {
    const place = this.selection?.start ?? this.units[this.cursor]?.[0];
    const span = place === undefined ? null : this.#spanAt(place);
    if (span) this.on.remove(span);
  }

  #leave() {
    if (this.selection) this.select(null);
    else this.element.blur();
  }
}
