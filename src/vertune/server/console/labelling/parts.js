/** The components that a project can choose, as the server lists them, those of installed packages included. */

import { get } from "../api.js";
import { may } from "../session.js";

/** Return the parts {name, about} of a kind, such as `queries`; an empty list for people who may not see them. */
export async function partsOf(folder, signal) {
  if (!may("train")) return [];
  const { kinds } = await get("/v1/parts", {}, { signal });
  return kinds.find((kind) => kind.folder === folder)?.parts ?? [];
}
