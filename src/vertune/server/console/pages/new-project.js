/** Makes a labelling project of a file: its records, its task, its labels and rules. */

import { get, send, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { partsOf } from "../labelling/parts.js";
import { SettingsForm } from "../labelling/settings-form.js";
import { attempt, showError } from "../messages.js";
import { bytes, listed, moment, t } from "../phrases.js";
import { go, link } from "../router.js";

/** The fields of each task that a file can have; the target is for labels that are there already. */
const TASKS = {
  classify: { inputs: ["text"], optional: ["text_pair"], target: "label", type: "label" },
  multilabel: { inputs: ["text"], optional: ["text_pair"], target: "labels", type: "labels" },
  tag: { inputs: ["text"], optional: [], target: "spans", type: "spans" },
  match: { inputs: ["text", "text_pair"], optional: [], target: "label", type: "label" },
  regress: { inputs: ["text"], optional: ["text_pair"], target: "score", type: "number" },
  extract: { inputs: ["question", "context"], optional: [], target: "answers", type: "answers" },
};
const MEDIA = { csv: "text/csv", jsonl: "application/x-ndjson", ndjson: "application/x-ndjson", parquet: "application/vnd.apache.parquet" };

export default async function newProject({ root, query, signal }) {
  const [{ datasets }, queries] = await Promise.all([get("/v1/datasets", { limit: 200 }, { signal }), partsOf("queries", signal)]);
  const page = new NewProject(datasets, queries);
  root.append(h("header", {}, h("h1", {}, t("page.newProject"))), page.element);
  if (datasets.some((one) => one.id === query.dataset)) page.begin(query.dataset);
}

class NewProject {
  constructor(datasets, queries) {
    this.datasets = datasets;
    this.dataset = null;
    this.busy = h("p", { role: "status", class: "hint" });
    this.report = h("div", {});
    this.columns = h("div", { class: "fields" });
    this.name = h("input", { required: true, maxlength: 80, autocomplete: "off" });
    this.task = select(Object.keys(TASKS).map((name) => [name, t(`task.${name}`)]), "classify", { onchange: () => this.#chooseTask() });
    this.form = new SettingsForm({}, "label", queries, { fresh: true });
    this.create = h("button", { type: "submit", class: "primary", disabled: true }, t("new.create"));
    this.element = h(
      "form",
      { onsubmit: (event) => this.#submit(event) },
      h("section", {}, h("h2", {}, t("new.records")), this.#source(), this.busy, this.report),
      h(
        "section",
        {},
        h("h2", {}, t("new.question")),
        h(
          "div",
          { class: "fields" },
          field(t("new.name"), this.name, t("new.name.hint")),
          field(t("new.task"), this.task, t("new.task.hint")),
        ),
        this.columns,
      ),
      this.form.element,
      h("div", { class: "buttons" }, this.create, h("a", { class: "button", href: link("/projects") }, t("action.cancel"))),
    );
    this.#chooseTask();
  }

  /** Begin with an uploaded file, by its id. */
  begin(id) {
    this.uploaded.value = id;
    this.#choose(id);
  }

  #source() {
    this.file = h("input", {
      type: "file", accept: ".csv,.jsonl,.ndjson,.parquet", onchange: () => this.file.files.length && this.#upload(this.file.files[0]),
    });
    this.uploaded = select(this.#options(), "", { onchange: () => this.#choose(this.uploaded.value) });
    return h(
      "div",
      { class: "fields" },
      field(t("new.upload"), this.file, t("new.upload.hint")),
      this.datasets.length ? field(t("new.dataset"), this.uploaded) : null,
    );
  }

  #options() {
    const named = this.datasets.map((one) => [one.id, t("new.dataset.option", { name: one.name || one.id, at: moment(one.at) })]);
    return [["", t("new.dataset.choose")], ...named];
  }

  async #upload(file) {
    const type = MEDIA[file.name.split(".").at(-1).toLowerCase()];
    if (!type) return showError(Object.assign(new Error(t("new.upload.type", { name: file.name })), { status: 415 }));
    this.busy.textContent = t("new.uploading", { name: file.name, size: bytes(file.size) });
    this.create.disabled = true;
    const headers = { "Content-Type": type };
    const found = await attempt(() => send("POST", withQuery("/v1/datasets", { name: file.name.slice(0, 120) }), file, { headers }));
    this.busy.textContent = "";
    if (!found) return undefined;
    this.datasets.unshift(found);
    replace(this.uploaded, this.#options().map(([value, text]) => h("option", { value }, text)));
    this.uploaded.value = found.id;
    return this.#choose(found.id);
  }

  #choose(id) {
    this.dataset = this.datasets.find((one) => one.id === id) ?? null;
    this.create.disabled = this.dataset === null;
    if (!this.dataset) return replace(this.report);
    const { report } = this.dataset;
    const guess = report.guess?.task;
    const guessed = typeof guess === "object" && guess ? guess.name : guess;
    if (guessed in TASKS) this.task.value = guessed;
    if (!this.name.value) this.name.value = nameFrom(this.dataset.name);
    const bad = report.unreadable ? t("new.unreadable", { count: report.unreadable }) : "";
    replace(
      this.report,
      h(
        "div",
        { class: "notice" },
        h("p", {}, t("new.rows", { count: report.rows }), " ", t("new.columns", { columns: listed(report.columns) })),
        bad && h("p", {}, bad),
        guessed in TASKS && h("p", {}, t("new.guess", { task: t(`task.${guessed}`) })),
        [...(report.guess?.warnings ?? []), ...report.notes].map((note) => h("p", { class: "hint" }, note)),
      ),
    );
    return this.#chooseTask();
  }

  /** Show which columns the fields of the task are read from. */
  #chooseTask() {
    const about = TASKS[this.task.value];
    this.form.show(about.type);
    const columns = this.dataset?.report.columns ?? [];
    const guess = this.dataset?.report.guess?.fields ?? {};
    const used = (name) => [guess[name]].flat()[0] ?? (columns.includes(name) ? name : "");
    this.fields = {};
    const made = (name, required) => {
      const options = [...(required ? [] : [["", t("new.column.none")]]), ...columns.map((column) => [column, column])];
      this.fields[name] = select(options, used(name) || (required ? columns[0] : ""));
      return field(t(`new.field.${name}`), this.fields[name]);
    };
    const parts = [
      about.inputs.map((name) => made(name, true)), about.optional.map((name) => made(name, false)), made(about.target, false),
    ];
    replace(this.columns, columns.length ? parts : h("p", { class: "hint" }, t("new.columns.first")));
  }

  async #submit(event) {
    event.preventDefault();
    const chosen = Object.entries(this.fields).map(([name, input]) => [name, input.value]);
    const body = {
      name: this.name.value.trim(),
      dataset: this.dataset.id,
      task: { name: this.task.value },
      fields: Object.fromEntries(chosen.filter(([, column]) => column)),
      settings: this.form.value(),
    };
    this.create.disabled = true;
    const project = await attempt(() => send("POST", "/v1/projects", body));
    this.create.disabled = false;
    if (project) go(link("/label/{project}", { project: project.name }));
  }
}

/** Return a name for a project from that of a file. */
function nameFrom(file) {
  return file.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
}
