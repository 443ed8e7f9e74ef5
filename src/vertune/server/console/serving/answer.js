/** One answer of a model: label, numbers or spans with how sure it is, and what a person says of it. It knows no names of tasks. */

import { at, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { Offsets } from "../labelling/offsets.js";
import { attempt, dialog, show } from "../messages.js";
import { listed, number, percent, t } from "../phrases.js";
import { may } from "../session.js";
import { latency } from "./metrics.js";

/** Most probabilities that are shown at first. */
const SHOWN = 8;

export class AnswerCard {
  /** `found` is the response of one model; `record` is what it was asked, and `seconds` how long the request took. */
  constructor(vertical, found, record, seconds) {
    this.vertical = vertical;
    [this.answer] = found.answers;
    [this.id] = found.ids;
    this.record = record;
    this.said = h("div", { class: "buttons" });
    this.element = h(
      "article",
      { class: "card" },
      h(
        "div",
        { class: "row between" },
        h("h2", {}, vertical.name),
        h("span", { class: "muted" }, t("try.took", { duration: latency(seconds) })),
      ),
      this.#answer(),
      this.answer.truncated && h("p", { class: "notice warn" }, t("try.truncated")),
      h("p", { class: "hint" }, found.model),
      may("feedback") && this.said,
    );
    this.#ask();
  }

  #answer() {
    const { answer } = this;
    const parts = [];
    if (typeof answer.label === "string") parts.push(h("p", { class: "answer-label" }, answer.label, sureness(answer.probability)));
    if (Array.isArray(answer.labels))
      parts.push(h("p", { class: "answer-label" }, answer.labels.length ? listed(answer.labels) : t("try.nolabels")));
    if (typeof answer.score === "number") parts.push(h("p", { class: "answer-label" }, number(answer.score, 4)));
    if (Array.isArray(answer.spans)) parts.push(this.#spans());
    if (answer.probabilities && typeof answer.probabilities === "object") parts.push(bars(answer.probabilities));
    if (typeof answer.cosine === "number")
      parts.push(h("p", { class: "answer-label" }, t("try.cosine", { value: number(answer.cosine, 3) })));
    parts.push(h("details", {}, h("summary", {}, t("try.raw")), h("pre", { tabindex: "0" }, JSON.stringify(answer, shortened, 2))));
    return parts;
  }

  /** Return the text with its spans marked. Spans are places in one field: the longest one that contains their end. */
  #spans() {
    const { spans } = this.answer;
    if (!spans.length) return h("p", { class: "answer-label" }, t("try.nospans"), sureness(this.answer.probability));
    const text = this.#marked();
    const hues = new Map([...new Set(spans.map((span) => span.label))].map((label, place) => [label, place % 8]));
    const offsets = new Offsets(text);
    const parts = [];
    let place = 0;
    for (const span of [...spans].sort((one, other) => one.start - other.start)) {
      const [start, end] = [offsets.fromPoints(span.start), offsets.fromPoints(span.end)];
      if (start < place) continue;
      const about = span.probability ?? this.answer.probability;
      const name = `${span.label}${about === undefined ? "" : ` ${percent(about)}`}`;
      parts.push(text.slice(place, start), h("mark", { class: `hue-${hues.get(span.label)}`, "data-label": name }, text.slice(start, end)));
      place = end;
    }
    return h("p", { class: "marked-text shown" }, parts, text.slice(place));
  }

  #marked() {
    const end = Math.max(...this.answer.spans.map((span) => span.end));
    const texts = Object.values(this.record).filter((text) => typeof text === "string");
    const exact = texts.find((text) => this.answer.text && text.includes(this.answer.text) && text.length >= end);
    return exact ?? texts.filter((text) => [...text].length >= end)[0] ?? texts[0] ?? "";
  }

  /** Ask whether the answer is right. */
  #ask() {
    replace(
      this.said,
      h("span", {}, t("try.right")),
      h("button", { type: "button", onclick: () => this.#store({ verdict: "right" }) }, t("try.yes")),
      h("button", { type: "button", onclick: () => this.#wrong() }, t("try.no")),
    );
  }

  async #wrong() {
    const input = corrector(this.answer, this.vertical.labels ?? []);
    const comment = h("input", { maxlength: 10_000, autocomplete: "off" });
    const content = [input?.element, field(t("try.comment"), comment)];
    const value = () => {
      const target = input?.value();
      return { ...(target === undefined || target === null ? { verdict: "wrong" } : { target }), comment: comment.value.trim() || null };
    };
    const body = await dialog(t("try.correct.title"), content, [{ label: t("try.send"), value }]);
    if (body) await this.#store(body);
  }

  async #store(body) {
    const stored = await attempt(() => send("POST", "/v1/feedback", { answer: this.id, record: this.record, ...body }));
    if (!stored) return;
    replace(this.said, h("span", { class: "badge good" }, t("try.thanks")));
    const undo = async () => {
      await attempt(() => send("DELETE", at`/v1/feedback/${stored.id}`));
      this.#ask();
    };
    show(t("try.stored"), { action: { label: t("action.undo"), run: undo } });
  }
}

function sureness(probability) {
  return typeof probability === "number" && h("span", { class: "muted" }, ` ${percent(probability, 1)}`);
}

/** Return probabilities as bars, the greatest first. */
function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const row = ([label, value]) => [
    h("dt", {}, label),
    h("dd", {}, h("span", { class: "bar", vars: { share: percent(value, 2) } }), h("span", { class: "bar-value" }, percent(value, 1))),
  ];
  const rest = sorted.slice(SHOWN);
  return [
    h("dl", { class: "bars" }, sorted.slice(0, SHOWN).map(row)),
    rest.length > 0 && h("details", {}, h("summary", {}, t("try.rest", { count: rest.length })), h("dl", { class: "bars" }, rest.map(row))),
  ];
}

/** Return what takes the right answer, by the form of an answer; null if it can't be typed in. */
function corrector(answer, labels) {
  if (typeof answer.label === "string") {
    const list = select(
      [["", t("try.correct.unknown")], ...labels.filter((label) => label !== answer.label).map((label) => [label, label])],
      "",
    );
    return { element: field(t("try.correct"), list), value: () => list.value || null };
  }
  if (Array.isArray(answer.labels)) {
    const boxes = labels.map((label) => [label, checkbox(label, answer.labels.includes(label))]);
    const element = h(
      "fieldset",
      { class: "field" },
      h("legend", {}, t("try.correct")),
      boxes.map(([, box]) => box.element),
    );
    return { element, value: () => boxes.filter(([, box]) => box.input.checked).map(([label]) => label) };
  }
  if (typeof answer.score === "number") {
    const input = h("input", { type: "number", step: "any" });
    return { element: field(t("try.correct"), input), value: () => (input.value === "" ? null : Number(input.value)) };
  }
  return null;
}

/** Shorten long lists of numbers, such as embeddings. */
function shortened(_, value) {
  if (Array.isArray(value) && value.length > 12 && value.every((one) => typeof one === "number"))
    return [...value.slice(0, 8), `… ${value.length}`];
  return value;
}
