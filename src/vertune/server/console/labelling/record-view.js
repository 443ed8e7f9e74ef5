/** A record and what people and the model say of it, for lists and reviews; nothing in it can be changed. */

import { h } from "../dom.js";
import { percent, t } from "../phrases.js";
import { Offsets } from "./offsets.js";
import { brief, inputsOf, valueOf } from "./shape.js";

/** Return the fields of a record; the places in `target` are marked in its text. */
export function recordView(shape, fields, target = null) {
  const inputs = inputsOf(shape, fields);
  const parts = inputs.map(([name, text]) =>
    h(
      "div",
      { class: "input" },
      inputs.length > 1 && h("span", { class: "input-name" }, name),
      h("p", { class: "record-text" }, name === shape.marked ? marked(shape, String(text), target) : String(text)),
    ),
  );
  return h("div", { class: inputs.length === 2 && shape.type !== "answers" ? "record-view pair" : "record-view" }, parts);
}

/** Return a text with its spans as marks. */
function marked(shape, text, target) {
  const value = valueOf(shape, { target });
  if (!Array.isArray(value) || !value.length || typeof value[0] !== "object") return text;
  const offsets = new Offsets(text);
  const hues = new Map(shape.labels.map((label) => [label.name, label.hue]));
  const spans = value.map((span) => {
    const start = offsets.fromPoints(span.start);
    return { start, end: span.end === undefined ? start + span.text.length : offsets.fromPoints(span.end), label: span.label };
  });
  const parts = [];
  let place = 0;
  for (const span of spans.sort((one, other) => one.start - other.start)) {
    if (span.start < place) continue;
    const attributes = { class: `hue-${hues.get(span.label) ?? 2}`, "data-label": span.label ?? null };
    parts.push(text.slice(place, span.start), h("mark", attributes, text.slice(span.start, span.end)));
    place = span.end;
  }
  return [...parts, text.slice(place)];
}

/** Return a target as a short text; places are written with the words that they mark. */
export function targetText(shape, fields, target) {
  const value = valueOf(shape, { target });
  if (shape.type !== "spans" || !value?.length) return brief(shape, target, t("record.nothing"));
  const text = String(fields[shape.marked] ?? "");
  const offsets = new Offsets(text);
  const words = (span) => text.slice(offsets.fromPoints(span.start), offsets.fromPoints(span.end));
  return value.map((span) => `${span.label}: ${words(span)}`).join(", ");
}

/** Return what the model suggests, with its confidence, as a badge; "" without a suggestion. */
export function suggestionBadge(shape, record) {
  const { suggestion } = record;
  if (!suggestion) return "";
  const sure = suggestion.confidence === null || suggestion.confidence === undefined ? "" : ` ${percent(suggestion.confidence)}`;
  return h("span", { class: "badge" }, t("record.model", { text: targetText(shape, record.fields, suggestion.target) }), sure);
}

/** Return the labels of a record as badges, each with its annotator. */
export function labelBadges(shape, record) {
  return (record.labels ?? []).map((label) => {
    const said = label.state === "done" || label.state === "draft" ? targetText(shape, record.fields, label.target) : "";
    const state = label.state === "done" ? "" : t(`record.state.${label.state}`);
    const kind = { done: "accent", rejected: "bad", skipped: "warn" }[label.state] ?? "";
    return h("span", { class: `badge wrap ${kind}` }, `${label.annotator}: ${[said, state].filter(Boolean).join(" · ")}`);
  });
}
