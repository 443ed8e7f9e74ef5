/** Signs in with a name and a password, with an API key, or with the identity provider of the organisation. */

import { get } from "../api.js";
import { h } from "../dom.js";
import { explained } from "../messages.js";
import { t } from "../phrases.js";
import { preference, setPreference } from "../preferences.js";
import { signIn } from "../session.js";

export default async function signInPage({ root, signal }) {
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const providers = await get("/v1/session/providers", {}, { signal }).catch(() => ({ openid: false }));
  const withKey = preference("signInWithKey", false);
  const submit = async (event, secret, credentials) => {
    event.preventDefault();
    const button = event.target.querySelector("[type=submit]");
    problem.hidden = true;
    button.disabled = true;
    try {
      await signIn(credentials());
    } catch (error) {
      problem.textContent = explained(error);
      problem.hidden = false;
      secret.value = "";
      secret.focus();
    } finally {
      button.disabled = false;
    }
  };
  const name = h("input", { name: "username", autocomplete: "username", required: true, maxlength: 80, autocapitalize: "none" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const key = h("input", { name: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const byName = h(
    "form",
    { onsubmit: (event) => submit(event, password, () => ({ name: name.value, password: password.value })) },
    field(t("signIn.name"), name),
    field(t("signIn.password"), password),
    h("div", { class: "field" }, h("button", { type: "submit", class: "primary" }, t("signIn.submit"))),
  );
  const byKey = h(
    "details",
    { open: withKey, ontoggle: (event) => setPreference("signInWithKey", event.target.open) },
    h("summary", {}, t("signIn.withKey")),
    h(
      "form",
      { onsubmit: (event) => submit(event, key, () => ({ key: key.value.trim() })) },
      field(t("signIn.key"), key, t("signIn.key.hint")),
      h("div", { class: "field" }, h("button", { type: "submit" }, t("signIn.submit"))),
    ),
  );
  const start = providers.openid && h("a", { class: "button", href: "/v1/session/openid/start" }, t("signIn.openid"));
  root.append(h("h1", {}, t("signIn.title")), problem, byName, start ? h("p", {}, start) : "", byKey);
  (withKey ? key : name).focus();
}

function field(label, input, hint = "") {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("span", { class: "hint" }, hint));
}
