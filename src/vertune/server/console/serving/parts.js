/** What parts and fields of records are called in the language of the person; those of plugins have their own names. */

import { hasPhrase, t } from "../phrases.js";

/** Return what a part does, in one sentence; `part` is {name, about}. */
export function partAbout(folder, part) {
  if (!part) return "";
  const key = `${folder}.${part.name}`;
  return hasPhrase(`part.${key}`) ? t(`part.${key}`) : part.about;
}

/** Return the name of a field. */
export function fieldName(name) {
  return hasPhrase(`field.${name}`) ? t(`field.${name}`) : name;
}
