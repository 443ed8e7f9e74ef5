/** Makes a labelling project of a file: its records, its task, its labels and rules. */

import { get, send } from "../api.js";
import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { partsOf } from "../labelling/parts.js";
import { ColumnChoice, RecordsFile, TASKS } from "../labelling/records-file.js";
import { SettingsForm } from "../labelling/settings-form.js";
import { attempt } from "../messages.js";
import { t } from "../phrases.js";
import { go, link } from "../router.js";

export default async function newProject({ root, query, signal }) {
  const [{ datasets }, queries] = await Promise.all([get("/v1/datasets", { limit: 200 }, { signal }), partsOf("queries", signal)]);
  const page = new NewProject(datasets, queries);
  root.append(h("header", {}, h("h1", {}, t("page.newProject"))), page.element);
  if (datasets.some((one) => one.id === query.dataset)) page.file.begin(query.dataset);
}

class NewProject {
  constructor(datasets, queries) {
    this.name = h("input", { required: true, maxlength: 80, autocomplete: "off" });
    this.task = select(Object.keys(TASKS).map((name) => [name, t(`task.${name}`)]), "classify", { onchange: () => this.#chooseTask() });
    this.columns = new ColumnChoice();
    this.form = new SettingsForm({}, "label", queries, { fresh: true });
    this.create = h("button", { type: "submit", class: "primary", disabled: true }, t("new.create"));
    this.file = new RecordsFile(datasets, (dataset) => this.#chooseFile(dataset));
    this.element = h(
      "form",
      { onsubmit: (event) => this.#submit(event) },
      h("section", {}, h("h2", {}, t("new.records")), this.file.element),
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
        this.columns.element,
      ),
      this.form.element,
      h("div", { class: "buttons" }, this.create, h("a", { class: "button", href: link("/projects") }, t("action.cancel"))),
    );
    this.#chooseTask();
  }

  /** Take what the file seems to be made for, and return what is said of it. */
  #chooseFile(dataset) {
    this.create.disabled = dataset === null;
    if (!dataset) return null;
    const { report } = dataset;
    const guess = report.guess?.task;
    const guessed = typeof guess === "object" && guess ? guess.name : guess;
    if (guessed in TASKS) this.task.value = guessed;
    if (!this.name.value) this.name.value = nameFrom(dataset.name);
    this.#chooseTask();
    return [
      guessed in TASKS && h("p", {}, t("new.guess", { task: t(`task.${guessed}`) })),
      [...(report.guess?.warnings ?? []), ...report.notes].map((note) => h("p", { class: "hint" }, note)),
    ];
  }

  #chooseTask() {
    const about = TASKS[this.task.value];
    this.form.show(about.type);
    this.columns.show(about, this.file?.dataset ?? null);
  }

  async #submit(event) {
    event.preventDefault();
    const body = {
      name: this.name.value.trim(),
      dataset: this.file.dataset.id,
      task: { name: this.task.value },
      fields: this.columns.value(),
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
