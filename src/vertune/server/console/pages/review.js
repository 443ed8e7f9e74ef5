/** Records that need a decision: annotators disagree, reviewers label the hold-out, or somebody rejected a record. One key decides. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { editorFor } from "../labelling/editors.js";
import { findProject, projectTabs } from "../labelling/projects.js";
import { labelBadges, recordView, suggestionBadge, targetText } from "../labelling/record-view.js";
import { sameTarget, shapeOf } from "../labelling/shape.js";
import { chooseTarget } from "../labelling/target-dialog.js";
import { attempt, say, show, showError } from "../messages.js";
import { listed, percent, t } from "../phrases.js";
import { link } from "../router.js";

const KINDS = ["disagreement", "held", "rejected"];
const PAGE = 20;
/** Records that are left when the next ones are fetched. */
const LOW = 5;

export default async function review({ root, params, query, signal, title }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.review")} · ${project.name}`);
  const kind = KINDS.includes(query.kind) ? query.kind : KINDS[0];
  const page = new ReviewPage(project, kind, signal);
  const tabs = KINDS.map((one) => {
    const current = one === kind ? "page" : null;
    return h("a", { href: link("/review/{project}", params, { kind: one }), "aria-current": current }, t(`review.kind.${one}`));
  });
  root.append(
    h("header", {}, h("h1", {}, project.name)),
    projectTabs(project, "/review/{project}"),
    h("nav", { class: "tabs", "aria-label": t("review.kinds") }, tabs),
    page.element,
  );
  await page.fill();
  page.show();
}

