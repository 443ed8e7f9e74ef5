/** The label page: one record at a time, answered with single keys; see labelling/desk.js for what happens to an answer. */

import { backOff, pause } from "../api.js";
import { h, replace } from "../dom.js";
import { Desk } from "../labelling/desk.js";
import { editorFor } from "../labelling/editors.js";
import { Feed } from "../labelling/feed.js";
import { showGuidelines, showHelp } from "../labelling/guidance.js";
import { outboxOf } from "../labelling/outbox.js";
import { findProject } from "../labelling/projects.js";
import { queueTabs, sendingState } from "../labelling/status.js";
import { brief, inputsOf, shapeOf, valueOf } from "../labelling/shape.js";
import { explained, say, show, showError } from "../messages.js";
import { percent, t } from "../phrases.js";
import { preference, setPreference } from "../preferences.js";
import { link } from "../router.js";
import { identity } from "../session.js";

const SHOWN = new Set(["done", "draft"]);
/** Whether people touch the screen; then a text that has the focus would only hide what they marked. */
const COARSE = matchMedia("(pointer: coarse)");
/** Controls that take all keys. */
const TYPED = "input:not([type=checkbox]), textarea, select";
const COMMANDS = new Set(["Enter", " ", "x", "u", "?", "/"]);
/** Number of measured times that the browser keeps. */
const MEASURED = 1000;

export default async function label({ root, params, query, signal, title }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.label")} · ${project.name}`);
  const page = new LabelPage(project, query.queue ?? "pending", signal);
  root.append(...page.elements);
  await page.start();
}

