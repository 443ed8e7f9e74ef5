/** Starts a training: which rows, which question, on which base and with which method; everything else has a default that is explained. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { attempt, showError } from "../messages.js";
import { moment, t } from "../phrases.js";
import { go, link } from "../router.js";
import { may } from "../session.js";
import { merged, TrainingOptions } from "../serving/training-options.js";
import { OptionsForm } from "../serving/options-form.js";
import { taskName } from "../serving/metrics.js";
import { fieldName, partAbout } from "../serving/parts.js";

/** The fields of a task, and whether each is needed; of another task, those that the file seems to be made for. */
const FIELDS = {
  classify: { text: true, text_pair: false, label: true },
  multilabel: { text: true, text_pair: false, labels: true },
  tag: { text: true, spans: true },
  match: { text: true, text_pair: true, label: true },
  regress: { text: true, text_pair: false, score: true },
  extract: { question: true, context: true, answers: true },
  embed: { text: true, text_pair: true },
};
const BASES = ["auto", "minilm", "e5-zh-en", "e5"];
const DATASET = "dataset:";
const PROJECT = "project:";

export default async function train({ root, query, signal }) {
  const [{ kinds }, { datasets }, { projects }, { verticals }] = await Promise.all([
    get("/v1/parts", {}, { signal }),
    get("/v1/datasets", { limit: 200 }, { signal }),
    may("label") ? get("/v1/projects", {}, { signal }) : { projects: [] },
    may("predict") ? get("/v1/verticals", {}, { signal }) : { verticals: [] },
  ]);
  root.append(h("header", {}, h("h1", {}, t("train.title"))));
  const labelled = projects.filter((project) => project.labelled > 0 || project.given > 0);
  if (!datasets.length && !labelled.length) {
    const links = [
      h("a", { class: "button primary", href: link("/data") }, t("train.upload")),
      may("label") && h("a", { class: "button", href: link("/projects") }, t("train.projects")),
    ];
    root.append(h("div", { class: "empty" }, h("p", {}, t("train.none")), h("div", { class: "buttons centred" }, links)));
    return;
  }
  const form = new Train({ kinds, datasets, projects: labelled, verticals, signal });
  root.append(form.element);
  const asked = query.project ? PROJECT + query.project : query.dataset ? DATASET + query.dataset : "";
  await form.choose(asked);
}

