/** The people who sign in: create them, change what they may do, disable them, and remove them. */

import { at, get, send } from "../api.js";
import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, confirm, dialog, show } from "../messages.js";
import { moment, t } from "../phrases.js";
import { may, session } from "../session.js";
import { table } from "../serving/lists.js";

const ROLES = ["annotator", "reviewer", "manager", "admin"];
/** Numbers of characters that a password may have. */
const LEAST = 12;
const MOST = 1024;

export default async function people({ root, signal, reload }) {
  let users;
  try {
    ({ users } = await get("/v1/users", {}, { signal }));
  } catch (error) {
    if (error.status !== 422 && error.status !== 403) throw error;
    const why = error.status === 422 ? t("people.open") : error.message;
    root.append(h("header", {}, h("h1", {}, t("people.title"))), h("div", { class: "empty" }, h("p", {}, why)));
    return;
  }
  const create = h("button", { type: "button", class: "primary", onclick: async () => (await newUser()) && reload() }, t("people.create"));
  const heads = [t("people.name"), t("people.role"), t("people.customer"), t("people.at"), t("jobs.actions")];
  root.append(
    h("header", {}, h("h1", {}, t("people.title")), create),
    users.length
      ? table(
          t("people.title"),
          heads,
          users.map((user) => row(user, reload)),
        )
      : h("div", { class: "empty" }, h("p", {}, t("people.none"))),
    h(
      "details",
      { class: "later" },
      h("summary", {}, t("people.roles")),
      h(
        "dl",
        {},
        ROLES.map((role) => [h("dt", {}, t(`role.${role}`)), h("dd", {}, t(`people.can.${role}`))]),
      ),
    ),
  );
}

/** The roles that this person may give: a manager makes no administrators. */
function roles() {
  return ROLES.filter((role) => role !== "admin" || may("admin")).map((role) => [role, t(`role.${role}`)]);
}

function row(user, reload) {
  const self = user.name === session.value?.name;
  const { name } = user;
  const options = user.role === "admin" && !may("admin") ? [["admin", t("role.admin")]] : roles();
  const role = select(options, user.role, {
    "aria-label": t("people.role.of", { name }),
    disabled: self || user.openid,
    onchange: () => change(user, { role: role.value }, reload),
  });
  const button = (text, about, run) => h("button", { type: "button", class: "plain", "aria-label": about, onclick: run }, text);
  return [
    h(
      "div",
      {},
      h("strong", {}, user.name),
      " ",
      self && h("span", { class: "badge accent" }, t("people.self")),
      user.disabled && h("span", { class: "badge bad" }, t("people.disabled")),
      user.openid && h("span", { class: "badge" }, t("people.openid")),
    ),
    role,
    user.customer,
    moment(user.at),
    h(
      "div",
      { class: "buttons" },
      !user.openid && button(t("people.password"), t("people.password.of", { name }), () => newPassword(user)),
      !self && user.disabled && button(t("people.enable"), t("people.enable.one", { name }), () => disable(user, reload)),
      !self && !user.disabled && button(t("people.disable"), t("people.disable.one", { name }), () => disable(user, reload)),
      !self && button(t("people.remove"), t("people.remove.one", { name }), () => remove(user, reload)),
    ),
  ];
}

async function change(user, body, reload) {
  const before = { role: user.role, disabled: user.disabled };
  const done = await attempt(() => send("PATCH", at`/v1/users/${user.name}`, body));
  reload();
  if (!done) return;
  const undo = Object.fromEntries(Object.keys(body).map((name) => [name, before[name]]));
  const run = () => attempt(() => send("PATCH", at`/v1/users/${user.name}`, undo)).then(reload);
  show(t("people.changed", { name: user.name }), { action: { label: t("action.undo"), run } });
}

async function disable(user, reload) {
  const { name } = user;
  if (!user.disabled && !(await confirm(t("people.disable.title", { name }), t("people.disable.text"), t("people.disable")))) return;
  await change(user, { disabled: !user.disabled }, reload);
}

async function remove(user, reload) {
  const { name } = user;
  if (!(await confirm(t("people.remove.title", { name }), t("people.remove.text"), t("people.remove")))) return;
  const done = await attempt(() => send("DELETE", at`/v1/users/${name}`).then(() => true));
  if (!done) return;
  show(t("people.removed", { name }));
  reload();
}

function passwordInput() {
  return h("input", { type: "password", minlength: LEAST, maxlength: MOST, required: true, autocomplete: "new-password" });
}

async function newPassword(user) {
  const password = passwordInput();
  const content = [
    h("p", {}, t("people.password.text")),
    field(t("people.password.new"), password, t("people.password.hint", { least: LEAST })),
  ];
  const save = () =>
    password.reportValidity() ? attempt(() => send("PATCH", at`/v1/users/${user.name}`, { password: password.value })) : undefined;
  const done = await dialog(t("people.password.title", { name: user.name }), content, [{ label: t("action.save"), value: save }]);
  if (done) show(t("people.password.done", { name: user.name }));
}

async function newUser() {
  const name = h("input", { required: true, maxlength: 200, autocomplete: "off", autocapitalize: "none" });
  const role = select(roles(), "annotator");
  const password = passwordInput();
  const customer = h("input", { maxlength: 200, autocomplete: "off", placeholder: session.value?.customer ?? "" });
  const content = [
    field(t("people.name"), name, t("people.name.hint")),
    field(t("people.role"), role),
    field(t("people.password.new"), password, t("people.password.hint", { least: LEAST })),
    may("admin") && field(t("people.customer"), customer, t("people.customer.hint")),
  ];
  const save = () => {
    if (![name, password].every((input) => input.reportValidity())) return undefined;
    const body = { name: name.value.trim(), role: role.value, password: password.value, customer: customer.value.trim() || null };
    return attempt(() => send("POST", "/v1/users", body));
  };
  const made = await dialog(t("people.create"), content, [{ label: t("people.create"), value: save }]);
  if (made) show(t("people.created", { name: made.name }));
  return Boolean(made);
}
