/** Finds a labelling project, and leads from one page of it to the others. */

import { at, get } from "../api.js";
import { h } from "../dom.js";
import { t } from "../phrases.js";
import { link } from "../router.js";
import { may } from "../session.js";

/** The pages of a project, each with the scope that it needs. */
const PAGES = [
  { path: "/label/{project}", scope: "label", title: "page.label" },
  { path: "/records/{project}", scope: "review", title: "page.records" },
  { path: "/review/{project}", scope: "review", title: "page.review" },
  { path: "/progress/{project}", scope: "label", title: "page.progress" },
  { path: "/settings/{project}", scope: "train", title: "page.settings" },
];

/** Return a promise of the project with this name. */
export function findProject(name, signal) {
  return get(at`/v1/projects/${name}`, {}, { signal });
}

/** Return links to the pages of a project that the person may see; `current` is the path of the page that is shown. */
export function projectTabs(project, current) {
  const pages = PAGES.filter((page) => may(page.scope));
  const tabs = pages.map((page) =>
    h("a", { href: link(page.path, { project: project.name }), "aria-current": page.path === current ? "page" : null }, t(page.title)),
  );
  // on a phone, the tabs scroll sideways
  requestAnimationFrame(() => tabs.find((tab) => tab.ariaCurrent)?.scrollIntoView({ block: "nearest", inline: "nearest" }));
  return h("nav", { class: "tabs", "aria-label": t("projects.pages") }, tabs);
}
