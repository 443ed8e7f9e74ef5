/** The top of the label page: the queues with their counts, and whether the labels are on the server. */

import { h, replace } from "../dom.js";
import { dialog } from "../messages.js";
import { number, t } from "../phrases.js";
import { link } from "../router.js";

const QUEUES = ["pending", "draft", "done", "skipped", "rejected"];

/** Return links to the queues of a project; `counts` is a signal with the number of labels in each. */
export function queueTabs(project, current, counts, stop) {
  const numbers = new Map(QUEUES.map((queue) => [queue, h("span", { class: "count" })]));
  counts.listen(
    (found) => {
      for (const [queue, element] of numbers) element.textContent = queue === "pending" || !found[queue] ? "" : number(found[queue]);
    },
    { signal: stop },
  );
  const tabs = QUEUES.map((queue) =>
    h(
      "a",
      {
        href: link("/label/{project}", { project: project.name }, { queue: queue === "pending" ? null : queue }),
        "aria-current": queue === current ? "page" : null,
      },
      t(`label.queue.${queue}`),
      " ",
      numbers.get(queue),
    ),
  );
  return h("nav", { class: "tabs queues", "aria-label": t("label.queues") }, tabs);
}

/** Return what tells whether all labels are saved, how many wait, and which were refused. */
export function sendingState(outbox, stop) {
  const state = h("span", { class: "badge" });
  const refused = h("button", { type: "button", class: "plain badge bad", hidden: true, onclick: () => showRefused(outbox) });
  outbox.state.listen(
    (found) => {
      state.hidden = !found.counted;
      state.className = `badge ${found.offline ? "warn" : found.waiting ? "accent" : found.counted ? "good" : ""}`;
      state.textContent = text(found);
      refused.hidden = found.refused === 0;
      refused.textContent = t("label.refused", { count: found.refused });
    },
    { signal: stop },
  );
  return h("span", { class: "sending" }, state, refused);
}

function text({ waiting, offline, durable }) {
  if (!waiting) return t("label.saved");
  if (offline) return durable ? t("label.offline", { count: waiting }) : t("label.offline.memory", { count: waiting });
  return t("label.sending", { count: waiting });
}

async function showRefused(outbox) {
  const rows = await outbox.refused();
  const entry = ({ record, project, why }) => h("li", {}, t("label.refused.row", { record, project, why }));
  const list = h("ul", {}, rows.map(entry));
  const content = h("div", {});
  replace(content, h("p", {}, t("label.refused.text")), list);
  const chosen = await dialog(t("label.refused.title"), [content], [
    { label: t("label.refused.discard"), value: "discard", kind: "danger" },
    { label: t("label.refused.retry"), value: "retry" },
  ]);
  if (chosen) await outbox[chosen](rows);
}
