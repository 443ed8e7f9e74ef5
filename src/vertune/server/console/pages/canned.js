/** Replies that people at the desk use again and again, in each language. */

import { at, get, send } from "../api.js";
import { h } from "../dom.js";
import { field } from "../forms.js";
import { attempt, confirm, dialog, show } from "../messages.js";
import { LANGUAGES, t } from "../phrases.js";
import { table } from "../serving/lists.js";
import { inLanguage } from "../service/apps.js";

export default async function canned({ root, signal, reload }) {
  const found = (await get("/v1/desk/canned", {}, { signal })).canned;
  const edit = async (one) => (await editReply(one)) && reload();
  const row = (one) => [
    one.name,
    h("div", { class: "cell" }, inLanguage(one.texts)),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "plain", "aria-label": t("canned.edit.one", one), onclick: () => edit(one) }, t("canned.edit")),
      h(
        "button",
        { type: "button", class: "plain", "aria-label": t("canned.delete.one", one), onclick: async () => (await remove(one)) && reload() },
        t("canned.delete"),
      ),
    ),
  ];
  const create = h("button", { type: "button", class: "primary", onclick: () => edit(null) }, t("canned.create"));
  root.append(
    h("header", {}, h("h1", {}, t("canned.title")), create),
    found.length
      ? table(t("canned.title"), [t("canned.name"), t("canned.text"), t("canned.actions")], found.map(row))
      : h("div", { class: "empty" }, h("p", {}, t("canned.none"))),
  );
}

/** Edit a reply, or make one; resolves to whether it was stored. */
async function editReply(one) {
  const name = h("input", { required: true, maxlength: 100, value: one?.name ?? "", disabled: Boolean(one), autocomplete: "off" });
  const texts = Object.keys(LANGUAGES).map((code) => [
    code,
    h("textarea", { rows: 4, maxlength: 4000, lang: code, value: one?.texts[code] ?? "" }),
  ]);
  const save = () => {
    const written = Object.fromEntries(texts.map(([code, input]) => [code, input.value.trim()]).filter(([, text]) => text));
    texts[0][1].setCustomValidity(Object.keys(written).length ? "" : t("canned.empty"));
    if (![name, texts[0][1]].every((input) => input.reportValidity())) return undefined;
    return attempt(() => send("PUT", at`/v1/desk/canned/${name.value.trim()}`, { texts: written }).then(() => true));
  };
  const content = [field(t("canned.name"), name), texts.map(([code, input]) => field(`${t("canned.text")} (${LANGUAGES[code]})`, input))];
  const stored = await dialog(one ? t("canned.edit") : t("canned.create"), content, [{ label: t("action.save"), value: save }]);
  return Boolean(stored);
}

async function remove(one) {
  if (!(await confirm(t("canned.delete.one", one), t("canned.delete.text"), t("canned.delete")))) return false;
  const done = await attempt(() => send("DELETE", at`/v1/desk/canned/${one.name}`).then(() => true));
  if (done) show(t("canned.deleted", one));
  return Boolean(done);
}
