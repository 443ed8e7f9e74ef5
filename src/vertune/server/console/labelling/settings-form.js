/** The settings of a labelling project as a form: labels, guidelines and rules. */

import { h, replace } from "../dom.js";
import { field, radios, select } from "../forms.js";
import { hasPhrase, t } from "../phrases.js";
import { markdown } from "./markdown.js";

const TYPES_WITH_PLACES = new Set(["spans", "answers"]);
/** Targets of which the most probable label can be computed. */
const TYPES_OF_LABELS = new Set(["label", "labels"]);
/** Targets without a learning curve. */
const TYPES_WITHOUT_CURVE = new Set(["number", "answers"]);
/** New labels until the next training, if nobody says how many. */
const USUAL_COUNT = 500;

export class SettingsForm {
  /**
   * `settings` are the present ones, `type` is that of the target, and `queries` are the parts that choose which records come first. A
   * `fresh` project can still choose how its records are divided.
   */
  constructor(settings, type, queries, { fresh = false } = {}) {
    this.fresh = fresh;
    this.queries = queries;
    this.settings = settings;
    this.labels = new LabelRows(settings.labels ?? []);
    this.hint = h("p", { class: "hint" });
    this.labelsPart = h("section", {}, h("h2", {}, t("settings.labels")), this.hint, this.labels.element);
    this.guidelines = h("textarea", { rows: 8, maxlength: 200_000, oninput: () => this.#preview() }, settings.guidelines ?? "");
    this.preview = h("div", { class: "guidelines-text" });
    this.overlap = number({ min: 1, max: 20, step: 1 }, settings.overlap ?? 1);
    this.batch = number({ min: 5, max: 1000, step: 1 }, settings.batch ?? 50);
    this.hold = number({ min: 0, max: 50, step: 1 }, Math.round((settings.hold_out ?? 0.1) * 100));
    this.wanted = number({ min: 1, max: 99, step: 1 }, Math.round((settings.target ?? 0.9) * 100));
    this.query = select(this.#queries(), queryName(settings.query));
    this.suggestions = radios(
      t("settings.suggestions"),
      ["shown", "hidden"].map((value) => [value, t(`settings.suggestions.${value}`), t(`settings.suggestions.${value}.hint`)]),
      settings.suggestions ?? "shown",
    );
    this.snap = radios(
      t("settings.snap"),
      ["words", "characters"].map((value) => [value, t(`settings.snap.${value}`), t(`settings.snap.${value}.hint`)]),
      settings.snap ?? "words",
    );
    this.consensus = radios(
      t("settings.consensus"),
      ["majority", "dawid_skene"].map((value) => [value, t(`settings.consensus.${value}`), t(`settings.consensus.${value}.hint`)]),
      settings.consensus ?? "majority",
    );
    const after = settings.train_after ?? "never";
    const turn = typeof after === "number" ? "labels" : after;
    const turns = ["never", "labels", "curve"].map((value) => [value, t(`settings.train.${value}`)]);
    this.train = select(turns, turn, { onchange: () => this.#showCount() });
    this.count = number({ min: 20, max: 1_000_000, step: 1 }, typeof after === "number" ? after : USUAL_COUNT);
    this.countField = field(t("settings.train.count"), this.count);
    this.element = h("div", {}, this.#parts());
    this.show(type);
    this.#showCount();
    this.#preview();
  }

  /** Show what a target of this type needs. */
  show(type) {
    this.snap.element.hidden = !TYPES_WITH_PLACES.has(type);
    this.labelsPart.hidden = type === "answers";
    this.consensus.element.hidden = !TYPES_OF_LABELS.has(type);
    const [curve] = [...this.train.options].filter((one) => one.value === "curve");
    curve.disabled = TYPES_WITHOUT_CURVE.has(type);
    if (curve.disabled && curve.selected) this.train.value = "never";
    this.hint.textContent = t(`settings.labels.${type === "number" ? "scale" : "hint"}`);
  }

  /** Return the settings as the server takes them. */
  value() {
    return {
      guidelines: this.guidelines.value,
      labels: this.labelsPart.hidden ? [] : this.labels.value(),
      batch: Number(this.batch.value),
      query: this.query.value === queryName(this.settings.query) ? (this.settings.query ?? "auto") : this.query.value,
      suggestions: this.suggestions.value,
      snap: this.snap.value,
      target: Number(this.wanted.value) / 100,
      consensus: this.consensus.element.hidden ? "majority" : this.consensus.value,
      train_after: this.train.value === "labels" ? Number(this.count.value) : this.train.value,
      ...(this.fresh ? { overlap: Number(this.overlap.value), hold_out: Number(this.hold.value) / 100 } : {}),
    };
  }

  #parts() {
    const rules = [
      this.fresh && field(t("settings.overlap"), this.overlap, t("settings.overlap.hint")),
      field(t("settings.query"), this.query, t("settings.query.hint")),
      field(t("settings.batch"), this.batch, t("settings.batch.hint")),
      field(t("settings.target"), this.wanted, t("settings.target.hint")),
      this.fresh && field(t("settings.holdOut"), this.hold, t("settings.holdOut.hint")),
      field(t("settings.train"), this.train, t("settings.train.hint")),
      this.countField,
    ];
    const choices = [this.suggestions, this.consensus, this.snap].map((one) => one.element);
    return [
      this.labelsPart,
      h(
        "section",
        {},
        h("h2", {}, t("settings.guidelines")),
        field(t("settings.guidelines.text"), this.guidelines, t("settings.guidelines.hint")),
        h("details", { class: "field" }, h("summary", {}, t("settings.guidelines.preview")), this.preview),
      ),
      h("section", {}, h("h2", {}, t("settings.rules")), h("div", { class: "fields" }, rules), choices),
    ];
  }

  #queries() {
    const known = this.queries.map(({ name, about }) => [name, hasPhrase(`settings.query.${name}`) ? t(`settings.query.${name}`) : about]);
    return [["auto", t("settings.query.auto")], ...known];
  }

  #showCount() {
    this.countField.hidden = this.train.value !== "labels";
  }

  #preview() {
    replace(this.preview, markdown(this.guidelines.value));
  }
}

function queryName(query) {
  return typeof query === "object" && query !== null ? query.name : (query ?? "auto");
}

function number(limits, value) {
  return h("input", { type: "number", required: true, ...limits, value });
}

/** A list of labels with descriptions and examples that can be changed. */
class LabelRows {
  constructor(labels) {
    this.rows = [];
    this.list = h("ol", { class: "label-rows" });
    const add = h("button", { type: "button", onclick: () => this.#add({}).name.focus() }, t("settings.label.add"));
    const paste = h("button", { type: "button", onclick: () => this.#paste() }, t("settings.label.paste"));
    const about = { "aria-label": t("settings.label.paste"), placeholder: t("settings.label.paste.hint") };
    this.many = h("textarea", { rows: 4, hidden: true, ...about });
    this.element = h("div", { class: "field" }, this.list, this.many, h("div", { class: "buttons" }, add, paste));
    for (const label of labels) this.#add(typeof label === "string" ? { name: label } : label);
  }

  /** Return the labels; rows without a name are left out. */
  value() {
    this.#take();
    return this.rows
      .map(({ name, description, examples }) => ({
        name: name.value.trim(),
        description: description.value.trim(),
        examples: examples.value.split("\n").map((line) => line.trim()).filter(Boolean),
      }))
      .filter((label) => label.name);
  }

  #add(label) {
    const named = (text) => ({ "aria-label": text, placeholder: text });
    const row = {
      name: h("input", { value: label.name ?? "", maxlength: 200, ...named(t("settings.label.name")) }),
      description: h("input", { value: label.description ?? "", ...named(t("settings.label.description")) }),
      examples: h("textarea", { rows: 1, ...named(t("settings.label.examples")) }, (label.examples ?? []).join("\n")),
    };
    const remove = () => {
      this.rows = this.rows.filter((one) => one !== row);
      row.element.remove();
    };
    const button = h("button", { type: "button", class: "plain icon", "aria-label": t("settings.label.remove"), onclick: remove }, "×");
    row.element = h("li", {}, row.name, row.description, row.examples, button);
    this.rows.push(row);
    this.list.append(row.element);
    return row;
  }

  /** Show a field for many labels, one a line; the second time, take them. */
  #paste() {
    if (this.many.hidden) {
      this.many.hidden = false;
      this.many.focus();
      return;
    }
    this.#take();
  }

  #take() {
    const there = new Set(this.rows.map((row) => row.name.value.trim()));
    for (const line of this.many.value.split("\n")) {
      const [name, ...rest] = line.split("\t");
      if (name.trim() && !there.has(name.trim())) this.#add({ name: name.trim(), description: rest.join(" ").trim() });
      there.add(name.trim());
    }
    this.many.value = "";
    this.many.hidden = true;
  }
}