class LabelPage {
  constructor(project, queue, stop) {
    this.project = project;
    this.queue = queue;
    this.stop = stop;
    this.shape = shapeOf(project);
    this.suggests = project.settings.suggestions !== "hidden";
    this.outbox = outboxOf(identity());
    this.feed = new Feed({ project: project.name, queue, outbox: this.outbox, signal: stop });
    this.desk = new Desk({ project, shape: this.shape, feed: this.feed, outbox: this.outbox, shown: (item) => this.show(item), stop });
    this.editor = editorFor(this.shape, project.settings, {
      changed: () => this.desk.edit(this.editor.value()),
      answered: () => (preference("goOn", true) ? this.confirm() : this.desk.edit(this.editor.value())),
    });
    this.elements = this.#layout();
    document.addEventListener("keydown", (event) => this.#key(event), { signal: stop });
    this.outbox.heard((name, one) => name === project.name && this.feed.answeredElsewhere(one), stop);
    this.outbox.state.listen((state) => state.waiting === 0 && this.#fill(), { signal: stop });
  }

  async start() {
    await this.feed.fill();
    this.desk.begin();
  }

  // ---------------------------------------------------------------- what is shown

  #layout() {
    this.record = h("div", { class: "record", "aria-live": "off" });
    this.about = h("p", { class: "suggestion" });
    const action = (text, key, name, run, kind) =>
      h(
        "button",
        { type: "button", class: kind ?? null, "aria-keyshortcuts": key, onclick: run, onmousedown: (event) => event.preventDefault() },
        text,
        h("kbd", { "aria-hidden": "true" }, name),
      );
    this.actions = h(
      "div",
      { class: "actions", role: "group", "aria-label": t("label.actions") },
      action(t("label.confirm"), "Enter", t("label.key.enter"), () => this.confirm(), "primary"),
      action(t("label.skip"), "Space", t("label.key.space"), () => this.skip()),
      action(t("label.reject"), "x", "X", () => this.reject()),
      action(t("label.undo"), "u", "U", () => this.undo()),
    );
    this.moving = h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "plain icon", "aria-label": t("label.previous"), onclick: () => this.move(-1) }, "←"),
      h("button", { type: "button", class: "plain icon", "aria-label": t("label.next"), onclick: () => this.move(1) }, "→"),
    );
    const goesOn = h("input", {
      type: "checkbox", checked: preference("goOn", true), onchange: (event) => setPreference("goOn", event.target.checked),
    });
    const help = h("button", { type: "button", class: "plain", "aria-keyshortcuts": "?", onclick: () => this.help() }, t("label.help"));
    const progress = h("a", { href: link("/progress/{project}", { project: this.project.name }) }, t("label.progress"));
    return [
      h(
        "header",
        { class: "label-header" },
        h("h1", {}, this.project.name),
        queueTabs(this.project, this.queue, this.desk.counts, this.stop),
        h("div", { class: "buttons" }, sendingState(this.outbox, this.stop), progress, help),
      ),
      h(
        "div",
        { class: "desk" },
        h(
          "section",
          { class: "sheet", "aria-label": t("label.record") },
          h("div", { class: "row between" }, this.about, this.moving),
          this.record,
        ),
        h(
          "aside",
          { class: "side", "aria-label": t("label.labels") },
          this.editor.element,
          this.editor.single && h("label", { class: "choice hint" }, goesOn, h("span", {}, t("label.goesOn"))),
          showGuidelines(this.project, this.shape),
        ),
        this.actions,
      ),
    ];
  }

  /** Show a record, or that there is none. Called with each key press, so it does as little as possible. */
  show(item) {
    this.actions.classList.toggle("idle", !item);
    if (!item) return this.#showEnd();
    const suggested = this.suggests ? valueOf(this.shape, item.suggestion) : null;
    const stored = SHOWN.has(item.label?.state) ? valueOf(this.shape, item.label) : null;
    const value = item.edit ?? stored ?? suggested;
    this.record.scrollTop = 0; // while the layout is known; after the changes below, it would have to be computed here
    this.#showFields(inputsOf(this.shape, item.fields));
    this.editor.show(item, value, suggested);
    this.#describe(item, suggested);
    const marked = this.editor.text;
    if (marked && document.activeElement !== marked && !COARSE.matches) marked.focus({ preventScroll: true });
    return undefined;
  }

  /** Show the fields of a record, in the elements of the one before if it had the same fields. */
  #showFields(inputs) {
    const names = inputs.map(([name]) => name).join("\n");
    if (names !== this.shownNames) {
      this.shownNames = names;
      this.texts = new Map(inputs.map(([name]) => [name, h("p", { class: "input-text" })]));
      const marked = this.editor.text;
      const text = (name) => (marked && name === this.shape.marked ? marked : this.texts.get(name));
      const parts = inputs.map(([name]) =>
        h("div", { class: "input" }, inputs.length > 1 && h("h2", { class: "input-name" }, name), text(name)),
      );
      replace(this.record, parts);
      this.record.classList.toggle("pair", inputs.length === 2 && !marked);
    }
    for (const [name, value] of inputs) this.texts.get(name).textContent = String(value);
  }

  #describe(item, suggested) {
    const parts = [t("label.number.record", { record: item.record })];
    if (item.label && item.label.state !== "pending") parts.push(t(`label.state.${item.label.state}`));
    if (suggested !== null) {
      const { confidence } = item.suggestion;
      const sure = confidence === null || confidence === undefined ? "" : percent(confidence);
      const text = brief(this.shape, item.suggestion.target, t("label.nothing"));
      parts.push(this.editor.text ? t("label.suggested", { sure }) : `${t("label.suggestion", { text })} ${sure}`);
    }
    this.about.textContent = parts.join(" · ");
  }

  #showEnd() {
    this.shownNames = null;
    this.about.textContent = "";
    this.record.classList.remove("pair");
    const waiting = !this.feed.ended;
    const again = h("button", { type: "button", class: "primary", onclick: () => this.#again() }, t("label.again"));
    replace(
      this.record,
      h(
        "div",
        { class: "empty" },
        h("h2", {}, waiting ? t("label.waiting") : t(`label.end.${this.queue}`)),
        !waiting && h("p", {}, h("a", { href: link("/progress/{project}", { project: this.project.name }) }, t("label.toProgress"))),
        !waiting && again,
      ),
    );
    if (waiting) this.#fill();
  }

  // ---------------------------------------------------------------- what a person does

  confirm() {
    const { item } = this.desk;
    if (!item) return;
    const value = this.editor.value();
    if (value === null) {
      show(t(`label.missing.${this.shape.type}`));
      return;
    }
    this.#answer("done", value);
  }

  skip() {
    this.#answer("skipped", null);
  }

  reject() {
    this.#answer("rejected", null);
  }

  undo() {
    if (this.desk.undo()) say(t("label.undone"));
    else show(t("label.undo.none"));
  }

  move(step) {
    if (!this.desk.move(step)) say(t("label.move.none"));
    this.#fill();
  }

  help() {
    showHelp(this.shape);
  }

  #answer(state, value) {
    const { item } = this.desk;
    if (!item) return;
    this.desk.answer(state, value);
    say(t(`label.state.${state}`));
    this.#fill();
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { target } = event;
    const number = target.matches?.(".number-answer");
    if ((!number && target.matches?.(TYPED)) || target.closest?.("dialog, .menu")) return;
    if (target.closest?.("button, a, summary") && (event.key === "Enter" || event.key === " ")) return;
    if (target.matches?.("[type=checkbox]") && event.key === " ") return;
    const started = event.timeStamp;
    if (!this.#command(event, number)) return;
    event.preventDefault();
    performance.measure("vertune.key", { start: started, end: performance.now() });
    if (performance.getEntriesByName("vertune.key").length > MEASURED) performance.clearMeasures("vertune.key");
  }

  /** Do what a key means; returns whether it means something here. */
  #command(event, number) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const moves = { "[": -1, "]": 1, ...(number ? {} : { ArrowLeft: -1, ArrowRight: 1 }) };
    if (moves[key]) {
      this.move(moves[key]);
      return true;
    }
    if (event.repeat) return COMMANDS.has(key);
    const commands = { Enter: "confirm", " ": "skip", x: "reject", u: "undo", "?": "help" };
    if (commands[key]) {
      this[commands[key]]();
      return true;
    }
    if (key === "/" && this.editor.panel) {
      this.editor.panel.startSearch();
      return true;
    }
    if (!this.desk.item) return false;
    return this.editor.key({ key }) === true;
  }

  // ---------------------------------------------------------------- more records

  /** Fetch the next records in the background, again and again while the server can't be reached. */
  async #fill() {
    if (this.filling) return;
    this.filling = true;
    const idle = this.desk.item === null;
    try {
      do await this.#fetched();
      while (!this.desk.item && !this.feed.ended && this.feed.waits && this.outbox.state.value.waiting === 0);
      if (idle && (this.desk.item || this.feed.ended)) this.desk.begin();
    } catch (error) {
      showError(error);
    } finally {
      this.filling = false;
    }
  }

  async #fetched() {
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.feed.fill();
      } catch (error) {
        if (!error.temporary) throw error;
        await pause(backOff(failures, error.wait), this.stop);
      }
    }
  }

  async #again() {
    try {
      await this.feed.again();
      this.desk.begin();
    } catch (error) {
      show(explained(error), { kind: "bad" });
    }
  }
}
