/** The files with records that were uploaded: send more, see what is in each, go on from there. */

import { at, get, send } from "../api.js";
import { h, replace } from "../dom.js";
import { attempt, confirm, say, show, showError } from "../messages.js";
import { bytes, moment, percent, t } from "../phrases.js";
import { go, link } from "../router.js";
import { may } from "../session.js";
import { PagedList, table } from "../serving/lists.js";
import { taskName } from "../serving/metrics.js";
import { ACCEPTED, uploadFile } from "../serving/upload.js";

export default async function data({ root, signal }) {
  const list = new PagedList({
    load: async (before) => {
      const found = await get("/v1/datasets", { before, limit: 50 }, { signal });
      return { items: found.datasets, next: found.next };
    },
    draw: (items) =>
      table(
        t("data.title"),
        [t("data.file"), { text: t("data.rows"), number: true }, t("data.task"), t("data.size"), t("data.at"), t("jobs.actions")],
        items.map(row),
      ),
    empty: () => h("p", {}, t("data.none")),
  });
  root.append(h("header", {}, h("h1", {}, t("data.title"))), uploader(signal, list), list.element);
  await list.restart();

  function row(dataset) {
    const { report } = dataset;
    const name = dataset.name || dataset.id;
    return [
      h("a", { href: link("/data/{id}", { id: dataset.id }) }, name),
      h(
        "div",
        { class: "number" },
        t("data.count", { count: report.rows }),
        report.unreadable ? h("p", { class: "hint" }, t("data.unreadable", { count: report.unreadable })) : "",
      ),
      report.guess ? taskName(guessed(report)) : "–",
      bytes(dataset.bytes),
      moment(dataset.at),
      h(
        "button",
        { type: "button", class: "plain", "aria-label": t("data.delete.one", { name }), onclick: () => remove(dataset) },
        t("data.delete"),
      ),
    ];
  }

  async function remove(dataset) {
    if (!(await deleteDataset(dataset))) return;
    list.items = list.items.filter((one) => one.id !== dataset.id);
    list.render();
  }
}

/** Delete a dataset after a question; resolves to whether it is deleted. */
export async function deleteDataset(dataset) {
  const name = dataset.name || dataset.id;
  if (!(await confirm(t("data.delete.title", { name }), t("data.delete.text"), t("data.delete")))) return false;
  const done = await attempt(() => send("DELETE", at`/v1/datasets/${dataset.id}`).then(() => true));
  if (done) show(t("data.deleted", { name }));
  return Boolean(done);
}

/** Return the name of the task that a file seems to be made for. */
export function guessed(report) {
  const task = report.guess?.task;
  return typeof task === "object" && task ? task.name : task;
}

/** Return the place where files are dropped or chosen. */
function uploader(signal, list) {
  const input = h("input", {
    type: "file",
    accept: ACCEPTED,
    multiple: true,
    class: "visually-hidden",
    id: "upload-file",
    onchange: () => take(input.files),
  });
  const status = h("div", { class: "upload-status", role: "status" });
  const area = h(
    "div",
    { class: "drop" },
    h("p", {}, t("data.drop"), " ", input, h("label", { for: "upload-file", class: "button primary" }, t("data.choose"))),
    h("p", { class: "hint" }, t("data.formats")),
    status,
  );
  const over = (on) => (event) => {
    event.preventDefault();
    area.classList.toggle("over", on);
  };
  area.addEventListener("dragover", over(true), { signal });
  area.addEventListener("dragleave", over(false), { signal });
  area.addEventListener("drop", (event) => (over(false)(event), take(event.dataTransfer.files)), { signal });
  // a file that misses the place must not replace the page
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault(), { signal });
  let busy = false;

  async function take(files) {
    if (busy) return show(t("data.busy"));
    busy = true;
    let last = null;
    for (const file of [...files]) last = (await one(file)) ?? last;
    busy = false;
    input.value = "";
    if (!last || signal.aborted) return undefined;
    if (files.length === 1) return go(link("/data/{id}", { id: last.id }));
    return list.restart().catch(showError);
  }

  async function one(file) {
    const stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    const bar = h("progress", { max: 1, value: 0, "aria-label": t("data.progress", { name: file.name }) });
    const about = h("span", {}, t("data.sending", { name: file.name, share: percent(0) }));
    const cancel = h("button", { type: "button", class: "plain", onclick: () => stop.abort() }, t("action.cancel"));
    replace(status, h("div", { class: "row between" }, about, cancel), bar);
    try {
      const found = await uploadFile(file, progress, stop.signal);
      say(t("data.sent", { name: file.name }));
      return found;
    } catch (error) {
      showError(error);
      return null;
    } finally {
      replace(status);
    }

    function progress(share) {
      if (share === null) {
        bar.removeAttribute("value");
        about.textContent = t("data.reading", { name: file.name });
      } else {
        bar.value = share;
        about.textContent = t("data.sending", { name: file.name, share: percent(share) });
      }
    }
  }

  return may("train") ? area : "";
}
