/** Asks for an answer in a dialog, with the same controls as the label page. */

import { h } from "../dom.js";
import { dialog, show } from "../messages.js";
import { t } from "../phrases.js";
import { editorFor } from "./editors.js";

/** Return the target that a person chooses, or null; `item` is the record {fields}, where places in its text can be marked. */
export function chooseTarget(project, shape, title, item = { fields: {} }) {
  let editor = null;
  const value = () => {
    const found = editor.value();
    if (found !== null) return { [shape.target]: found };
    show(t("record.choose"));
    return undefined;
  };
  const content = (finish) => {
    editor = editorFor(shape, project.settings, { changed: () => {}, answered: () => finish(value()) });
    editor.show(item, null, null);
    const keys = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, button")) return;
      if (editor.key({ key: event.key }) === true) event.preventDefault();
    };
    return h("div", { class: "target-dialog", onkeydown: keys, tabindex: "-1" }, editor.text, editor.element);
  };
  return dialog(title, content, [{ label: t("action.confirm"), value }], { wide: true });
}
