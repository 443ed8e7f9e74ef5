/** API keys: who has which, with which permissions; create, replace and revoke them. */

import { at, get, send } from "../api.js";
import { h } from "../dom.js";
import { checkbox, field } from "../forms.js";
import { attempt, confirm, dialog, show, showError } from "../messages.js";
import { listed, moment, t } from "../phrases.js";
import { copyable, table } from "../serving/lists.js";

const SCOPES = ["predict", "feedback", "label", "review", "train", "chat", "admin"];
const KINDS = { live: "good", expired: "warn", revoked: "" };

export default async function keys({ root, signal, reload }) {
  let found;
  try {
    ({ keys: found } = await get("/v1/keys", {}, { signal }));
  } catch (error) {
    if (error.status !== 422) throw error;
    root.append(h("header", {}, h("h1", {}, t("keys.title"))), h("div", { class: "empty" }, h("p", {}, t("keys.open"))));
    return;
  }
  const { verticals } = await get("/v1/verticals", {}, { signal });
  const create = h(
    "button",
    { type: "button", class: "primary", onclick: async () => (await newKey(verticals)) && reload() },
    t("keys.create"),
  );
  const order = { live: 0, expired: 1, revoked: 2 };
  const sorted = [...found].reverse().sort((one, other) => order[one.state] - order[other.state]);
  root.append(
    h("header", {}, h("h1", {}, t("keys.title")), create),
    h("p", { class: "muted" }, t("keys.about")),
    found.length
      ? table(
          t("keys.title"),
          heads(),
          sorted.map((key) => row(key, reload)),
        )
      : h("div", { class: "empty" }, h("p", {}, t("keys.none"))),
  );
}

function heads() {
  return [t("keys.name"), t("keys.state"), t("keys.scopes"), t("keys.verticals"), t("keys.customer"), t("keys.expires"), t("jobs.actions")];
}

function row(key, reload) {
  return [
    h("div", {}, h("strong", {}, key.name), h("p", { class: "hint" }, key.id)),
    h("span", { class: `badge ${KINDS[key.state]}` }, t(`keys.state.${key.state}`)),
    listed(key.scopes.map((scope) => t(`keys.scope.${scope}`))),
    key.verticals ? listed(key.verticals) : t("keys.verticals.all"),
    key.customer,
    key.expires ? moment(key.expires) : t("keys.never"),
    key.state === "live" &&
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "button", class: "plain", "aria-label": t("keys.rotate.one", { name: key.name }), onclick: () => rotate(key, reload) },
          t("keys.rotate"),
        ),
        h(
          "button",
          { type: "button", class: "plain", "aria-label": t("keys.revoke.one", { name: key.name }), onclick: () => revoke(key, reload) },
          t("keys.revoke"),
        ),
      ),
  ];
}

/** Ask for the properties of a key, and create it; resolves to whether there is a new one. */
async function newKey(verticals) {
  const name = h("input", { required: true, maxlength: 200, autocomplete: "off" });
  const customer = h("input", { maxlength: 200, autocomplete: "off", placeholder: "default" });
  const rate = h("input", { maxlength: 40, autocomplete: "off", placeholder: "600/minute", pattern: "\\d+/(second|minute|hour|day)" });
  const expires = h("input", { type: "datetime-local" });
  const origin = h("input", { type: "url", maxlength: 300, autocomplete: "off" });
  const scopes = SCOPES.map((scope) => [scope, checkbox(t(`keys.scope.${scope}`), scope === "predict")]);
  const only = verticals.map((one) => [one.name, checkbox(one.name, false)]);
  const content = [
    field(t("keys.name"), name, t("keys.name.hint")),
    h(
      "fieldset",
      { class: "field" },
      h("legend", {}, t("keys.scopes")),
      scopes.map(([, box]) => box.element),
    ),
    only.length > 0 &&
      h(
        "fieldset",
        { class: "field" },
        h("legend", {}, t("keys.verticals")),
        h("p", { class: "hint" }, t("keys.verticals.hint")),
        only.map(([, box]) => box.element),
      ),
    h(
      "div",
      { class: "fields" },
      field(t("keys.expires"), expires, t("keys.expires.hint")),
      field(t("keys.rate"), rate, t("keys.rate.hint")),
    ),
    field(t("keys.customer"), customer, t("keys.customer.hint")),
    field(t("keys.origin"), origin, t("keys.origin.hint")),
  ];
  const save = async () => {
    const chosen = scopes.filter(([, box]) => box.input.checked).map(([scope]) => scope);
    if (!name.value.trim() || !chosen.length) {
      showError(Object.assign(new Error(t("keys.incomplete")), { status: 422 }));
      return undefined;
    }
    const models = only.filter(([, box]) => box.input.checked).map(([one]) => one);
    const body = {
      name: name.value.trim(),
      scopes: chosen,
      verticals: models.length ? models : null,
      expires: expires.value ? new Date(expires.value).toISOString() : null,
      rate: rate.value.trim() || null,
      customer: customer.value.trim() || null,
      ...(origin.value.trim() && { origin: origin.value.trim() }),
    };
    return attempt(() => send("POST", "/v1/keys", body));
  };
  const made = await dialog(t("keys.create"), content, [{ label: t("keys.create"), value: save }]);
  if (made) await showSecret(made);
  return Boolean(made);
}

async function showSecret(key) {
  const tag = `<script type="module" src="${location.origin}/widget.js" data-app="NAME" data-key="${key.secret}"></script>`;
  const widget = key.origin ? [h("p", {}, t("keys.tag")), copyable(tag, t("keys.tag"))] : [];
  const content = [h("p", {}, t("keys.secret.text")), copyable(key.secret, t("keys.secret")), widget];
  await dialog(t("keys.secret.title", { name: key.name }), content);
}

async function rotate(key, reload) {
  const hours = h("input", { type: "number", min: 0, max: 8784, step: "any", value: 24, required: true });
  const content = [h("p", {}, t("keys.rotate.text")), field(t("keys.rotate.hours"), hours, t("keys.rotate.hours.hint"))];
  const save = () => attempt(() => send("POST", at`/v1/keys/${key.id}/rotate`, { overlap: 3600 * Number(hours.value) }));
  const made = await dialog(t("keys.rotate.title", { name: key.name }), content, [{ label: t("keys.rotate"), value: save }]);
  if (!made) return;
  await showSecret(made);
  reload();
}

async function revoke(key, reload) {
  if (!(await confirm(t("keys.revoke.title", { name: key.name }), t("keys.revoke.text"), t("keys.revoke")))) return;
  const done = await attempt(() => send("DELETE", at`/v1/keys/${key.id}`).then(() => true));
  if (!done) return;
  show(t("keys.revoked", { name: key.name }));
  reload();
}