class ReviewPage {
  constructor(project, kind, stop) {
    this.project = project;
    this.shape = shapeOf(project);
    this.path = at`/v1/projects/${project.name}`;
    this.kind = kind;
    this.stop = stop;
    this.records = [];
    this.place = 0;
    this.after = null;
    this.ended = false;
    this.decided = [];
    this.reason = h("input", { maxlength: 1000, autocomplete: "off", onkeydown: (event) => this.#inReason(event) });
    this.body = h("div", {});
    this.element = h("div", {}, this.body, this.#controls());
    document.addEventListener("keydown", (event) => this.#key(event), { signal: stop });
  }

  get record() {
    return this.records[this.place] ?? null;
  }

  /** Fetch the next records if few are left. */
  async fill() {
    if (this.ended || this.filling || this.records.length - this.place > LOW) return;
    this.filling = true;
    try {
      while (!this.ended && this.records.length - this.place <= LOW) {
        const query = { kind: this.kind, after: this.after, limit: PAGE };
        const found = await get(`${this.path}/reviews`, query, { signal: this.stop });
        this.after = found.next;
        this.ended = found.next === null;
        this.records.push(...found.records);
      }
    } finally {
      this.filling = false;
    }
  }

  show() {
    const { record } = this;
    this.controls.hidden = !record;
    this.editor = null;
    this.candidates = record ? candidatesOf(record) : [];
    if (!record) {
      replace(this.body, h("div", { class: "empty" }, h("h2", {}, t(`review.end.${this.kind}`))));
      return;
    }
    const asked = this.candidates.length === 0;
    if (asked) {
      this.editor = editorFor(this.shape, this.project.settings, {
        changed: () => {}, answered: () => this.#decideByEditor(),
      });
      this.editor.show(record, null, null);
    }
    replace(
      this.body,
      h("p", { class: "muted" }, t("review.record", { record: record.record }), " ", suggestionBadge(this.shape, record)),
      asked && this.editor.text ? this.#withMarks(record) : h("div", { class: "card" }, recordView(this.shape, record.fields)),
      h("div", { class: "badges" }, labelBadges(this.shape, record)),
      asked ? this.#byEditor() : h("div", { class: "candidates" }, this.candidates.map((one, place) => this.#candidate(one, place))),
    );
  }

  #withMarks(record) {
    const others = { ...record.fields };
    delete others[this.shape.marked];
    return h("div", { class: "card" }, recordView({ ...this.shape, inputs: Object.keys(others) }, others), this.editor.text);
  }

  #byEditor() {
    const confirm = h("button", { type: "button", class: "primary", onclick: () => this.#decideByEditor() }, t("review.confirm"));
    return h("div", { class: "card" }, this.editor.element, confirm);
  }

  #candidate({ target, names }, place) {
    const marks = this.shape.type === "spans" || this.shape.type === "answers";
    return h(
      "button",
      { type: "button", class: "candidate", onclick: () => this.#decide(target), "aria-keyshortcuts": String(place + 1) },
      h("span", { class: "row" }, h("kbd", { "aria-hidden": "true" }, String(place + 1)), h("strong", {}, this.#text(target))),
      marks && recordView({ ...this.shape, inputs: [this.shape.marked] }, this.record.fields, target),
      names.length > 0 && h("span", { class: "hint" }, t("review.by", { names: listed(names) })),
      this.#consensus(target),
    );
  }

  /** Return a badge for the answer that the labels of all annotators amount to. */
  #consensus(target) {
    const { consensus } = this.record;
    if (!consensus || !sameTarget(consensus.target, target)) return null;
    const share = consensus.probability;
    const text = share === null ? t("review.consensus") : t("review.consensus.share", { share: percent(share) });
    return h("span", { class: "badge accent" }, text);
  }

  #text(target) {
    return targetText(this.shape, this.record.fields, target);
  }

  #controls() {
    const button = (text, key, run) =>
      h("button", { type: "button", "aria-keyshortcuts": key, onclick: run }, text, h("kbd", { "aria-hidden": "true" }, key));
    this.controls = h(
      "div",
      { class: "card later" },
      h("label", { class: "field" }, h("span", {}, t("review.reason"), " ", h("kbd", { "aria-hidden": "true" }, "r")), this.reason),
      h("p", { class: "hint" }, t("review.reason.hint")),
      h(
        "div",
        { class: "buttons" },
        button(t("review.other"), "o", () => this.#other()),
        button(t("review.skip"), "s", () => this.#next()),
        button(t("review.undo"), "u", () => this.#undo()),
      ),
    );
    return this.controls;
  }

  // ---------------------------------------------------------------- decisions

  #decideByEditor() {
    const value = this.editor.value();
    if (value === null) show(t("record.choose"));
    else this.#decide({ [this.shape.target]: value });
  }

  async #other() {
    const { record } = this;
    const target = record && (await chooseTarget(this.project, this.shape, t("review.other"), record));
    if (target) this.#decide(target);
  }

  /** Store a decision, and show the next record without waiting; if it can't be stored, the record comes back. */
  async #decide(target) {
    const { record } = this;
    const body = { record: record.record, target, reason: this.reason.value.trim() };
    this.decided.push(record);
    say(t("review.decided", { text: this.#text(target) }));
    this.records.splice(this.place, 1);
    this.reason.value = "";
    this.show();
    try {
      await Promise.all([send("PUT", `${this.path}/decisions`, body), this.#fillAndShow()]);
    } catch (error) {
      this.decided = this.decided.filter((one) => one !== record);
      this.records.splice(this.place, 0, record);
      this.reason.value = body.reason;
      this.show();
      showError(error);
    }
  }

  async #undo() {
    const record = this.decided.pop();
    if (!record) {
      show(t("review.undo.none"));
      return;
    }
    const done = await attempt(async () => {
      await send("DELETE", `${this.path}${at`/decisions/${record.record}`}`);
      return true;
    });
    if (!done) {
      this.decided.push(record);
      return;
    }
    this.records.splice(this.place, 0, record);
    this.show();
    say(t("review.undone"));
  }

  #next() {
    this.place = Math.min(this.records.length, this.place + 1);
    this.show();
    attempt(() => this.#fillAndShow());
  }

  async #fillAndShow() {
    const none = this.record === null;
    await this.fill();
    if (none && this.record) this.show();
  }

  // ---------------------------------------------------------------- keys

  #inReason(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    this.reason.blur();
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.matches?.("input:not(.number-answer), textarea, select") || event.target.closest?.("dialog, .menu")) return;
    if (event.target.closest?.("button, a") && (event.key === "Enter" || event.key === " ")) return;
    const run = this.#meaning(event.key);
    if (!run) return;
    event.preventDefault();
    run();
  }

  /** Return what a key does; undefined if it does nothing here. */
  #meaning(key) {
    if (key === "u") return () => this.#undo();
    if (!this.record) return undefined;
    const candidate = this.candidates[Number(key) - 1];
    if (candidate) return () => this.#decide(candidate.target);
    if (this.editor && key === "Enter") return () => this.#decideByEditor();
    if (this.editor?.key({ key }) === true) return () => {};
    return { r: () => this.reason.focus(), o: () => this.#other(), s: () => this.#next() }[key];
  }
}

/** Return the different answers to a record, each with who gave it, the most frequent first; their consensus, too, if nobody gave it. */
function candidatesOf(record) {
  const found = [];
  for (const label of record.labels ?? []) {
    if (!label.target) continue;
    const same = found.find((one) => sameTarget(one.target, label.target));
    if (same) same.names.push(label.annotator);
    else found.push({ target: label.target, names: [label.annotator] });
  }
  const consensus = record.consensus?.target;
  if (consensus && !found.some((one) => sameTarget(one.target, consensus))) found.push({ target: consensus, names: [] });
  return found.sort((one, other) => other.names.length - one.names.length);
}
