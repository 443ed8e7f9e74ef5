/** What of a training has a default that most people keep: time, passes, cleaning, further rows, a file for the test, and any other key. */

import { h } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { moment, t } from "../phrases.js";
import { partAbout } from "./parts.js";

export class TrainingOptions {
  /** `kinds` are the parts by folder, and `datasets` the uploaded files. */
  constructor(kinds, datasets) {
    const number = (attributes) => h("input", { type: "number", ...attributes });
    this.limit = number({ min: 1, step: 1, placeholder: "300" });
    this.epochs = number({ min: 0.1, step: "any", placeholder: "auto" });
    this.batch = number({ min: 1, max: 65536, step: 1, placeholder: "32" });
    this.seed = number({ min: 0, step: 1, placeholder: "0" });
    this.rate = number({ min: 0, step: "any", placeholder: "auto" });
    this.objective = select(
      ["auto", "labels", "contrastive"].map((one) => [one, t(`train.objective.${one}`)]),
      "auto",
    );
    this.companion = select(
      ["auto", "none"].map((one) => [one, t(`train.companion.${one}`)]),
      "auto",
    );
    const options = datasets.map((one) => [one.id, t("train.dataset.option", { name: one.name || one.id, at: moment(one.at) })]);
    this.test = select([["", t("train.test.cut")], ...options], "");
    this.cleaners = choices("cleaners", kinds);
    this.augmenters = choices("augmenters", kinds);
    this.other = h("textarea", { rows: 3, spellcheck: "false", placeholder: '{"training": {"patience": 3}}' });
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "fields" },
        field(t("train.limit"), this.limit, t("train.limit.hint")),
        field(t("train.epochs"), this.epochs, t("train.epochs.hint")),
        field(t("train.batch"), this.batch, t("train.batch.hint")),
        field(t("train.rate"), this.rate, t("train.rate.hint")),
        field(t("train.objective"), this.objective, t("train.objective.hint")),
        field(t("train.companion"), this.companion, t("train.companion.hint")),
        field(t("train.test"), this.test, t("train.test.hint")),
        field(t("train.seed"), this.seed, t("train.seed.hint")),
      ),
      group(t("train.clean"), this.cleaners),
      group(t("train.augment"), this.augmenters),
      field(t("train.other"), this.other, t("train.other.hint")),
    );
  }

  /** Return the keys of the config that differ from the defaults; throws an Error if the field for other keys has no JSON object. */
  value() {
    const training = {
      time_limit: given(this.limit),
      epochs: given(this.epochs),
      batch: given(this.batch),
      objective: this.objective.value === "auto" ? undefined : this.objective.value,
      optimiser: given(this.rate) === undefined ? undefined : { rate: given(this.rate) },
    };
    const data = {
      test: this.test.value ? { dataset: this.test.value } : undefined,
      clean: chosen(this.cleaners),
      augment: chosen(this.augmenters),
    };
    const found = {
      training: filled(training),
      data: filled(data),
      seed: given(this.seed),
      companion: this.companion.value === "auto" ? undefined : this.companion.value,
    };
    return merged(filled(found) ?? {}, this.#other());
  }

  #other() {
    const text = this.other.value.trim();
    if (!text) return {};
    try {
      const value = JSON.parse(text);
      if (value && typeof value === "object" && !Array.isArray(value)) return value;
    } catch {
      // refused below
    }
    throw Object.assign(new Error(t("train.other.json")), { status: 422 });
  }
}

/** Return two nested objects as one; values of the second one replace those of the first. */
export function merged(one, other) {
  const found = { ...one };
  for (const [key, value] of Object.entries(other)) {
    const nested = isObject(value) && isObject(found[key]);
    found[key] = nested ? merged(found[key], value) : value;
  }
  return found;
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function choices(folder, kinds) {
  return kinds[folder].map((part) => [part, checkbox(part.name, false), partAbout(folder, part)]);
}

function group(name, boxes) {
  const rows = boxes.map(([, box, about]) => h("div", {}, box.element, h("p", { class: "hint indented" }, about)));
  return h("fieldset", { class: "field" }, h("legend", {}, name), rows);
}

function chosen(boxes) {
  const names = boxes.filter(([, box]) => box.input.checked).map(([part]) => part.name);
  return names.length ? names : undefined;
}

function given(input) {
  return input.value === "" ? undefined : Number(input.value);
}

/** Return an object without what is undefined; undefined if nothing is left. */
function filled(value) {
  const left = Object.entries(value).filter(([, one]) => one !== undefined);
  return left.length ? Object.fromEntries(left) : undefined;
}
