/** What the records and answers of a project look like: its inputs, its target field and the type of it. */

/** Keys of labels in the order in which they are given out; the missing letters are commands. */
const KEYS = [..."1234567890", ..."abcdefghijklmnopqrstvwyz"];
/** Number of colours for labels of spans. */
const HUES = 8;

/** Return {inputs, target, type, labels, marked}; each label has a `key` (or "") and a `hue`. */
export function shapeOf(project) {
  const inputs = Object.keys(project.fields);
  const labels = project.labels.map((label, place) => ({ ...label, key: KEYS[place] ?? "", hue: place % HUES }));
  return { inputs, target: project.target, type: project.target_type, labels, marked: inputs.at(-1) };
}

/** Return the fields of a record that have a value, in the order of the task, as [name, value]. */
export function inputsOf(shape, fields) {
  return shape.inputs.filter((name) => fields[name] !== null && fields[name] !== undefined).map((name) => [name, fields[name]]);
}

/** Return the target value of a label or suggestion: null if it has none. */
export function valueOf(shape, about) {
  return about?.target?.[shape.target] ?? null;
}

/** Return a target as a short text for lists. */
export function brief(shape, target, empty) {
  const value = target?.[shape.target];
  if (value === null || value === undefined) return empty;
  if (!Array.isArray(value)) return String(value);
  if (!value.length) return empty;
  return value.map((one) => (typeof one === "string" ? one : (one.text ?? `${one.label} (${one.start}–${one.end})`))).join(", ");
}

/** Return whether two targets are the same. */
export function sameTarget(one, other) {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (value && typeof value === "object") return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  return value;
}
