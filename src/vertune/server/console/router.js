/** Which page the part of the address after # names. */

/** Return the address of a page: link("/label/{project}", {project: "a b"}, {queue: "draft"}). */
export function link(path, params = {}, query = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(params[name]));
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${filled}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** Return {page, params, query} for an address such as #/label/a%20b?queue=draft; null if no page has it. */
export function matching(pages, hash) {
  const [path, search = ""] = (hash.replace(/^#/, "") || "/").split(/\?(.*)/s);
  const parts = path.split("/");
  for (const page of pages) {
    const wanted = page.path.split("/");
    const params = wanted.length === parts.length ? fitted(wanted, parts) : null;
    if (params) return { page, params, query: Object.fromEntries(new URLSearchParams(search)) };
  }
  return null;
}

function fitted(wanted, parts) {
  const params = {};
  for (const [place, part] of wanted.entries()) {
    if (part.startsWith("{")) {
      try {
        params[part.slice(1, -1)] = decodeURIComponent(parts[place]);
      } catch {
        return null;
      }
      if (!parts[place]) return null;
    } else if (part !== parts[place]) {
      return null;
    }
  }
  return params;
}

/** Go to an address; with `instead`, the present one is not kept in the history of the browser. */
export function go(address, { instead = false } = {}) {
  if (instead) location.replace(address);
  else location.hash = address;
}

/** Change the query of the present address, and call nothing. */
export function keepQuery(query) {
  const [path] = location.hash.split("?");
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  history.replaceState(null, "", `${path || "#/"}${given.length ? `?${new URLSearchParams(given)}` : ""}`);
}
