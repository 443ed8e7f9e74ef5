/** The entries that people have added to the FAQ of an app: who wrote what, and what it replaces, to be corrected and withdrawn. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, confirm, dialog, show } from "../messages.js";
import { moment, t } from "../phrases.js";
import { appChoice, appTitle, chosenApp, findApps, inLanguage, languageOf, noApps } from "../service/apps.js";

export default async function entries({ root, params, signal, title, reload }) {
  const apps = await findApps(signal);
  const create = h("button", { type: "button", class: "primary" }, t("entries.create"));
  const app = chosenApp(apps, params.app);
  root.append(h("header", {}, h("h1", {}, t("entries.title")), app && create));
  if (!app) return void root.append(noApps());
  title(`${t("entries.title")}: ${appTitle(app)}`);
  const path = at`/v1/apps/${app.name}/entries`;
  const place = h("div", {});
  root.append(h("p", { class: "muted" }, t("entries.about")), h("div", { class: "fields" }, appChoice(apps, app, "/entries/{app}")), place);
  const asked = [path, at`/v1/apps/${app.name}/faq`].map((one) => get(one, {}, { signal }));
  const [{ entries: found }, { entries: faq }] = await Promise.all(asked);
  create.addEventListener("click", async () => (await add(path, app, faq, found)) && reload());
  const cards = found.map((one) => card(path, faq, one, reload));
  replace(place, cards.length ? cards : h("div", { class: "empty" }, h("p", {}, t("entries.none"))));
  return undefined;
}

function card(path, faq, one, reload) {
  const old = faq.find(({ id }) => id === one.replaces);
  const replaces = old ? t("entries.replaces.one", { title: inLanguage(old.title) }) : t("entries.replaces");
  const button = (name, label, run) =>
    h("button", { type: "button", "aria-label": label, onclick: async () => (await run()) && reload() }, name);
  return h(
    "article",
    { class: "card cluster" },
    h("h2", { lang: one.language }, one.question),
    h("p", { class: "given", lang: one.language }, one.answer),
    h("p", { class: "hint" }, t("entries.written", { actor: one.actor, time: moment(one.changed) })),
    one.replaces && h("p", { class: "badges" }, h("span", { class: "badge" }, replaces)),
    h(
      "div",
      { class: "buttons" },
      button(t("entries.correct"), t("entries.correct.one", { question: one.question }), () => correct(path, one)),
      button(t("entries.withdraw"), t("entries.withdraw.one", { question: one.question }), () => withdraw(path, one)),
    ),
  );
}

/** Add an entry; resolves to whether it was stored. */
function add(path, app, faq, found) {
  const old = h("span", { class: "hint", role: "status" });
  const options = faq.map(({ id, title }) => [id, inLanguage(title)]);
  const list = select([["", t("entries.replaces.nothing")], ...options], "", { onchange: () => (old.textContent = replaced(list.value)) });
  const replaced = (id) => {
    const before = found.find((one) => one.replaces === id);
    if (before) return t("entries.replaces.again", before);
    const one = faq.find((each) => each.id === id);
    return one ? t("entries.replaces.old", { answer: inLanguage(one.answer) }) : "";
  };
  const save = (texts) => {
    const language = languageOf(app, texts.question);
    return send("POST", path, { ...texts, language, replaces: list.value || null });
  };
  const which = field(t("entries.replaces.which"), list);
  which.append(old);
  return write(t("entries.create"), {}, save, faq.length > 0 && which, t("entries.masked"));
}

/** Correct an entry; resolves to whether it was stored. */
function correct(path, one) {
  return write(t("entries.correct"), one, (texts) => send("PUT", `${path}/${one.id}`, { version: one.version, ...texts }));
}

/** Let a person write a question and an answer, which `save` stores; resolves to whether it was stored. */
async function write(title, written, save, more = null, hint = "") {
  const question = h("input", { required: true, maxlength: 1000, value: written.question ?? "", autocomplete: "off" });
  const answer = h("textarea", { required: true, rows: 5, maxlength: 4000, value: written.answer ?? "" });
  const store = () => {
    const inputs = [question, answer];
    for (const input of inputs) input.setCustomValidity(input.value.trim() ? "" : t("entries.empty"));
    if (!inputs.every((input) => input.reportValidity())) return undefined;
    return attempt(() => save({ question: question.value.trim(), answer: answer.value.trim() }));
  };
  const content = [field(t("entries.question"), question), more, field(t("entries.answer"), answer, hint)];
  const stored = await dialog(title, content, [{ label: t("action.save"), value: store }]);
  if (stored) show(t("entries.saved"), { kind: "good" });
  return Boolean(stored);
}

async function withdraw(path, one) {
  const text = one.replaces ? t("entries.withdraw.old") : t("entries.withdraw.text");
  if (!(await confirm(t("entries.withdraw.one", one), text, t("entries.withdraw")))) return false;
  const done = await attempt(() => send("DELETE", `${path}/${one.id}`).then(() => true));
  if (done) show(t("entries.withdrawn"));
  return Boolean(done);
}
