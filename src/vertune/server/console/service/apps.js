/** The apps of the server: which there are, and which one a page is about. */

import { get } from "../api.js";
import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { language, t } from "../phrases.js";
import { go, link } from "../router.js";

/** Return a promise of all apps that are served. */
export async function findApps(signal) {
  const { apps } = await get("/v1/apps", {}, { signal });
  return apps;
}

/** Return a text in the language of the person, else in any that there is; `texts` are by language. */
export function inLanguage(texts, wanted = language) {
  return texts?.[wanted] ?? Object.values(texts ?? {})[0] ?? "";
}

/** Return the language of a text for an app: Chinese by its characters, else the first other language of the app. */
export function languageOf({ languages = [] }, text) {
  if (/[\u4e00-\u9fff]/.test(text)) return "zh";
  return languages.find((one) => one !== "zh") ?? languages[0] ?? "en";
}

/** Return what an app is called. */
export function appTitle(app) {
  return inLanguage(app.title) || app.name;
}

/** Return the app that the address names, else the first one; null without any. */
export function chosenApp(apps, name) {
  return apps.find((one) => one.name === name) ?? apps[0] ?? null;
}

/** Return a choice of apps that leads to the page of each; null if there is only one. */
export function appChoice(apps, chosen, path) {
  if (apps.length < 2) return null;
  const options = apps.map((one) => [one.name, appTitle(one)]);
  const list = select(options, chosen.name, { onchange: () => go(link(path, { app: list.value })) });
  return field(t("service.app"), list);
}

/** Return what is shown while there are no apps. */
export function noApps() {
  return h("div", { class: "empty" }, h("p", {}, t("service.none")), h("pre", {}, "vertune app NAME init shop_zh"));
}
