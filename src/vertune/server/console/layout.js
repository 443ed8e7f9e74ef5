/** What surrounds every page: skip link, header, menu by scopes, and where the page itself is put. */

import { online, send } from "./api.js";
import { h, replace } from "./dom.js";
import { field } from "./forms.js";
import { attempt, confirm, dialog, show } from "./messages.js";
import { GROUPS, PAGES } from "./pages.js";
import { language, LANGUAGES, t } from "./phrases.js";
import { preference, setPreference } from "./preferences.js";
import { link } from "./router.js";
import { may, session, signOut } from "./session.js";

const THEMES = ["system", "light", "dark"];
/** Functions that return a reason not to sign out yet, or "". */
const reasonsToStay = [];

/** Ask `reason` before somebody signs out: it returns a text to confirm, or "" (or a promise of it). */
export function beforeSignOut(reason) {
  reasonsToStay.push(reason);
}

/** Apply the theme that was chosen in this browser. */
export function applyTheme() {
  const theme = preference("theme", "system");
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Complete the surroundings, which the page begins with so that something is painted at once, and return the element of the page. */
export function installLayout() {
  const main = document.querySelector("main");
  const header = document.querySelector("header.top");
  const menu = h("nav", { id: "menu", class: "menu", "aria-label": t("layout.menu") });
  const toggle = h(
    "button",
    { type: "button", class: "plain icon menu-button", "aria-controls": "menu", "aria-expanded": "false", "aria-label": t("layout.menu") },
    "☰",
  );
  const setOpen = (open) => {
    toggle.setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("menu-open", open);
  };
  toggle.addEventListener("click", () => setOpen(toggle.getAttribute("aria-expanded") !== "true"));
  menu.addEventListener("click", (event) => event.target.closest("a") && setOpen(false));
  addEventListener("keydown", (event) => event.key === "Escape" && setOpen(false));
  const person = h("div", { class: "person" });
  const options = h("div", { class: "options" });
  header.prepend(toggle);
  header.append(connection(), person);
  const skip = h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, t("layout.skip"));
  document.body.prepend(skip);
  header.after(menu);
  session.listen((found) => {
    document.body.classList.toggle("signed-out", found === null);
    toggle.hidden = menu.hidden = found === null;
    const signOutButton = h("button", { type: "button", class: "plain", onclick: leave }, t("layout.signOut"));
    const passwordButton = h("button", { type: "button", class: "plain", onclick: changePassword }, t("layout.password"));
    replace(options, choices(), found?.password && passwordButton, found && !found.open && signOutButton);
    replace(menu, found && groups(), found && options);
    replace(person, found ? h("span", { class: "name", title: found.role ? t(`role.${found.role}`) : null }, found.name) : options);
  });
  return main;
}

/** Mark the page that is shown in the menu. */
export function markPage(page) {
  for (const entry of document.querySelectorAll("#menu a")) {
    if (page && entry.dataset.file === (page.under ?? page.file)) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
}

function connection() {
  const state = h("span", { class: "badge warn", role: "status" });
  online.listen((reached) => {
    state.hidden = reached;
    state.textContent = reached ? "" : t("layout.offline");
  });
  return state;
}

function groups() {
  return GROUPS.map((group) => {
    const pages = PAGES.filter((page) => page.menu === group && may(page.scope));
    if (!pages.length) return null;
    const entries = pages.map((page) => h("li", {}, h("a", { href: link(page.path), "data-file": page.file }, t(page.title))));
    return h("section", {}, h("h2", {}, t(`menu.${group}`)), h("ul", {}, entries));
  });
}

function choices() {
  const current = preference("theme", "system");
  const named = Object.entries(LANGUAGES).map(([code, name]) =>
    h("option", { value: code, selected: code === language, lang: code }, name),
  );
  const themes = THEMES.map((theme) => h("option", { value: theme, selected: theme === current }, t(`theme.${theme}`)));
  return [chooser(t("layout.theme"), changeTheme, themes), chooser(t("layout.language"), changeLanguage, named)];
}

function chooser(name, onchange, options) {
  return h("label", { class: "compact" }, h("span", { class: "visually-hidden" }, name), h("select", { onchange }, options));
}

function changeTheme(event) {
  setPreference("theme", event.target.value);
  applyTheme();
}

function changeLanguage(event) {
  setPreference("language", event.target.value);
  const address = new URL(location.href);
  address.searchParams.delete("lang");
  history.replaceState(null, "", address);
  location.reload();
}

async function changePassword() {
  const old = h("input", { type: "password", autocomplete: "current-password", required: true });
  const next = h("input", { type: "password", autocomplete: "new-password", required: true });
  const change = () => attempt(() => send("PUT", "/v1/session/password", { old: old.value, new: next.value }).then(() => true));
  const content = [field(t("layout.password.old"), old), field(t("layout.password.new"), next, t("layout.password.hint"))];
  const changed = await dialog(t("layout.password"), content, [{ label: t("layout.password"), value: change }]);
  if (changed) show(t("layout.password.changed"), { kind: "good" });
}

async function leave() {
  const reasons = (await Promise.all(reasonsToStay.map((reason) => reason()))).filter(Boolean);
  if (reasons.length && !(await confirm(t("layout.signOut"), reasons.join(" "), t("layout.signOut")))) return;
  await attempt(signOut);
}
