/** The settings of a labelling project, and what ends it: closing and deleting. */

import { at, send } from "../api.js";
import { h } from "../dom.js";
import { partsOf } from "../labelling/parts.js";
import { findProject, projectTabs } from "../labelling/projects.js";
import { SettingsForm } from "../labelling/settings-form.js";
import { shapeOf } from "../labelling/shape.js";
import { attempt, confirm, show } from "../messages.js";
import { t } from "../phrases.js";
import { go, link } from "../router.js";

export default async function settings({ root, params, signal, title, reload }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.settings")} · ${project.name}`);
  const path = at`/v1/projects/${project.name}`;
  const form = new SettingsForm(project.settings, shapeOf(project).type, await partsOf("queries", signal));
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
