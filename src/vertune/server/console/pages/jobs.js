/** All jobs: what each does, whether it runs, has ended or has failed, and what can be done with it. */

import { at, get, send } from "../api.js";
import { h } from "../dom.js";
import { field, select } from "../forms.js";
import { attempt, confirm, show, showError } from "../messages.js";
import { duration, language, moment, t } from "../phrases.js";
import { keepQuery, link } from "../router.js";
import { cancelJob, isRunning, kindName, stateBadge } from "../serving/job-view.js";
import { every, PagedList, table } from "../serving/lists.js";

const STATES = ["queued", "running", "done", "failed", "cancelled"];
/** Milliseconds between two looks at jobs that run. */
const LOOKING = 4000;

export default async function jobs({ root, query, signal }) {
  let state = STATES.includes(query.state) ? query.state : "";
  const list = new PagedList({
    load: async (before) => {
      const found = await get("/v1/jobs", { state, before, limit: 50, language }, { signal });
      return { items: found.jobs, next: found.next };
    },
    draw: (items) =>
      table(t("jobs.title"), [t("jobs.job"), t("jobs.state"), t("jobs.at"), t("jobs.took"), t("jobs.actions")], items.map(row)),
    empty: () => h("p", {}, state ? t("jobs.none.state") : t("jobs.none"), " ", h("a", { href: link("/train") }, t("jobs.start"))),
  });
  const options = [["", t("jobs.all")], ...STATES.map((one) => [one, t(`job.state.${one}`)])];
  const filter = select(options, state, {
    onchange: () => {
      state = filter.value;
      keepQuery({ state });
      list.restart().catch(showError);
    },
  });
  root.append(
    h("header", {}, h("h1", {}, t("jobs.title")), h("a", { class: "button primary", href: link("/train") }, t("jobs.start"))),
    h("div", { class: "fields" }, field(t("jobs.state"), filter)),
    list.element,
  );
  await list.restart();
  every(LOOKING, () => renew(list), signal);

  async function renew() {
    const running = list.items.filter(isRunning);
    if (!running.length) return;
    const found = await Promise.all(running.map((job) => get(at`/v1/jobs/${job.id}`, { language }, { signal })));
    const changed = found.filter((job, place) => job.state !== running[place].state);
    if (changed.length) replaceJobs(changed);
  }

  function replaceJobs(changed) {
    const byId = new Map(changed.map((job) => [job.id, job]));
    list.items = list.items.map((job) => byId.get(job.id) ?? job);
    list.render();
  }

  function row(job) {
    const cancel = async () => {
      const changed = await cancelJob(job);
      if (changed) replaceJobs([changed]);
    };
    return [
      h("a", { href: link("/jobs/{id}", { id: job.id }) }, `${kindName(job)} · ${job.vertical}`),
      h("div", {}, stateBadge(job), job.why && h("p", { class: "hint clamp" }, job.why)),
      moment(job.at),
      job.started && job.ended ? duration((new Date(job.ended) - new Date(job.started)) / 1000) : "–",
      isRunning(job)
        ? h(
            "button",
            { type: "button", class: "plain", "aria-label": t("jobs.cancel.one", { job: job.vertical }), onclick: cancel },
            t("job.cancel"),
          )
        : h(
            "button",
            { type: "button", class: "plain", "aria-label": t("jobs.delete.one", { job: job.vertical }), onclick: () => remove(job) },
            t("jobs.delete"),
          ),
    ];
  }

  async function remove(job) {
    if (!(await confirm(t("jobs.delete.title"), t("jobs.delete.text"), t("jobs.delete")))) return;
    await attempt(async () => {
      await send("DELETE", at`/v1/jobs/${job.id}`);
      list.items = list.items.filter((one) => one.id !== job.id);
      list.render();
      show(t("jobs.deleted"));
    });
  }
}