class Train {
  constructor({ kinds, datasets, projects, verticals, signal }) {
    Object.assign(this, { datasets, projects, signal });
    this.kinds = Object.fromEntries(kinds.map((kind) => [kind.folder, kind.parts]));
    this.source = h("select", { required: true, onchange: () => this.choose(this.source.value).catch(showError) }, this.#sources());
    this.task = select(
      this.kinds.tasks.map((part) => [part.name, taskName(part.name)]),
      "classify",
      { onchange: () => this.#chooseTask() },
    );
    this.about = h("p", { class: "hint" });
    this.columns = h("div", { class: "fields" });
    this.question = h("div", {});
    this.name = h("input", {
      required: true,
      maxlength: 80,
      autocomplete: "off",
      list: "verticals-known",
      pattern: "[\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}_.\\-]*",
    });
    const known = h(
      "datalist",
      { id: "verticals-known" },
      verticals.map((one) => h("option", { value: one.name })),
    );
    this.base = select(
      BASES.map((one) => [one, t(`train.base.${one}`)]),
      "auto",
    );
    this.method = select([["auto", t("train.method.auto")], ...this.kinds.methods.map((part) => [part.name, part.name])], "auto", {
      onchange: () => this.#chooseMethod(),
    });
    this.methodAbout = h("p", { class: "hint" });
    this.taskOptions = h("div", {});
    this.methodOptions = h("div", {});
    this.more = new TrainingOptions(this.kinds, datasets);
    this.accept = checkbox(t("train.accept"), false);
    this.preview = h("pre", { tabindex: "0" });
    const shown = h("details", { ontoggle: () => shown.open && this.#preview() }, h("summary", {}, t("train.preview")), this.preview);
    this.start = h("button", { type: "submit", class: "primary" }, t("train.start"));
    this.element = h(
      "form",
      { onsubmit: (event) => this.#submit(event), onchange: () => shown.open && this.#preview() },
      h("section", {}, h("h2", {}, t("train.rows")), field(t("train.source"), this.source, t("train.source.hint")), this.question),
      h(
        "section",
        {},
        h("h2", {}, t("train.model")),
        h(
          "div",
          { class: "fields" },
          field(t("train.name"), this.name, t("train.name.hint")),
          field(t("train.base"), this.base, t("train.base.hint")),
          field(t("train.method"), this.method, t("train.method.hint")),
        ),
        known,
        this.methodAbout,
        this.methodOptions,
      ),
      h("details", { class: "card" }, h("summary", {}, t("train.more")), this.more.element, this.accept.element),
      shown,
      h("div", { class: "buttons later" }, this.start, h("span", { class: "hint" }, t("train.start.hint"))),
    );
    this.#chooseMethod();
  }

  #sources() {
    const named = (one) =>
      h("option", { value: DATASET + one.id }, t("train.dataset.option", { name: one.name || one.id, at: moment(one.at) }));
    return [
      this.datasets.length > 0 && h("optgroup", { label: t("train.datasets") }, this.datasets.map(named)),
      this.projects.length > 0 &&
        h(
          "optgroup",
          { label: t("train.projects.labels") },
          this.projects.map((one) => h("option", { value: PROJECT + one.name }, one.name)),
        ),
    ];
  }

  /** Choose the rows: `dataset:ID` or `project:NAME`; the first that there are if these do not exist. */
  async choose(source) {
    const values = [...this.source.options].map((option) => option.value);
    this.source.value = values.includes(source) ? source : values[0];
    const chosen = this.source.value;
    this.project = chosen.startsWith(PROJECT) ? this.projects.find((one) => PROJECT + one.name === chosen) : null;
    this.dataset = chosen.startsWith(DATASET) ? this.datasets.find((one) => DATASET + one.id === chosen) : null;
    if (!this.name.value || this.name.value === this.proposed)
      this.name.value = this.proposed = nameFrom(this.project?.name ?? this.dataset.name);
    if (this.project) {
      this.options = null;
      replace(
        this.question,
        h("p", { class: "notice" }, t("train.project.about", { task: taskName(this.project.task), count: this.project.labelled ?? 0 })),
      );
      return;
    }
    const { guess } = this.dataset.report;
    this.guess = typeof guess?.task === "object" && guess.task ? guess.task : guess ? { name: guess.task } : null;
    if (this.guess && this.kinds.tasks.some((part) => part.name === this.guess.name)) this.task.value = this.guess.name;
    replace(
      this.question,
      field(t("train.task"), this.task, t("train.task.hint")),
      this.about,
      (guess?.warnings ?? []).map((warning) => h("p", { class: "notice warn" }, warning)),
      this.columns,
      this.taskOptions,
    );
    await this.#chooseTask();
  }

  async #chooseTask() {
    const name = this.task.value;
    this.about.textContent = partAbout(
      "tasks",
      this.kinds.tasks.find((part) => part.name === name),
    );
    const { report } = this.dataset;
    const guessed = this.guess?.name === name ? report.guess.fields : {};
    const needed = this.guess?.inputs && this.guess.name === name ? {} : (FIELDS[name] ?? {});
    this.fields = new Map();
    const names = [...new Set([...Object.keys(needed), ...Object.keys(guessed)])];
    replace(
      this.columns,
      names.map((one) => this.#column(one, needed[one] ?? true, guessed[one], report.columns)),
    );
    await this.#optionsOf("tasks", name, this.taskOptions, (form) => {
      this.options = form;
    });
  }

  #column(name, required, guessed, columns) {
    const several = Array.isArray(guessed) && guessed.length > 1;
    const first = [guessed].flat()[0] ?? (columns.includes(name) ? name : "");
    const chosen = several ? JSON.stringify(guessed) : first;
    const options = [
      ...(required && chosen ? [] : [["", t("train.column.none")]]),
      ...(several ? [[JSON.stringify(guessed), guessed.join(" + ")]] : []),
      ...columns.map((column) => [column, column]),
    ];
    const input = select(options, chosen, { required });
    this.fields.set(name, { input, several });
    return field(t("train.column", { name: fieldName(name) }), input);
  }

  async #chooseMethod() {
    const name = this.method.value;
    this.methodAbout.textContent =
      name === "auto"
        ? ""
        : partAbout(
            "methods",
            this.kinds.methods.find((part) => part.name === name),
          );
    this.methodForm = null;
    replace(this.methodOptions);
    if (name === "auto") return;
    await this.#optionsOf("methods", name, this.methodOptions, (form) => {
      this.methodForm = form;
    });
  }

  /** Show the options of a part, folded. */
  async #optionsOf(folder, name, place, keep) {
    const about = await attempt(() => get(at`/v1/parts/${folder}/${name}`, {}, { signal: this.signal }));
    if (!about || (folder === "tasks" ? this.task : this.method).value !== name) return;
    const form = new OptionsForm(about.schema, ["inputs"]);
    keep(form);
    replace(place, h("details", {}, h("summary", {}, t("train.options", { name })), helpOf(about.help), form.element));
  }

  /** Return the request that starts the training: its path and its body. */
  #request() {
    const method = this.method.value === "auto" ? "auto" : { name: this.method.value, ...this.methodForm?.value() };
    const shared = merged({ method, base: this.base.value }, this.more.value());
    const name = this.name.value.trim();
    if (this.project) {
      return {
        path: at`/v1/projects/${this.project.name}/train`,
        body: { vertical: name, config: shared, accept: this.accept.input.checked },
      };
    }
    const chosen = [...this.fields].filter(([, { input }]) => input.value);
    const fields = Object.fromEntries(
      chosen.map(([one, { input, several }]) => [one, several && input.value.startsWith("[") ? JSON.parse(input.value) : input.value]),
    );
    const guessed = this.guess?.name === this.task.value ? this.guess : {};
    const task = { ...guessed, name: this.task.value, ...this.options?.value() };
    const config = merged({ name, task, data: { source: { dataset: this.dataset.id }, fields } }, shared);
    return { path: "/v1/jobs", body: { kind: "fit", config, accept: this.accept.input.checked } };
  }

  #preview() {
    try {
      const { path, body } = this.#request();
      this.preview.textContent = `POST ${path}\n${JSON.stringify(body, null, 2)}`;
    } catch (error) {
      this.preview.textContent = error.message;
    }
  }

  async #submit(event) {
    event.preventDefault();
    this.start.disabled = true;
    const job = await attempt(async () => {
      const { path, body } = this.#request();
      return send("POST", path, body);
    });
    this.start.disabled = false;
    if (job) go(link("/jobs/{id}", { id: job.id }));
  }
}

/** Return a help text as paragraphs; its lines are wrapped for a terminal. */
function helpOf(text) {
  return text.split(/\n\s*\n/).map((part) => h("p", { class: "help" }, part.replaceAll("\n", " ")));
}

/** Return a name for a vertical from that of a file. */
function nameFrom(file) {
  return (file || "vertical")
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60);
}
