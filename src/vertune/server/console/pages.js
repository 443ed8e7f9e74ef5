/**
 * The pages of the console, in the order of the menu. A page is one file in pages/ and one line here, with these fields:
 *
 * `path` in the address, `file` in pages/ (and of its texts in phrases/LANGUAGE/), `title` (a phrase of phrases/LANGUAGE/menu.json),
 * `scope` that a person needs, and `menu`, its group in the menu (none: the page is reached from others).
 */
export const PAGES = [
  { path: "/projects", file: "projects", title: "page.projects", scope: "label", menu: "labelling" },
];

/** The groups of the menu, in order. */
export const GROUPS = ["start", "labelling", "models", "serving", "administration"];
