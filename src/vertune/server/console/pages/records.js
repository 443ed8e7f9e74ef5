/** All records of a project, for reviewers: searched, filtered, and labelled many at a time. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { checkbox, field, select } from "../forms.js";
import { findProject, projectTabs } from "../labelling/projects.js";
import { labelBadges, recordView, suggestionBadge } from "../labelling/record-view.js";
import { shapeOf } from "../labelling/shape.js";
import { askSimilar } from "../labelling/similar.js";
import { chooseTarget } from "../labelling/target-dialog.js";
import { attempt, say, show, showError } from "../messages.js";
import { t } from "../phrases.js";
import { keepQuery } from "../router.js";

const STATES = ["pending", "draft", "done", "skipped", "rejected"];
const PAGE = 50;
/** Milliseconds after the last key until a text is searched. */
const TYPING = 300;
/** Targets that one answer can be for many records; places are those of one text. */
const FOR_MANY = new Set(["label", "labels", "number"]);

export default async function records({ root, params, query, signal, title }) {
  const project = await findProject(params.project, signal);
  title(`${t("page.records")} · ${project.name}`);
  const { annotators } = await get(at`/v1/projects/${project.name}/progress`, { agreement: false }, { signal });
  const page = new RecordsPage(project, annotators.map((one) => one.name), query, signal);
  root.append(h("header", {}, h("h1", {}, project.name)), projectTabs(project, "/records/{project}"), page.element);
  await page.load();
}

class RecordsPage {
  constructor(project, annotators, query, stop) {
    this.project = project;
    this.shape = shapeOf(project);
    this.path = at`/v1/projects/${project.name}`;
    this.stop = stop;
    this.selected = new Set();
    this.next = null;
    this.turn = 0;
    this.many = FOR_MANY.has(this.shape.type);
    this.filters = this.#filters(annotators, query);
    this.list = h("ol", { class: "records", "aria-label": t("records.list") });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.#append() }, t("action.more"));
    this.chosen = h("span", { role: "status" });
    const all = h("button", { type: "button", class: "plain", onclick: () => this.#selectAll() }, t("records.selectAll"));
    const label = () => this.#labelSelected();
    this.labelAll = h("button", { type: "button", class: "primary", disabled: true, onclick: label }, t("records.labelAll"));
    const bar = h("div", { class: "row bar" }, all, this.chosen, this.labelAll);
    this.element = h("div", {}, this.form, this.many && bar, this.list, this.more);
  }

  /** Show the first records that the filters let through. */
  async load() {
    this.next = null;
    this.selected.clear();
    this.#count();
    const turn = (this.turn += 1);
    const found = await this.#page(null);
    if (turn !== this.turn) return; // the filters changed meanwhile
    replace(this.list);
    this.#take(found);
    if (!found.records.length) replace(this.list, h("li", { class: "empty" }, t("records.none")));
    say(t("records.found", { count: found.records.length }));
  }

  async #append() {
    const turn = this.turn;
    const found = await attempt(() => this.#page(this.next));
    if (found && turn === this.turn) this.#take(found);
  }

  /** Return the next records; a page of the server may be empty although more follow. */
  async #page(after) {
    const found = await get(`${this.path}/records`, { ...this.#query(), after }, { signal: this.stop });
    return found.records.length || found.next === null ? found : this.#page(found.next);
  }

  #take({ records, next }) {
    this.next = next;
    this.more.hidden = this.next === null;
    this.list.append(...records.map((record) => this.#row(record)));
  }

  #row(record) {
    const box = h("input", {
      type: "checkbox", "aria-label": t("records.select", { record: record.record }), "data-record": record.record,
      onchange: () => this.#select(record.record, box.checked),
    });
    const target = record.decision?.target ?? record.labels?.find((label) => label.state === "done")?.target ?? null;
    return h(
      "li",
      { class: "card record-row" },
      this.many && box,
      h(
        "div",
        {},
        recordView(this.shape, record.fields, target),
        h(
          "div",
          { class: "badges" },
          h("span", { class: "badge" }, t("records.number", { record: record.record })),
          labelBadges(this.shape, record),
          suggestionBadge(this.shape, record),
          record.decision && h("span", { class: "badge good" }, t("records.decided", { reviewer: record.decision.reviewer })),
        ),
      ),
      this.many && h("button", { type: "button", class: "plain", onclick: () => this.#similar(record) }, t("records.similar")),
    );
  }

  // ---------------------------------------------------------------- filters

  #filters(annotators, query) {
    const changed = () => this.#changed(0);
    const typed = () => this.#changed(TYPING);
    const percentInput = (value, name) =>
      h("input", { type: "number", min: 0, max: 100, value: value ? Math.round(value * 100) : "", "aria-label": name, oninput: typed });
    const text = h("input", { type: "search", value: query.text ?? "", oninput: typed });
    const any = ["", t("records.any")];
    const label = select([any, ...this.shape.labels.map(({ name }) => [name, name])], query.label ?? "", { onchange: changed });
    const annotator = select([any, ...annotators.map((name) => [name, name])], query.annotator ?? "", { onchange: changed });
    const state = select([any, ...STATES.map((one) => [one, t(`record.state.${one}`)])], query.state ?? "", { onchange: changed });
    const least = percentInput(query.least, t("records.least"));
    const most = percentInput(query.most, t("records.most"));
    const differs = checkbox(t("records.differs"), query.differs === "true", { onchange: changed });
    const disagree = checkbox(t("records.disagree"), query.disagree === "true", { onchange: changed });
    this.form = h(
      "form",
      { class: "card filters", role: "search", onsubmit: (event) => (event.preventDefault(), changed()) },
      h(
        "details",
        { open: matchMedia("(min-width: 40rem)").matches || Object.keys(query).length > 0 },
        h("summary", {}, t("records.filters")),
        h(
          "div",
          { class: "fields" },
          field(t("records.text"), text),
          this.shape.labels.length > 0 && field(t("records.label"), label),
          field(t("records.annotator"), annotator),
          field(t("records.state"), state),
          h("div", { class: "field" }, h("span", {}, t("records.confidence")), h("div", { class: "range" }, least, "–", most)),
        ),
        h("div", { class: "row" }, differs.element, disagree.element),
      ),
    );
    return { text, label, annotator, state, least, most, differs: differs.input, disagree: disagree.input };
  }

  #query() {
    const { text, label, annotator, state, least, most, differs, disagree } = this.filters;
    const share = (input) => (input.value === "" ? null : Number(input.value) / 100);
    return {
      text: text.value.trim(), label: label.value, annotator: annotator.value, state: state.value, least: share(least), most: share(most),
      differs: differs.checked || null, disagree: disagree.checked || null, limit: PAGE,
    };
  }

  #changed(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { limit, ...query } = this.#query();
      keepQuery(query);
      this.load().catch(showError);
    }, milliseconds);
  }

