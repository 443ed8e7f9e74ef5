/** Where a person writes to a customer: with suggested answers by one key each, and canned replies. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt, dialog, say } from "../messages.js";
import { percent, t } from "../phrases.js";
import { inLanguage } from "./apps.js";

/** What was written and not sent, by conversation, kept while another one is shown. */
const drafts = new Map();

export class Composer {
  /** `sent` is called with the response of the server after each message. */
  constructor(conversation, sent, signal) {
    this.conversation = conversation;
    this.path = at`/v1/desk/conversations/${conversation.id}`;
    this.sent = sent;
    this.signal = signal;
    this.message = null;
    this.suggestions = [];
    this.offered = h("ol", { class: "suggestions", "aria-label": t("desk.suggestions") });
    this.text = h("textarea", {
      rows: 3,
      maxlength: 4000,
      value: drafts.get(conversation.id) ?? "",
      "aria-label": t("desk.write"),
      placeholder: t("desk.write"),
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#key(event),
    });
    this.button = h("button", { type: "submit", class: "primary" }, t("desk.send"), " ", h("kbd", {}, "↵"));
    this.element = h(
      "form",
      { class: "composer", onsubmit: (event) => (event.preventDefault(), this.#send()) },
      this.offered,
      this.text,
      h(
        "div",
        { class: "row between" },
        h("span", { class: "hint" }, t("desk.keys")),
        h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => this.#canned() }, t("desk.canned")), this.button),
      ),
    );
    document.addEventListener("keydown", (event) => this.#shortcut(event), { signal });
  }

  /** Ask for answers that suit what the customer wrote last. */
  async suggest() {
    const found = await get(`${this.path}/suggestions`, {}, { signal: this.signal }).catch(() => null);
    this.suggestions = (found?.suggestions ?? []).slice(0, 9);
    replace(
      this.offered,
      this.suggestions.map((one, place) => h("li", {}, this.#suggestion(one, place))),
    );
    this.offered.hidden = !this.suggestions.length;
  }

  #suggestion(one, place) {
    return h(
      "button",
      { type: "button", class: "suggestion", "aria-keyshortcuts": String(place + 1), onclick: () => this.#take(one.text) },
      h("kbd", { "aria-hidden": "true" }, String(place + 1)),
      h(
        "span",
        {},
        h("span", { class: "hint" }, one.title || t(`desk.suggestion.${one.kind}`)),
        " ",
        typeof one.confidence === "number" && h("span", { class: "badge" }, percent(one.confidence)),
        h("span", { class: "clamp block" }, one.text),
      ),
    );
  }

  /** Put a text into the box, after what is there. */
  #take(text) {
    const written = this.text.value.trimEnd();
    this.text.value = written ? `${written}\n${text}` : text;
    this.#changed();
    this.text.focus();
    say(t("desk.taken"));
  }

  #changed() {
    this.message = null; // another text is another message
    drafts.set(this.conversation.id, this.text.value);
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#send();
  }

  /** A digit takes a suggestion; in the box, together with Alt. */
  #shortcut(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.repeat || !this.element.isConnected) return;
    const writing = event.target.matches?.("input, textarea, select");
    if (event.target.closest?.("dialog") || (writing && !event.altKey)) return;
    const suggestion = this.suggestions[Number(event.code?.replace(/^(Digit|Numpad)/, "") || event.key) - 1];
    if (!suggestion) return;
    event.preventDefault();
    this.#take(suggestion.text);
  }

  async #send() {
    const text = this.text.value.trim();
    if (!text || this.button.disabled) return;
    this.message ??= Array.from(crypto.getRandomValues(new Uint32Array(4)), (one) => one.toString(16)).join("-");
    this.button.disabled = true;
    const found = await attempt(() => send("POST", `${this.path}/messages`, { message: this.message, text }));
    this.button.disabled = false;
    if (!found) return; // the same message is sent again, with its id
    this.text.value = "";
    this.#changed();
    this.sent(found);
  }

  async #canned() {
    const found = await attempt(() => get("/v1/desk/canned"));
    if (!found) return;
    const content = (finish) => [
      !found.canned.length && h("p", {}, t("canned.none")),
      h(
        "ul",
        { class: "plain-list" },
        found.canned.map((one) => {
          const text = inLanguage(one.texts, this.conversation.language);
          const button = { type: "button", class: "suggestion", onclick: () => finish(text) };
          return h("li", {}, h("button", button, h("span", {}, h("strong", {}, one.name), h("span", { class: "clamp block" }, text))));
        }),
      ),
    ];
    const text = await dialog(t("desk.canned"), content);
    if (text) this.#take(text);
  }
}
