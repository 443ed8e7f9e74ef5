/** The texts of the forms that a project is made and changed with. */
const FORMS = ["settings-form", "records-file"];
/** The texts of the pages about conversations with customers. */
const SERVICE = ["service", "serving"];

/**
 * The pages of the console, in the order of the menu. A page is one file in pages/ and one line here, with these fields:
 *
 * `path` in the address, `file` in pages/ (and of its texts in phrases/LANGUAGE/), `title` (a phrase of phrases/LANGUAGE/menu.json),
 * `scope` that a person needs, `phrases` (further files of texts), and `menu`, its group in the menu. A page without `menu` is reached
 * from others, and `under` names the entry that is marked then.
 */
export const PAGES = [
  { path: "/", file: "home", title: "page.home", menu: "start", phrases: ["serving"] },
  { path: "/projects", file: "projects", title: "page.projects", scope: "label", menu: "labelling" },
  { path: "/projects/new", file: "new-project", title: "page.newProject", scope: "train", under: "projects", phrases: FORMS },
  { path: "/settings/{project}", file: "settings", title: "page.settings", scope: "train", under: "projects", phrases: FORMS },
  { path: "/label/{project}", file: "label", title: "page.label", scope: "label", under: "projects" },
  { path: "/records/{project}", file: "records", title: "page.records", scope: "review", under: "projects", phrases: ["record", "label"] },
  { path: "/review/{project}", file: "review", title: "page.review", scope: "review", under: "projects", phrases: ["record", "label"] },
  { path: "/progress/{project}", file: "progress", title: "page.progress", scope: "label", under: "projects" },
  { path: "/data", file: "data", title: "page.data", scope: "train", menu: "models", phrases: ["serving"] },
  { path: "/data/{id}", file: "dataset", title: "page.dataset", scope: "train", under: "data", phrases: ["data", "serving", "parts"] },
  { path: "/train", file: "train", title: "page.train", scope: "train", menu: "models", phrases: ["serving", "parts"] },
  { path: "/jobs", file: "jobs", title: "page.jobs", scope: "train", menu: "models", phrases: ["serving"] },
  { path: "/jobs/{id}", file: "job", title: "page.job", scope: "train", under: "jobs", phrases: ["serving"] },
  { path: "/models", file: "models", title: "page.models", scope: "predict", menu: "models", phrases: ["serving"] },
  { path: "/models/{vertical}", file: "model", title: "page.model", scope: "predict", under: "models", phrases: ["serving"] },
  { path: "/try", file: "try", title: "page.try", scope: "predict", menu: "serving", phrases: ["serving", "parts"] },
  { path: "/try/{vertical}", file: "try", title: "page.try", scope: "predict", under: "try", phrases: ["serving", "parts"] },
  { path: "/traffic", file: "traffic", title: "page.traffic", scope: "predict", menu: "serving", phrases: ["serving"] },
  { path: "/watch", file: "watch", title: "page.watch", scope: "predict", menu: "serving", phrases: ["serving"] },
  { path: "/usage", file: "usage", title: "page.usage", scope: "predict", menu: "serving", phrases: ["serving"] },
  { path: "/desk", file: "desk", title: "page.desk", scope: "review", menu: "service", phrases: SERVICE },
  { path: "/desk/{id}", file: "desk", title: "page.desk", scope: "review", under: "desk", phrases: SERVICE },
  { path: "/unanswered", file: "unanswered", title: "page.unanswered", scope: "review", menu: "service", phrases: SERVICE },
  { path: "/unanswered/{app}", file: "unanswered", title: "page.unanswered", scope: "review", under: "unanswered", phrases: SERVICE },
  { path: "/entries", file: "entries", title: "page.entries", scope: "review", menu: "service", phrases: SERVICE },
  { path: "/entries/{app}", file: "entries", title: "page.entries", scope: "review", under: "entries", phrases: SERVICE },
  { path: "/ask", file: "ask", title: "page.ask", scope: "predict", menu: "service", phrases: SERVICE },
  { path: "/ask/{app}", file: "ask", title: "page.ask", scope: "predict", under: "ask", phrases: SERVICE },
  { path: "/canned", file: "canned", title: "page.canned", scope: "review", menu: "service", phrases: SERVICE },
  { path: "/people", file: "people", title: "page.people", scope: "train", menu: "administration", phrases: ["serving"] },
  { path: "/keys", file: "keys", title: "page.keys", scope: "admin", menu: "administration", phrases: ["serving"] },
];

/** The groups of the menu, in order. */
export const GROUPS = ["start", "labelling", "models", "serving", "service", "administration"];
