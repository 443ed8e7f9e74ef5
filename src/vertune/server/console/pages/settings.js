/** The settings of a labelling project, further records for it, and what ends it: closing and deleting. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { partsOf } from "../labelling/parts.js";
import { findProject, projectTabs } from "../labelling/projects.js";
import { ColumnChoice, RecordsFile, TASKS } from "../labelling/records-file.js";
import { SettingsForm } from "../labelling/settings-form.js";
import { shapeOf } from "../labelling/shape.js";
import { attempt, confirm, show } from "../messages.js";
import { t } from "../phrases.js";
import { go, link } from "../router.js";

export default async function settings({ root, params, signal, title, reload }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.settings")} · ${project.name}`);
  const path = at`/v1/projects/${project.name}`;
  const [queries, uploaded] = await Promise.all([
    partsOf("queries", signal),
    get("/v1/datasets", { limit: 200 }, { signal }).catch(() => null), // a server without jobs takes no files
  ]);
  const form = new SettingsForm(project.settings, shapeOf(project).type, queries);
  const save = async (event) => {
    event.preventDefault();
    const saved = await attempt(() => send("PATCH", path, { settings: form.value() }));
    if (saved) show(t("settings.saved"), { kind: "good" });
  };
  const turn = async () => {
    const state = project.state === "open" ? "closed" : "open";
    if (await attempt(() => send("PATCH", path, { state }))) reload();
  };
  const remove = async () => {
    if (!(await confirm(t("settings.delete"), t("settings.delete.text", { name: project.name }), t("settings.delete")))) return;
    await attempt(async () => {
      await send("DELETE", path);
      show(t("settings.deleted", { name: project.name }), { kind: "good" });
      go(link("/projects"));
    });
  };
  root.append(
    h("header", {}, h("h1", {}, project.name)),
    projectTabs(project, "/settings/{project}"),
    h(
      "form",
      { onsubmit: save },
      form.element,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, t("action.save"))),
    ),
    uploaded && project.state === "open" ? moreRecords(project, path, uploaded.datasets) : "",
    h(
      "section",
      { class: "later" },
      h("h2", {}, t("settings.end")),
      h("p", { class: "muted" }, t(`settings.end.${project.state === "open" ? "open" : "closed"}`)),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: turn }, project.state === "open" ? t("settings.close") : t("settings.reopen")),
        h("button", { type: "button", class: "danger", onclick: remove }, t("settings.delete")),
      ),
    ),
  );
}

/** Return the form that adds the records of a further file. */
function moreRecords(project, path, datasets) {
  const task = TASKS[project.task] ?? { inputs: Object.keys(project.fields), optional: [], target: project.target };
  const columns = new ColumnChoice();
  const add = h("button", { type: "submit", disabled: true }, t("settings.more.add"));
  const result = h("div", { role: "status" });
  const file = new RecordsFile(datasets, (dataset) => {
    add.disabled = dataset === null;
    columns.show(task, dataset);
    return null;
  });
  columns.show(task, null);
  const submit = async (event) => {
    event.preventDefault();
    add.disabled = true;
    const found = await attempt(() => send("POST", `${path}/records`, { dataset: file.dataset.id, fields: columns.value() }));
    add.disabled = false;
    if (found) replace(result, outcome(found));
  };
  return h(
    "section",
    { class: "later" },
    h("h2", {}, t("settings.more")),
    h("p", { class: "muted" }, t("settings.more.text")),
    h("form", { onsubmit: submit }, file.element, columns.element, h("div", { class: "buttons" }, add), result),
  );
}

/** Return what became of the records of a file. */
function outcome({ added, known, labelled, notes }) {
  const counts = [
    t("settings.more.added", { count: added }),
    known ? t("settings.more.known", { count: known }) : "",
    labelled ? t("settings.more.labelled", { count: labelled }) : "",
  ];
  const written = notes.map((note) => h("p", { class: "hint", lang: "en" }, `${note.where}: ${note.count} / ${note.of} ${note.what}.`));
  return h("div", { class: "notice good" }, h("p", {}, counts.filter(Boolean).join(" ")), written);
}
