/** Tests questions: they are answered as in the chat, by the same code, and nothing is stored. Each reply says why it is what it is. */

import { at, send } from "../api.js";
import { h, replace } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt } from "../messages.js";
import { LANGUAGES, t } from "../phrases.js";
import { appChoice, appTitle, chosenApp, findApps, noApps } from "../service/apps.js";
import { turnView } from "../service/turn.js";

export default async function ask({ root, params, signal, title }) {
  const apps = await findApps(signal);
  root.append(h("header", {}, h("h1", {}, t("ask.title"))));
  const app = chosenApp(apps, params.app);
  if (!app) return void root.append(noApps());
  title(`${t("ask.title")}: ${appTitle(app)}`);
  const page = new Trial(app);
  const choices = h("div", { class: "fields" }, appChoice(apps, app, "/ask/{app}"), page.language);
  root.append(h("p", { class: "muted" }, t("ask.about")), choices, page.element);
  page.text.focus({ preventScroll: true });
  return undefined;
}

/** A conversation of which only this page knows. */
class Trial {
  constructor(app) {
    this.app = app;
    this.state = null;
    const spoken = (app.languages ?? []).map((code) => [code, LANGUAGES[code] ?? code]);
    this.choice = select([["", t("ask.language.any")], ...spoken], "");
    this.language = field(t("ask.language"), this.choice);
    this.log = h("ol", { class: "transcript", tabindex: "0", "aria-live": "polite", "aria-label": t("ask.log") });
    this.text = h("input", { maxlength: 2000, autocomplete: "off", "aria-label": t("ask.write"), placeholder: t("ask.write") });
    this.button = h("button", { type: "submit", class: "primary" }, t("ask.send"));
    this.element = h(
      "form",
      { class: "trial", onsubmit: (event) => (event.preventDefault(), this.#write()) },
      this.log,
      h(
        "div",
        { class: "asking" },
        this.text,
        this.button,
        h("button", { type: "button", onclick: () => this.#restart() }, t("ask.restart")),
      ),
    );
    this.#restart();
  }

  #restart() {
    this.state = null;
    replace(this.log, h("li", { class: "turn system" }, h("p", { class: "turn-text" }, t("ask.empty"))));
    this.text.focus();
  }

  #write() {
    const text = this.text.value.trim();
    if (text) this.#ask({ text });
  }

  async #ask({ text, choice = null }) {
    this.button.disabled = true;
    const said = choice ? { choice } : { text };
    const body = { ...said, language: this.choice.value || null, state: this.state ?? {} };
    const found = await attempt(() => send("POST", at`/v1/apps/${this.app.name}/try`, body));
    this.button.disabled = false;
    if (!found) return;
    this.text.value = "";
    if (this.state === null) replace(this.log);
    this.state = found.state;
    const choose = ({ title, value }) => this.#ask({ text: title, choice: value });
    this.log.append(turnView({ author: "visitor", text }), turnView({ author: "bot", ...found.reply }, { choose }));
    this.log.lastElementChild.scrollIntoView({ block: "nearest" });
    this.text.focus({ preventScroll: true });
  }
}
