/** One conversation at the desk: why it came here, what was said, and what the person does with it. */

import { at, backOff, get, pause, send } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt, say, show } from "../messages.js";
import { moment, t } from "../phrases.js";
import { session } from "../session.js";
import { facts } from "../serving/lists.js";
import { Composer } from "./composer.js";
import { correctTurn } from "./correct.js";
import { reasonName, slotList, turnView } from "./turn.js";

/** Seconds for which the server waits for something new before it answers. */
const WAIT = 20;
/** Pixels from the end of the transcript within which it counts as its end. */
const NEAR = 120;
const TONES = { waiting: "warn", agent: "accent", closed: "", bot: "good" };

export class ConversationView {
  /** `found` has all turns; `changed` is called when it moves to another list, with whether it is now one of this person. */
  constructor(found, changed, signal) {
    Object.assign(this, { conversation: found, changed, signal });
    this.path = at`/v1/desk/conversations/${found.id}`;
    this.turns = [];
    this.head = h("header", { class: "conversation-head" });
    this.about = h("div", {});
    this.log = h("ol", { class: "transcript", tabindex: "0", "aria-live": "polite", "aria-label": t("desk.transcript") });
    this.composer = new Composer(found, (answer) => this.#got(answer), signal);
    const about = { class: "conversation", "aria-label": t("desk.conversation") };
    this.element = h("section", about, this.head, this.about, this.log, this.composer.element);
    this.#keepEnd();
    this.#got(found);
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
  }

  get #mine() {
    return this.conversation.stage === "agent" && (session.value.open || this.conversation.agent === session.value.name);
  }

  /** Listen to what the customer writes while the page is shown. */
  async follow() {
    this.#toEnd();
    for (let tries = 0; !this.signal.aborted && this.conversation.stage !== "closed"; ) {
      try {
        const query = { after: this.conversation.turn, wait: WAIT };
        this.#got(await get(this.path, query, { signal: this.signal, attempts: 1 }));
        tries = 0;
        await pause(200, this.signal); // however quickly a server answers
      } catch (error) {
        if (this.signal.aborted || (error.status && !error.temporary)) return;
        await pause(backOff((tries += 1), error.wait), this.signal).catch(() => {});
      }
    }
  }

  #got({ turns = [], ...fields }) {
    const before = this.conversation.stage;
    const last = this.turns.at(-1)?.number ?? 0;
    const added = turns.filter((one) => one.number > last);
    this.conversation = { ...this.conversation, ...fields, turn: Math.max(this.conversation.turn ?? 0, added.at(-1)?.number ?? 0) };
    delete this.conversation.turns;
    this.turns.push(...added);
    this.log.append(...added.map((one) => turnView(one, { tools: this.#tools(one) })));
    this.#show();
    if (this.atEnd || added.some((one) => one.author === "agent")) this.#toEnd();
    if (added.some((one) => one.author === "visitor") && this.#mine) this.composer.suggest();
    if (before !== this.conversation.stage) this.changed(this.#mine);
  }

  #tools(turn) {
    if (turn.author !== "visitor" || !turn.text) return null;
    const correct = () => this.#correct(turn);
    const name = t("desk.correct.one", { text: turn.text.slice(0, 60) });
    return h("button", { type: "button", class: "small", "aria-label": name, onclick: correct }, t("desk.correct"));
  }

  #correct(turn) {
    const later = this.turns.filter((one) => one.number > turn.number);
    const intent = later.find((one) => one.author === "bot")?.intent ?? "";
    const answer = later.find((one) => one.author === "agent")?.text ?? "";
    return correctTurn(this.conversation, turn, intent, answer);
  }

  #show() {
    const { conversation } = this;
    const shown = JSON.stringify([conversation.stage, conversation.agent, conversation.summary, conversation.slots, conversation.reasons]);
    if (shown === this.shown) return;
    this.shown = shown;
    replace(
      this.head,
      h(
        "div",
        { class: "row" },
        h("h2", {}, conversation.app),
        h("span", { class: `badge ${TONES[conversation.stage]}` }, t(`desk.stage.${conversation.stage}`)),
        conversation.agent && h("span", { class: "muted" }, conversation.agent),
      ),
      h("div", { class: "buttons" }, this.#buttons()),
    );
    replace(this.about, this.#reasons());
    this.composer.element.hidden = !this.#mine;
    if (this.#mine) this.composer.suggest();
  }

  /** Keep the end of the transcript in sight while other parts take room from it, unless the person has scrolled up. */
  #keepEnd() {
    let height = 0;
    this.atEnd = true;
    this.log.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.log;
      if (clientHeight === height) this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    });
    new ResizeObserver(() => {
      height = this.log.clientHeight;
      if (this.atEnd) this.#toEnd();
    }).observe(this.log);
  }

  #toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  #buttons() {
    const button = (name, action, kind, key) =>
      h(
        "button",
        { type: "button", class: kind, "aria-keyshortcuts": key, onclick: () => this.#do(action) },
        name,
        key && h("kbd", { "aria-hidden": "true" }, key),
      );
    if (this.#mine) return [button(t("desk.return"), "return", null), button(t("desk.close"), "close", null)];
    if (this.conversation.stage === "waiting") return button(t("desk.take"), "take", "primary", "t");
    return [];
  }

  async #do(action) {
    const found = await attempt(() => send("POST", `${this.path}/${action}`, {}));
    if (!found) return;
    this.#got(found);
    if (action === "take") say(t("desk.done.take"));
    else show(t(`desk.done.${action}`), { kind: "good" });
  }

  #reasons() {
    const { summary, reasons = [], slots = {}, queued, satisfaction, comment, language } = this.conversation;
    const score = typeof satisfaction === "number" ? t("desk.score", { score: satisfaction }) : null;
    const known = Object.entries(slots);
    return h(
      "div",
      { class: "card why" },
      reasons.length > 0 && h("p", { class: "badges" }, reasons.map((one) => h("span", { class: "badge warn" }, reasonName(one)))),
      summary && h("p", { class: "summary" }, h("strong", {}, t("desk.summary")), " ", summary),
      known.length > 0 && slotList(known),
      facts([
        [t("desk.language"), language],
        [t("desk.queued"), queued ? moment(queued) : null],
        [t("desk.satisfaction"), score],
        [t("desk.comment"), comment],
      ]),
    );
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.key !== "t") return;
    if (event.target.matches?.("input, textarea, select") || event.target.closest?.("dialog") || !this.element.isConnected) return;
    if (this.conversation.stage !== "waiting") return;
    event.preventDefault();
    this.#do("take");
  }
}
