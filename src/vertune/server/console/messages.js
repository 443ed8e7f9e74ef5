/** Messages to the person: short ones that go away and may offer Undo, errors that stay, and questions before something is destroyed. */

import { freshId, h } from "./dom.js";
import { t } from "./phrases.js";

const SECONDS = 6;
const SECONDS_WITH_ACTION = 12;
/** Number of messages that are shown at the same time. */
const MOST = 4;
const area = h("div", { class: "toasts", role: "region" });
/** Read out by screen readers, and shown to nobody. */
const spoken = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
const alarm = h("div", { class: "visually-hidden", role: "alert" });

/** Put the areas of the messages into the page. */
export function installMessages() {
  area.setAttribute("aria-label", t("messages.area"));
  document.body.append(area, spoken, alarm);
}

/** Have screen readers read a text; sighted people see the change itself. */
export function say(text) {
  spoken.textContent = spoken.textContent === text ? `${text}\u00a0` : text; // only a change is read out
}

/** Show a message. `action` is {label, run}; a kind "bad" stays until it is closed. */
export function show(text, { kind = "plain", action = null } = {}) {
  const close = () => {
    clearTimeout(timer);
    toast.remove();
  };
  const toast = h(
    "div",
    { class: `toast ${kind}` },
    h("p", {}, text),
    action && h("button", { type: "button", class: "plain", onclick: () => (close(), action.run()) }, action.label),
    h("button", { type: "button", class: "plain icon", "aria-label": t("messages.close"), onclick: close }, "×"),
  );
  const timer = kind === "bad" ? 0 : setTimeout(close, 1000 * (action ? SECONDS_WITH_ACTION : SECONDS));
  for (const same of [...area.children].filter((one) => one.firstChild.textContent === text)) same.remove();
  // what is outside an open dialog can't be pressed, and screen readers do not read it
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(area, spoken, alarm);
  area.append(toast);
  while (area.children.length > MOST) area.firstChild.remove();
  (kind === "bad" ? alarm : spoken).textContent = text;
  return close;
}

/** Show what went wrong, with what to do. */
export function showError(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) return; // the sign-in page is shown
  show(explained(error), { kind: "bad" });
}

/** Return what went wrong as a text. */
export function explained(error) {
  if (error.status === 0 || (error instanceof TypeError && !navigator.onLine)) return t("messages.offline");
  if (error.status === undefined) console.error(error);
  return error.status === undefined ? t("messages.unexpected", { what: String(error.message ?? error) }) : error.message;
}

/** Run something, and show its error; returns its result, or undefined after an error. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    showError(error);
    return undefined;
  }
}

/** Ask once before something that can't be undone: resolves to true if the person agrees. */
export async function confirm(title, text, action) {
  return (await dialog(title, [h("p", {}, text)], [{ label: action, value: true, kind: "danger" }])) === true;
}

/**
 * Show a dialog, and resolve to the value of the button that was pressed (null: closed). `buttons` are {label, value, kind}; a value
 * that is a function is called, and the dialog stays open while it returns undefined. `content` are nodes, or a function that returns
 * them and gets a function that closes the dialog with a value.
 */
export function dialog(title, content, buttons = [], { wide = false } = {}) {
  const heading = freshId("dialog");
  const before = document.activeElement;
  return new Promise((resolve) => {
    let result = null;
    const press = async (button) => {
      const value = typeof button.value === "function" ? await button.value() : button.value;
      if (value === undefined) return;
      finish(value);
    };
    const finish = (value) => {
      result = value;
      element.close();
    };
    const cancel = h("button", { type: "button", onclick: () => element.close() }, buttons.length ? t("action.cancel") : t("action.close"));
    const element = h(
      "dialog",
      { "aria-labelledby": heading, class: wide ? "wide" : null },
      h(
        "form",
        { method: "dialog", onsubmit: (event) => (event.preventDefault(), buttons.length && press(buttons.at(-1))) },
        h("h2", { id: heading }, title),
        h("div", { class: "dialog-content" }, typeof content === "function" ? content(finish) : content),
        h("div", { class: "buttons end" }, cancel, buttons.map((button, place) => made(button, place === buttons.length - 1, press))),
      ),
    );
    element.addEventListener("close", () => {
      if (element.contains(area)) document.body.append(area, spoken, alarm);
      element.remove();
      before?.focus?.();
      resolve(result);
    });
    document.body.append(element);
    element.showModal();
  });
}

function made(button, main, press) {
  const kind = button.kind ?? (main ? "primary" : null);
  return h("button", { type: main ? "submit" : "button", class: kind, onclick: main ? undefined : () => press(button) }, button.label);
}