  // ---------------------------------------------------------------- many at a time

  #select(record, chosen) {
    if (chosen) this.selected.add(record);
    else this.selected.delete(record);
    this.#count();
  }

  #selectAll() {
    const boxes = [...this.list.querySelectorAll("input[data-record]")];
    const all = boxes.every((box) => box.checked);
    for (const box of boxes) {
      box.checked = !all;
      this.#select(Number(box.dataset.record), box.checked);
    }
  }

  #count() {
    this.labelAll.disabled = this.selected.size === 0;
    this.chosen.textContent = this.selected.size ? t("records.selected", { count: this.selected.size }) : "";
  }

  async #labelSelected() {
    const records = [...this.selected];
    const target = await chooseTarget(this.project, this.shape, t("records.labelAll.title", { count: records.length }));
    if (target) await this.#label({ records, target });
  }

  async #similar(record) {
    const least = await askSimilar(this.path, this.shape, record, this.stop);
    if (least === null) return;
    const target = await chooseTarget(this.project, this.shape, t("records.similar.title"));
    if (target) await this.#label({ similar: { record: record.record, least }, target }, { records: [record.record], target });
  }

  /** Label many records by requests, and offer to undo all of them. */
  async #label(...bodies) {
    const batches = [];
    await attempt(async () => {
      for (const body of bodies) batches.push(await send("POST", `${this.path}/labels/many`, body));
    });
    const count = batches.reduce((sum, one) => sum + one.labelled, 0);
    const action = { label: t("action.undo"), run: () => this.#undo(batches) };
    if (batches.length) show(t("records.labelled", { count }), { kind: "good", action });
    await attempt(() => this.load());
  }

  async #undo(batches) {
    await attempt(async () => {
      let count = 0;
      for (const { batch } of batches) count += (await send("POST", `${this.path}/labels/undo`, { batch })).undone;
      show(t("records.undone", { count }));
      await this.load();
    });
  }
}
