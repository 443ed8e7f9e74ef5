/** The file with records of a project: uploaded or chosen, and the columns that its fields are read from. */

import { send, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, showError } from "../messages.js";
import { bytes, hasPhrase, listed, moment, t } from "../phrases.js";
import { ACCEPTED, MEDIA } from "../serving/upload.js";

/** The fields of each task that a file can have; the target is for labels that are there already. */
export const TASKS = {
  classify: { inputs: ["text"], optional: ["text_pair"], target: "label", type: "label" },
  multilabel: { inputs: ["text"], optional: ["text_pair"], target: "labels", type: "labels" },
  tag: { inputs: ["text"], optional: [], target: "spans", type: "spans" },
  match: { inputs: ["text", "text_pair"], optional: [], target: "label", type: "label" },
  regress: { inputs: ["text"], optional: ["text_pair"], target: "score", type: "number" },
  extract: { inputs: ["question", "context"], optional: [], target: "answers", type: "answers" },
};

/** A file that is uploaded, or chosen among those that were. */
export class RecordsFile {
  /** `changed(dataset)` is called with the file, or null; it returns what else is said of it. */
  constructor(datasets, changed) {
    this.datasets = datasets;
    this.dataset = null;
    this.changed = changed;
    this.busy = h("p", { role: "status", class: "hint" });
    this.report = h("div", {});
    this.file = h("input", { type: "file", accept: ACCEPTED, onchange: () => this.file.files.length && this.#upload(this.file.files[0]) });
    this.uploaded = select(this.#options(), "", { onchange: () => this.#choose(this.uploaded.value) });
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "fields" },
        field(t("new.upload"), this.file, t("new.upload.hint")),
        datasets.length > 0 && field(t("new.dataset"), this.uploaded),
      ),
      this.busy,
      this.report,
    );
  }

  /** Begin with an uploaded file, by its id. */
  begin(id) {
    this.uploaded.value = id;
    this.#choose(id);
  }

  #options() {
    const named = this.datasets.map((one) => [one.id, t("new.dataset.option", { name: one.name || one.id, at: moment(one.at) })]);
    return [["", t("new.dataset.choose")], ...named];
  }

  async #upload(file) {
    const type = MEDIA[file.name.split(".").at(-1).toLowerCase()];
    if (!type) return showError(Object.assign(new Error(t("new.upload.type", { name: file.name })), { status: 415 }));
    this.busy.textContent = t("new.uploading", { name: file.name, size: bytes(file.size) });
    this.#choose("");
    const headers = { "Content-Type": type };
    const found = await attempt(() => send("POST", withQuery("/v1/datasets", { name: file.name.slice(0, 120) }), file, { headers }));
    this.busy.textContent = "";
    if (!found) return undefined;
    this.datasets.unshift(found);
    replace(this.uploaded, this.#options().map(([value, text]) => h("option", { value }, text)));
    return this.begin(found.id);
  }

  #choose(id) {
    this.dataset = this.datasets.find((one) => one.id === id) ?? null;
    const more = this.changed(this.dataset);
    if (!this.dataset) return replace(this.report);
    const { report } = this.dataset;
    return replace(
      this.report,
      h(
        "div",
        { class: "notice" },
        h("p", {}, t("new.rows", { count: report.rows }), " ", t("new.columns", { columns: listed(report.columns) })),
        report.unreadable > 0 && h("p", {}, t("new.unreadable", { count: report.unreadable })),
        more,
      ),
    );
  }
}

/** Which columns of a file the fields of a task are read from. */
export class ColumnChoice {
  #chosen = {};
  element = h("div", { class: "fields" });

  /** Show the choice for a task {inputs, optional, target} and a file, or null. */
  show(task, dataset) {
    const columns = dataset?.report.columns ?? [];
    const guess = dataset?.report.guess?.fields ?? {};
    const used = (name) => [guess[name]].flat()[0] ?? (columns.includes(name) ? name : "");
    this.#chosen = {};
    const made = (name, required) => {
      const options = [...(required ? [] : [["", t("new.column.none")]]), ...columns.map((column) => [column, column])];
      this.#chosen[name] = select(options, used(name) || (required ? columns[0] : ""));
      return field(hasPhrase(`new.field.${name}`) ? t(`new.field.${name}`) : name, this.#chosen[name]);
    };
    const parts = [
      task.inputs.map((name) => made(name, true)), task.optional.map((name) => made(name, false)), made(task.target, false),
    ];
    replace(this.element, columns.length ? parts : h("p", { class: "hint" }, t("new.columns.first")));
  }

  /** Return the column of each field that has one. */
  value() {
    const chosen = Object.entries(this.#chosen).map(([name, input]) => [name, input.value]);
    return Object.fromEntries(chosen.filter(([, column]) => column));
  }
}
