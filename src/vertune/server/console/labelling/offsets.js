/**
 * Places in texts. The server counts Unicode code points, as Python does; JavaScript counts UTF-16 units, of which characters such as
 * emoji have two. Selections are extended to whole words or characters.
 */

const SURROGATE = /[\uD800-\uDBFF][\uDC00-\uDFFF]/;
const segmenters = new Map();

/** Converts places of one text between code points and UTF-16 units. */
export class Offsets {
  constructor(text) {
    this.text = text;
    /** Places, in UTF-16 units, of the second unit of each character that has two. */
    this.seconds = [];
    if (SURROGATE.test(text)) {
      for (let place = 0; place < text.length; place += 1) {
        if (text.codePointAt(place) > 0xffff) this.seconds.push((place += 1));
      }
    }
  }

  /** Return the number of code points before a place in UTF-16 units. */
  toPoints(unit) {
    return unit - countBelow(this.seconds, unit);
  }

  /** Return the place in UTF-16 units after so many code points. */
  fromPoints(points) {
    let unit = points;
    for (const second of this.seconds) {
      if (second > unit) break;
      unit += 1;
    }
    return Math.min(unit, this.text.length);
  }
}

function countBelow(sorted, limit) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the units of a text that a selection consists of, as [start, end]: words and signs, or characters as people see them. */
export function unitsOf(text, snap) {
  const granularity = snap === "characters" ? "grapheme" : "word";
  if (!segmenters.has(granularity)) segmenters.set(granularity, new Intl.Segmenter(undefined, { granularity }));
  const units = [];
  for (const { segment, index } of segmenters.get(granularity).segment(text)) {
    if (segment.trim()) units.push([index, index + segment.length]);
  }
  return units;
}

/** Return the place in `units` of the unit that contains a place of the text, or of the next one; -1 if there is none. */
export function unitAt(units, place) {
  let low = 0;
  let high = units.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (units[middle][1] <= place) low = middle + 1;
    else high = middle;
  }
  return low < units.length ? low : units.length - 1;
}

/** Return {start, end} extended to whole units; null if it contains none. */
export function snapped(units, start, end) {
  const first = unitAt(units, start);
  if (first < 0 || units[first][0] >= end) return null;
  let last = unitAt(units, Math.max(start, end - 1));
  if (units[last][0] >= end) last -= 1;
  return { start: units[first][0], end: units[last][1] };
}
