/** Asks models a text or a record, shows what each answers and how sure it is, and takes what the person says of the answer. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { attempt, say } from "../messages.js";
import { t } from "../phrases.js";
import { go, link } from "../router.js";
import { may } from "../session.js";
import { AnswerCard } from "../serving/answer.js";
import { taskName, verticalBadge } from "../serving/metrics.js";
import { nearestRows } from "../serving/nearest.js";
import { fieldName } from "../serving/parts.js";
import { phoneButton } from "../serving/phone.js";

/** What was typed, kept while the page of another vertical is shown. */
const typed = new Map();

export default async function tryModels({ root, params, signal, title }) {
  const { verticals } = await get("/v1/verticals", {}, { signal });
  const ready = verticals.filter((one) => one.ready);
  root.append(h("header", {}, h("h1", {}, t("try.title"))));
  if (!ready.length) return void root.append(nothing(verticals));
  const chosen = ready.find((one) => one.name === params.vertical);
  if (!chosen) {
    if (params.vertical)
      return void root.append(h("p", { class: "notice warn" }, t("try.missing", { name: params.vertical })), choice(ready, ready[0]));
    return go(link("/try/{vertical}", { vertical: ready[0].name }), { instead: true });
  }
  title(`${t("try.title")}: ${chosen.name}`);
  const page = new Try(chosen, ready);
  root.querySelector("header").append(phoneButton(chosen));
  root.append(choice(ready, chosen), page.element);
  page.focus();
  return undefined;
}

function nothing(verticals) {
  const waiting = verticals.filter((one) => one.coming);
  return h(
    "div",
    { class: "empty" },
    h(
      "p",
      {},
      waiting.length ? t("try.waiting") : t("try.none"),
      " ",
      !waiting.length && may("train") && h("a", { href: link("/train") }, t("home.train")),
    ),
    waiting.map((one) => h("p", {}, one.name, " ", verticalBadge(one))),
  );
}

function choice(ready, chosen) {
  const list = select(
    ready.map((one) => [one.name, `${one.name} · ${taskName(one.task)}`]),
    chosen.name,
    {
      onchange: () => go(link("/try/{vertical}", { vertical: list.value })),
    },
  );
  return field(t("try.vertical"), list);
}

class Try {
  constructor(vertical, ready) {
    this.vertical = vertical;
    const fields = Object.entries(vertical.fields ?? {});
    this.inputs = new Map(fields.map(([name]) => [name, this.#input(name, fields.length > 3)]));
    const same = ready.filter((one) => one !== vertical && sameFields(one, vertical));
    this.others = same.map((one) => [one, checkbox(one.name, false)]);
    this.button = h("button", { type: "submit", class: "primary" }, t("try.ask"), " ", h("kbd", {}, "Ctrl ↵"));
    this.results = h("div", { class: "answers", "aria-live": "polite" });
    const optional = new Set(vertical.optional ?? []);
    const alone = (name) => fields.length - optional.size === 1 && !optional.has(name);
    const shown = ([name, about]) =>
      field(alone(name) ? t("try.text") : fieldName(name), this.inputs.get(name), alone(name) || fieldName(name) !== name ? "" : about);
    this.element = h(
      "form",
      { onsubmit: (event) => this.#ask(event) },
      fields.filter(([name]) => !optional.has(name)).map(shown),
      optional.size > 0 &&
        h(
          "details",
          { open: [...optional].some((name) => typed.get(name)) },
          h("summary", {}, t("try.optional")),
          fields.filter(([name]) => optional.has(name)).map(shown),
        ),
      this.others.length > 0 &&
        h(
          "details",
          {},
          h("summary", {}, t("try.others", { count: this.others.length })),
          h(
            "fieldset",
            {},
            h("legend", { class: "visually-hidden" }, t("try.others.legend")),
            this.others.map(([, box]) => box.element),
          ),
        ),
      h("div", { class: "buttons" }, this.button),
      this.results,
    );
  }

  focus() {
    [...this.inputs.values()][0]?.focus({ preventScroll: true });
  }

  #input(name, many) {
    return h(many ? "input" : "textarea", {
      rows: many ? null : 3,
      value: typed.get(name) ?? "",
      autocomplete: "off",
      oninput: (event) => typed.set(name, event.target.value),
      onkeydown: (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && this.element.requestSubmit(),
    });
  }

  async #ask(event) {
    event.preventDefault();
    const record = Object.fromEntries(
      [...this.inputs].map(([name, input]) => [name, input.value]).filter(([, value]) => value.trim() !== ""),
    );
    if (!Object.keys(record).length) return void this.focus();
    const asked = [this.vertical, ...this.others.filter(([, box]) => box.input.checked).map(([one]) => one)];
    this.button.disabled = true;
    const begin = performance.now();
    const found = await attempt(() => this.#send(record, asked));
    const seconds = (performance.now() - begin) / 1000;
    this.button.disabled = false;
    if (!found) return undefined;
    replace(
      this.results,
      found.map((one, place) => this.#card(asked[place], one, record, seconds)),
    );
    say(t("try.answered", { count: found.length }));
    return undefined;
  }

  #card(vertical, found, record, seconds) {
    const { element } = new AnswerCard(vertical, found, record, seconds);
    if (may("train")) element.append(nearestRows(vertical, record));
    return element;
  }

  async #send(record, asked) {
    if (asked.length === 1) return [await send("POST", at`/v1/verticals/${asked[0].name}/predict`, { records: [record] })];
    const { results } = await send("POST", "/v1/predict", { verticals: asked.map((one) => one.name), records: [record] });
    return results;
  }
}

/** Return whether two verticals read the same fields, so that one record can be sent to both. */
function sameFields(one, other) {
  const names = (vertical) =>
    Object.keys(vertical.fields ?? {})
      .sort()
      .join("\0");
  return names(one) === names(other);
}
