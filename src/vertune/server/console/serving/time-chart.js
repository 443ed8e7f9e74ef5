/** Small charts over time: bars or lines, drawn as SVG elements, with the same figures as a table. */

import { h, svg } from "../dom.js";
import { number, t } from "../phrases.js";
import { table } from "./lists.js";

/** Width of a chart in its own units, which are about pixels; less on a narrow screen, so that texts can be read. */
const WIDE = 640;
const NARROW = 360;
const HEIGHT = 200;
const MARGIN = { top: 12, right: 12, bottom: 28, left: 56 };
const FLOOR = HEIGHT - MARGIN.bottom;

/**
 * Return a chart of `series`, a list of {name, values, rest}: one value or null for each of the texts in `times`; a `rest` is grey. `bars`
 * draws the values of all series on top of one another; otherwise each is a line. `most` is the end of the axis, if it is fixed.
 */
export function timeChart({ title, times, series, bars = false, format = number, most = null }) {
  const sums = times.map((_, place) => series.reduce((sum, one) => sum + (one.values[place] ?? 0), 0));
  const values = bars ? sums : series.flatMap((one) => one.values.filter((value) => value !== null));
  const top = most ?? (round(Math.max(...values, 0)) || 1);
  const y = (value) => FLOOR - (Math.min(value, top) / top) * (FLOOR - MARGIN.top);
  const whole = innerWidth < WIDE ? NARROW : WIDE;
  const width = (whole - MARGIN.left - MARGIN.right) / times.length;
  const x = (place) => MARGIN.left + place * width;
  const drawn = bars
    ? stacked(series, times, { x, y, width, format })
    : series.map((one, hue) => line(one, hue, { x, y, width, times, format }));
  const about = svg(
    "svg",
    { class: "chart time", viewBox: `0 0 ${whole} ${HEIGHT}`, role: "img", "aria-label": title },
    [0, top / 2, top].map((tick) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: whole - MARGIN.right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]),
    ticks(times.length, whole / 100).map((place) =>
      svg("text", { x: x(place) + width / 2, y: HEIGHT - 8, "text-anchor": "middle" }, times[place]),
    ),
    drawn,
  );
  return h(
    "figure",
    { class: "card" },
    h("figcaption", {}, h("h2", {}, title), series.length > 1 && legend(series)),
    about,
    h("details", {}, h("summary", {}, t("serving.chart.table")), asTable(title, times, series, format)),
  );
}

function legend(series) {
  return h(
    "ul",
    { class: "legend" },
    series.map((one, hue) => h("li", { class: hueOf(one, hue) }, one.name)),
  );
}

function hueOf(series, place) {
  return series.rest ? "rest" : `hue-${place % 8}`;
}

function stacked(series, times, { x, y, width, format }) {
  const floors = times.map(() => 0);
  return series.map((one, hue) =>
    one.values.map((value, place) => {
      if (!value) return null;
      const begin = floors[place];
      floors[place] += value;
      const about = svg("title", {}, `${times[place]} · ${one.name}: ${format(value)}`);
      const [high, low] = [y(floors[place]), y(begin)];
      return svg(
        "rect",
        {
          class: `bar ${hueOf(one, hue)}`,
          x: x(place) + width * 0.1,
          width: Math.max(1, width * 0.8),
          y: high,
          height: Math.max(1, low - high),
        },
        about,
      );
    }),
  );
}

function line(one, hue, { x, y, width, times, format }) {
  const places = one.values.map((value, place) => [place, value]).filter(([, value]) => value !== null);
  const centre = (place) => x(place) + width / 2;
  const pieces = [];
  for (const [place, value] of places) {
    const last = pieces.at(-1);
    if (last && last.at(-1)[0] === place - 1) last.push([place, value]);
    else pieces.push([[place, value]]);
  }
  return [
    pieces.map((piece) =>
      svg("polyline", {
        class: `line ${hueOf(one, hue)}`,
        points: piece.map(([place, value]) => `${centre(place)},${y(value)}`).join(" "),
      }),
    ),
    places.map(([place, value]) =>
      svg(
        "circle",
        { class: `dot ${hueOf(one, hue)}`, cx: centre(place), cy: y(value), r: 3 },
        svg("title", {}, `${times[place]} · ${one.name}: ${format(value)}`),
      ),
    ),
  ];
}

function asTable(title, times, series, format) {
  const heads = [t("serving.chart.time"), ...series.map((one) => ({ text: one.name, number: true }))];
  const text = (value) => (value === null || value === undefined ? "–" : format(value));
  return table(
    title,
    heads,
    times.map((time, place) => [time, ...series.map((one) => text(one.values[place]))]),
  );
}

/** Return the places of at most so many times that are written below the axis. */
function ticks(count, most) {
  const step = Math.max(1, Math.ceil(count / most));
  return Array.from({ length: Math.ceil(count / step) }, (_, place) => place * step);
}

/** Return the least round number that is not below a value. */
function round(value) {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}
