/** Starts the console: texts, session, surroundings; then shows the page that the address names. */

import { h, replace } from "./dom.js";
import { outboxOf } from "./labelling/outbox.js";
import { applyTheme, beforeSignOut, installLayout, markPage } from "./layout.js";
import { explained, installMessages } from "./messages.js";
import { PAGES } from "./pages.js";
import { language, loadPhrases, t } from "./phrases.js";
import { go, link, matching } from "./router.js";
import { identity, may, restoreSession, session } from "./session.js";

const SIGN_IN = { file: "sign-in", title: "page.signIn" };
let main;
/** What ends the listeners and requests of the page that is shown. */
let leaving = new AbortController();

async function start() {
  applyTheme();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  const restored = restoreSession().then(
    () => null,
    (error) => error,
  );
  const named = matching(PAGES, location.hash)?.page;
  if (named) load(named).catch(() => {}); // so that it is there when it is shown, which also tells what goes wrong
  await Promise.all([loadPhrases("common"), loadPhrases("menu")]);
  installMessages();
  const trouble = await restored;
  main = installLayout();
  if (trouble) return fail(trouble, startAgain);
  let person = null;
  session.listen(() => {
    outboxOf(may("label") ? identity() : ""); // sends what an earlier visit left
    const rendered = person !== null;
    if (identity() === person) return;
    person = identity();
    if (rendered) render();
  });
  beforeSignOut(waitingLabels);
  addEventListener("hashchange", render);
  return render();
}

/** Return why somebody should not sign out yet: labels that are only in this browser; "" without any. */
async function waitingLabels() {
  const outbox = outboxOf(identity());
  await outbox?.flush();
  const count = outbox?.state.value.waiting ?? 0;
  return count ? t("layout.unsent", { count }) : "";
}

function startAgain() {
  location.reload();
}

async function render() {
  leaving.abort(new DOMException("left the page", "AbortError"));
  leaving = new AbortController();
  const { signal } = leaving;
  const found = session.value ? pageOfAddress() : { page: SIGN_IN, params: {}, query: {} };
  markPage(found?.page);
  if (!found) return missing();
  const { page, params, query } = found;
  main.setAttribute("aria-busy", "true");
  const root = h("div", { class: `page page-${page.file}` });
  const title = (text) => {
    document.title = `${text} · vertune`;
  };
  title(t(page.title));
  try {
    const module = await load(page);
    if (signal.aborted) return undefined;
    replace(main, root);
    await module.default({ root, params, query, signal, title, reload: render });
    if (!signal.aborted) focusHeading(root);
  } catch (error) {
    if (!signal.aborted) fail(error, render);
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
  return undefined;
}

/** Return the module of a page, once its texts are loaded, too. */
async function load(page) {
  const [module] = await Promise.all([import(`./pages/${page.file}.js`), ...[page.file, ...(page.phrases ?? [])].map(loadPhrases)]);
  return module;
}

function pageOfAddress() {
  const found = matching(PAGES, location.hash);
  if (found) return may(found.page.scope) ? found : null;
  if (location.hash.replace(/^#\/?/, "")) return null;
  const first = PAGES.find((page) => page.menu && may(page.scope));
  if (!first) return null;
  go(link(first.path), { instead: true });
  return matching(PAGES, link(first.path));
}

/** Move the focus to the heading of a new page, so that screen readers read it, unless the page moved the focus itself. */
function focusHeading(root) {
  if (root.contains(document.activeElement)) return;
  const heading = root.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function missing() {
  document.title = `${t("page.missing")} · vertune`;
  main.removeAttribute("aria-busy");
  replace(main, h("div", { class: "page" }, h("h1", {}, t("page.missing")), h("p", {}, t("page.missing.text"))));
}

function fail(error, again) {
  if (error.status === 401) return; // the sign-in page is shown
  main.removeAttribute("aria-busy");
  replace(
    main,
    h(
      "div",
      { class: "page" },
      h("h1", {}, t("page.failed")),
      h("p", { role: "alert" }, explained(error)),
      h("button", { type: "button", class: "primary", onclick: again }, t("action.again")),
    ),
  );
}

start();
