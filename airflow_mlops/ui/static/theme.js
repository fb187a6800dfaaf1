/* Follows the theme that a person chose in Airflow; loaded before the page is drawn, so that it never flashes.

   Airflow keeps the choice ("light", "dark" or "system") under the key "theme" of the local storage, and what follows
   from it as a class of its document. Inside Airflow's frame the class is read, alone the storage; without either the
   colours are the system's. */
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  function outside() {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null; // a frame of another origin tells nothing
    }
  }

  function chosen() {
    const shown = outside();
    for (const theme of ["dark", "light"]) {
      if (shown !== null && shown.classList.contains(theme)) return theme;
    }
    try {
      const stored = window.localStorage.getItem("theme");
      return stored === "dark" || stored === "light" ? stored : null;
    } catch {
      return null; // storage may be forbidden
    }
  }

  function apply() {
    const theme = chosen();
    if (theme === null) delete root.dataset.theme;
    else root.dataset.theme = theme;
    root.classList.toggle("framed", outside() !== null);
  }

  apply();
  window.addEventListener("storage", apply);
  const shown = outside();
  if (shown !== null) new MutationObserver(apply).observe(shown, { attributeFilter: ["class"] });
})();
