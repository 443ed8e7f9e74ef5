/** Applies the theme that was chosen in this browser before anything is painted, so that no other one flashes up. */

try {
  const theme = JSON.parse(localStorage.getItem("vertune.theme"));
  if (theme && theme !== "system") document.documentElement.dataset.theme = theme;
} catch {
  // storage is switched off; the theme is that of the system
}
