/** What customers asked and the app could not answer, in groups of similar messages, each offered as an intent or an entry of the FAQ. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { attempt, dialog, show, showError } from "../messages.js";
import { listed, t } from "../phrases.js";
import { keepQuery, link } from "../router.js";
import { appChoice, appTitle, chosenApp, findApps, languageOf, noApps } from "../service/apps.js";
import { meaningFields } from "../service/correct.js";

const SPANS = [1, 7, 30];
/** Examples that are shown before the others are asked for. */
const SHOWN = 5;

export default async function unanswered({ root, params, query, signal, title }) {
  const apps = await findApps(signal);
  root.append(h("header", {}, h("h1", {}, t("unanswered.title"))));
  const found = chosenApp(apps, params.app);
  if (!found) return void root.append(noApps());
  title(`${t("unanswered.title")}: ${appTitle(found)}`);
  const app = await get(at`/v1/apps/${found.name}`, {}, { signal });
  const page = new Unanswered(app, SPANS.includes(Number(query.days)) ? Number(query.days) : 7, signal);
  root.append(
    h("p", { class: "muted" }, t("unanswered.about")),
    h("div", { class: "fields" }, appChoice(apps, app, "/unanswered/{app}"), page.span),
    page.element,
  );
  await page.load();
  return undefined;
}

class Unanswered {
  constructor(app, days, signal) {
    Object.assign(this, { app, days, signal });
    this.path = at`/v1/apps/${app.name}/unanswered`;
    const options = SPANS.map((one) => [String(one), t("unanswered.days", { count: one })]);
    this.list = select(options, String(days), { onchange: () => this.#change() });
    this.span = field(t("unanswered.span"), this.list);
    this.element = h("div", {});
  }

  #change() {
    this.days = Number(this.list.value);
    keepQuery({ days: this.days });
    this.load().catch(showError);
  }

  async load() {
    const found = await get(this.path, { days: this.days }, { signal: this.signal });
    const clusters = found.clusters.map((one) => this.#cluster(one));
    replace(
      this.element,
      h("p", { role: "status" }, t("unanswered.count", { count: found.messages })),
      clusters.length ? clusters : h("div", { class: "empty" }, h("p", {}, t("unanswered.none"))),
    );
  }

  #cluster(cluster) {
    const boxes = cluster.examples.map((one) => [one, checkbox(one.text, true)]);
    const where = (one) => h("a", { href: link("/desk/{id}", { id: one.conversation }) }, t("unanswered.see"));
    const row = ([one, box]) => h("li", { class: "row between" }, box.element, where(one));
    const chosen = () => boxes.filter(([, box]) => box.input.checked).map(([one]) => one);
    const button = (name, kind, run) => h("button", { type: "button", class: kind, onclick: run }, name);
    const proposal = cluster.proposal?.kind === "entry" ? "entry" : "intent";
    const rest = boxes.slice(SHOWN);
    return h(
      "article",
      { class: "card cluster" },
      h("h2", {}, cluster.words?.length ? listed(cluster.words) : cluster.examples[0]?.text),
      h("p", { class: "hint" }, t("unanswered.size", { count: cluster.size })),
      h("ul", { class: "plain-list" }, boxes.slice(0, SHOWN).map(row)),
      rest.length > 0 &&
        h("details", {}, h("summary", {}, t("unanswered.rest", { count: rest.length })), h("ul", { class: "plain-list" }, rest.map(row))),
      h(
        "div",
        { class: "buttons" },
        button(t("unanswered.intent"), proposal === "intent" ? "primary" : null, () => this.#decide(chosen(), "intent", cluster)),
        button(t("unanswered.entry"), proposal === "entry" ? "primary" : null, () => this.#decide(chosen(), "entry", cluster)),
        button(t("unanswered.dismiss"), null, () => this.#send(chosen(), { dismiss: true })),
      ),
    );
  }

  async #decide(examples, kind, { proposal }) {
    if (!examples.length) return void show(t("unanswered.choose"));
    const written = languageOf(this.app, examples[0].text);
    const about = { kind, intent: proposal?.kind === "intent" ? (proposal.name ?? "") : "", question: examples[0].text };
    const fields = meaningFields(this.app.intents ?? [], written, about);
    const save = () => fields.chosen();
    const meaning = await dialog(t("unanswered.decide"), fields.elements, [{ label: t("action.save"), value: save }]);
    if (meaning) await this.#send(examples, meaning);
    return undefined;
  }

  async #send(examples, meaning) {
    if (!examples.length) return void show(t("unanswered.choose"));
    const body = { examples: examples.map(({ conversation, turn }) => ({ conversation, turn })), ...meaning };
    const found = await attempt(() => send("POST", this.path, body));
    if (!found) return undefined;
    show(meaning.dismiss ? t("unanswered.dismissed") : t("unanswered.done", { count: found.labels }), { kind: "good" });
    return attempt(() => this.load()); // a group may have more messages than its examples
  }
}
