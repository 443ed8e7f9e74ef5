/** The labelling projects of the customer, with how far each is. */

import { get } from "../api.js";
import { h } from "../dom.js";
import { t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";

export default async function projects({ root, signal }) {
  const { projects: found } = await get("/v1/projects", {}, { signal });
  const create = may("train") && h("a", { class: "button primary", href: link("/projects/new") }, t("projects.create"));
  const open = found.filter((project) => project.state === "open");
  const closed = found.filter((project) => project.state !== "open");
  root.append(
    h("header", {}, h("h1", {}, t("projects.title")), create || ""),
    found.length ? h("div", { class: "cards" }, open.map(card)) : h("div", { class: "empty" }, h("p", {}, t("projects.none"))),
  );
  if (closed.length) {
    root.append(h("h2", { class: "later" }, t("projects.closed")), h("div", { class: "cards" }, closed.map(card)));
  }
}

function card(project) {
  const wanted = project.records * project.settings.overlap;
  const params = { project: project.name };
  const others = [
    ["/progress/{project}", t("page.progress"), true],
    ["/records/{project}", t("page.records"), may("review")],
    ["/review/{project}", t("page.review"), may("review")],
    ["/settings/{project}", t("page.settings"), may("train")],
  ];
  return h(
    "article",
    { class: "card" },
    h("div", { class: "row between" }, h("h2", {}, project.name), h("span", { class: "badge" }, t(`task.${project.task}`))),
    h("progress", { max: Math.max(1, wanted), value: Math.min(wanted, project.given), "aria-label": t("projects.progress") }),
    h(
      "p",
      { class: "muted" },
      [
        t("projects.records", { count: project.records }),
        t("projects.given", { count: project.given }),
        t("projects.mine", { count: project.mine.done ?? 0 }),
      ].join(" · "),
    ),
    h(
      "div",
      { class: "buttons" },
      project.state === "open" && h("a", { class: "button primary", href: link("/label/{project}", params) }, t("page.label")),
      others.filter(([, , shown]) => shown).map(([path, name]) => h("a", { href: link(path, params) }, name)),
    ),
  );
}
