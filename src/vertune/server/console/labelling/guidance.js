/** What helps people who label: the guidelines of the project, its labels with examples, and the keys. */

import { h } from "../dom.js";
import { dialog } from "../messages.js";
import { t } from "../phrases.js";
import { preference, setPreference } from "../preferences.js";
import { markdown } from "./markdown.js";

/** Return the panel with the guidelines and the descriptions of the labels; empty if there are none. */
export function showGuidelines(project, shape) {
  const text = project.settings.guidelines ?? "";
  const described = shape.labels.filter((label) => label.description || label.examples?.length);
  if (!text.trim() && !described.length) return "";
  const wide = matchMedia("(min-width: 64rem)").matches;
  return h(
    "details",
    {
      class: "guidelines", open: preference("guidelines", wide),
      ontoggle: (event) => setPreference("guidelines", event.target.open),
    },
    h("summary", {}, h("h2", {}, t("label.guidelines"))),
    h("div", { class: "guidelines-text" }, markdown(text)),
    described.length > 0 && h("dl", {}, described.map(entry)),
  );
}

function entry(label) {
  const examples = (label.examples ?? []).map((example) => h("dd", { class: "example" }, example));
  return [h("dt", {}, label.name), label.description && h("dd", {}, label.description), examples];
}

/** Show the keys of the label page. */
export function showHelp(shape) {
  const places = shape.type === "spans" || shape.type === "answers";
  const rows = [
    shape.labels.length > 0 && ["1 … 9 0 a … z", t("help.label")],
    shape.type === "answers" && ["n", t("help.noAnswer")],
    [t("label.key.enter"), t("help.confirm")],
    [t("label.key.space"), t("help.skip")],
    ["x", t("help.reject")],
    ["u", t("help.undo")],
    ["[ ]", t("help.move")],
    places ? ["← →", t("help.words")] : shape.type !== "number" && ["← →", t("help.move")],
    places && ["⇧ ← →", t("help.extend")],
    shape.type === "spans" && ["⌫", t("help.remove")],
    shape.labels.length > 0 && ["/", t("help.search")],
    ["?", t("help.help")],
  ].filter(Boolean);
  const row = ([key, about]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, about));
  return dialog(t("help.title"), [h("table", {}, h("tbody", {}, rows.map(row)))]);
}
