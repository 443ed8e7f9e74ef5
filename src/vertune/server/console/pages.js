/**
 * The pages of the console, in the order of the menu. A page is one file in pages/ and one line here, with these fields:
 *
 * `path` in the address, `file` in pages/ (and of its texts in phrases/LANGUAGE/), `title` (a phrase of phrases/LANGUAGE/menu.json),
 * `scope` that a person needs, `phrases` (further files of texts), and `menu`, its group in the menu. A page without `menu` is reached
 * from others, and `under` names the entry that is marked then.
 */
export const PAGES = [
  { path: "/projects", file: "projects", title: "page.projects", scope: "label", menu: "labelling" },
  { path: "/projects/new", file: "new-project", title: "page.newProject", scope: "train", under: "projects", phrases: ["settings-form"] },
  { path: "/settings/{project}", file: "settings", title: "page.settings", scope: "train", under: "projects", phrases: ["settings-form"] },
  { path: "/label/{project}", file: "label", title: "page.label", scope: "label", under: "projects" },
  { path: "/records/{project}", file: "records", title: "page.records", scope: "review", under: "projects", phrases: ["record", "label"] },
  { path: "/review/{project}", file: "review", title: "page.review", scope: "review", under: "projects", phrases: ["record", "label"] },
  { path: "/progress/{project}", file: "progress", title: "page.progress", scope: "label", under: "projects" },
];

/** The groups of the menu, in order. */
export const GROUPS = ["start", "labelling", "models", "serving", "administration"];
