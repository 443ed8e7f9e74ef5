/** The entries that people have added to the FAQ of an app: who wrote what, to be corrected and withdrawn. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { field } from "../forms.js";
import { attempt, confirm, dialog, show } from "../messages.js";
import { moment, t } from "../phrases.js";
import { appChoice, appTitle, chosenApp, findApps, noApps } from "../service/apps.js";

export default async function entries({ root, params, signal, title, reload }) {
  const apps = await findApps(signal);
  const create = h("button", { type: "button", class: "primary" }, t("entries.create"));
  const app = chosenApp(apps, params.app);
  root.append(h("header", {}, h("h1", {}, t("entries.title")), app && create));
  if (!app) return void root.append(noApps());
  title(`${t("entries.title")}: ${appTitle(app)}`);
  const path = at`/v1/apps/${app.name}/entries`;
  create.addEventListener("click", async () => (await edit(path, app, null)) && reload());
  const place = h("div", {});
  root.append(h("p", { class: "muted" }, t("entries.about")), h("div", { class: "fields" }, appChoice(apps, app, "/entries/{app}")), place);
  const found = (await get(path, {}, { signal })).entries;
  const cards = found.map((one) => card(path, app, one, reload));
  replace(place, cards.length ? cards : h("div", { class: "empty" }, h("p", {}, t("entries.none"))));
  return undefined;
}

function card(path, app, one, reload) {
  const button = (name, label, run) =>
    h("button", { type: "button", "aria-label": label, onclick: async () => (await run()) && reload() }, name);
  return h(
    "article",
    { class: "card cluster" },
    h("h2", { lang: one.language }, one.question),
    h("p", { class: "given", lang: one.language }, one.answer),
    h("p", { class: "hint" }, t("entries.written", { actor: one.actor, time: moment(one.changed) })),
    one.replaces && h("p", { class: "badges" }, h("span", { class: "badge" }, t("entries.replaces"))),
    h(
      "div",
      { class: "buttons" },
      button(t("entries.correct"), t("entries.correct.one", { question: one.question }), () => edit(path, app, one)),
      button(t("entries.withdraw"), t("entries.withdraw.one", { question: one.question }), () => withdraw(path, one)),
    ),
  );
}

/** Correct an entry, or add one; resolves to whether it was stored. */
async function edit(path, app, one) {
  const question = h("input", { required: true, maxlength: 1000, value: one?.question ?? "", autocomplete: "off" });
  const answer = h("textarea", { required: true, rows: 5, maxlength: 4000, value: one?.answer ?? "" });
  const save = () => {
    const inputs = [question, answer];
    for (const input of inputs) input.setCustomValidity(input.value.trim() ? "" : t("entries.empty"));
    if (!inputs.every((input) => input.reportValidity())) return undefined;
    const texts = { question: question.value.trim(), answer: answer.value.trim() };
    if (one) return attempt(() => send("PUT", `${path}/${one.id}`, { version: one.version, ...texts }));
    const [first] = app.languages ?? ["en"];
    return attempt(() => send("POST", path, { ...texts, language: /[\u4e00-\u9fff]/.test(texts.question) ? "zh" : first }));
  };
  const content = [field(t("entries.question"), question), field(t("entries.answer"), answer, one ? "" : t("entries.masked"))];
  const stored = await dialog(t(one ? "entries.correct" : "entries.create"), content, [{ label: t("action.save"), value: save }]);
  if (stored) show(t("entries.saved"), { kind: "good" });
  return Boolean(stored);
}

async function withdraw(path, one) {
  if (!(await confirm(t("entries.withdraw.one", one), t("entries.withdraw.text"), t("entries.withdraw")))) return false;
  const done = await attempt(() => send("DELETE", `${path}/${one.id}`).then(() => true));
  if (done) show(t("entries.withdrawn"));
  return Boolean(done);
}
