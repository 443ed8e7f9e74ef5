/** A line chart with a band and an optional target, drawn as SVG elements. */

import { svg } from "./dom.js";
import { number, percent } from "./phrases.js";

/** Width on a wide screen; on a narrow one, the chart is as wide as the page, so that its texts are not made small. */
const WIDEST = 640;
const NARROWEST = 300;
const HEIGHT = 280;
/** What is beside the chart on a narrow screen. */
const BESIDE = 40;
const MARGIN = { top: 16, right: 20, bottom: 40, left: 52 };

/**
 * Return a chart of points {x, y, low, high}. `name` describes it for people who can't see it; `xName` is written below the axis;
 * `target` is a horizontal line.
 */
export function lineChart({ points, name, xName, target = null, format = (value) => percent(value) }) {
  const width = Math.max(NARROWEST, Math.min(WIDEST, innerWidth - BESIDE));
  const values = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]).concat(target ?? []);
  const ticks = ticksBetween(Math.min(...values), Math.max(...values));
  const xTicks = ticksBetween(0, Math.max(...points.map((point) => point.x)));
  const x = scale(0, xTicks.at(-1), MARGIN.left, width - MARGIN.right);
  const y = scale(ticks[0], ticks.at(-1), HEIGHT - MARGIN.bottom, MARGIN.top);
  const upper = points.map((point) => `${x(point.x)},${y(point.high ?? point.y)}`);
  const lower = points.map((point) => `${x(point.x)},${y(point.low ?? point.y)}`).reverse();
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": name },
    ticks.map((tick) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]),
    xTicks.map((tick) => svg("text", { x: x(tick), y: HEIGHT - MARGIN.bottom + 18, "text-anchor": "middle" }, number(tick))),
    svg("text", { x: (MARGIN.left + width - MARGIN.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xName),
    svg("polygon", { class: "band", points: [...upper, ...lower].join(" ") }),
    target !== null && svg("line", { class: "target", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(target), y2: y(target) }),
    svg("polyline", { class: "line", points: points.map((point) => `${x(point.x)},${y(point.y)}`).join(" ") }),
    points.map((point) => {
      const about = svg("title", {}, `${number(point.x)}: ${format(point.y)}`);
      return svg("circle", { class: "dot", cx: x(point.x), cy: y(point.y), r: 3.5 }, about);
    }),
  );
}

function scale(from, to, start, end) {
  const span = to - from || 1;
  return (value) => Math.round((start + ((value - from) / span) * (end - start)) * 10) / 10;
}

/** Return four to six round numbers that enclose two values. */
function ticksBetween(low, high) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const first = Math.floor(low / step) * step;
  const count = Math.ceil((high - first) / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, place) => Number((first + place * step).toPrecision(12)));
}
