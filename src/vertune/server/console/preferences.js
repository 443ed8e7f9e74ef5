/** What a person chose in this browser: language, theme, and how the label page answers. Works without storage, too. */

const PREFIX = "vertune.";
const memory = new Map();

/** Return a choice, or `otherwise` if there is none. */
export function preference(name, otherwise) {
  try {
    const stored = localStorage.getItem(PREFIX + name);
    return stored === null ? (memory.get(name) ?? otherwise) : JSON.parse(stored);
  } catch {
    return memory.get(name) ?? otherwise;
  }
}

/** Store a choice. */
export function setPreference(name, value) {
  memory.set(name, value);
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // storage is switched off or full; the choice lasts as long as the page
  }
}
