/** The labels of a project as buttons with their keys, and the field that searches them. */

import { h } from "../dom.js";
import { t } from "../phrases.js";

/** Number of labels from which the search is shown at once. */
const MANY = 12;

export class LabelsPanel {
  /** `choose(name)` is called when a label is chosen; `coloured` shows the colours that spans have. */
  constructor({ labels, choose, coloured = false }) {
    this.labels = labels;
    this.choose = choose;
    this.buttons = new Map(labels.map((label) => [label.name, this.#button(label, coloured)]));
    this.byKey = new Map(labels.filter((label) => label.key).map((label) => [label.key, label.name]));
    this.search = h("input", {
      type: "search", class: "label-search", "aria-label": t("label.search"), placeholder: t("label.search.hint"), autocomplete: "off",
      oninput: () => this.#filter(), onkeydown: (event) => this.#key(event),
    });
    this.search.hidden = labels.length < MANY;
    this.none = h("p", { class: "muted", hidden: true }, t("label.search.none"));
    this.list = h("div", { class: "labels", role: "group", "aria-label": t("label.labels") }, [...this.buttons.values()]);
    this.element = h("div", { class: "labels-panel" }, this.search, this.none, this.list);
  }

  /** Mark the chosen labels and those that the model suggests. */
  mark(chosen, suggested = []) {
    for (const [name, button] of this.buttons) {
      const pressed = String(chosen.includes(name));
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed;
      button.classList.toggle("suggested", suggested.includes(name));
    }
  }

  /** Choose the label of a key; returns whether there is one. */
  key(key) {
    const name = this.byKey.get(key);
    if (name === undefined) return false;
    this.choose(name);
    return true;
  }

  /** Begin to search. */
  startSearch() {
    this.search.hidden = false;
    this.search.focus();
    this.search.select();
  }

  #button(label, coloured) {
    return h(
      "button",
      {
        type: "button", class: coloured ? `label hue-${label.hue}` : "label", "aria-pressed": "false", title: label.description || null,
        "aria-keyshortcuts": label.key || null,
        onmousedown: (event) => event.preventDefault(), // keys stay with the page
        onclick: () => this.choose(label.name),
      },
      label.key && h("kbd", { "aria-hidden": "true" }, label.key),
      h("span", { class: "label-name" }, label.name, label.description && h("small", {}, label.description)),
    );
  }

  #filter() {
    const wanted = this.search.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const label of this.labels) {
      const text = `${label.name}\n${label.description ?? ""}`.toLocaleLowerCase();
      const fits = !wanted || text.includes(wanted);
      this.buttons.get(label.name).hidden = !fits;
      shown += fits;
    }
    this.none.hidden = shown > 0;
  }

  #key(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    const first = this.labels.find((label) => !this.buttons.get(label.name).hidden);
    const searched = this.search.value.trim() !== "";
    this.search.value = "";
    this.#filter();
    this.search.blur();
    this.search.hidden = this.labels.length < MANY;
    if (event.key === "Enter" && searched && first) this.choose(first.name);
  }
}
