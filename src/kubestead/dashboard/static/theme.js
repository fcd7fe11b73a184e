// SPDX-License-Identifier: GPL-3.0-or-later
// Light or dark, before the first paint: what was chosen here, else what the system says.
"use strict";
(() => {
  const KEY = "kubestead-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return kept === "light" || kept === "dark" ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  let choice = read();
  const apply = () => {
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.themeChoice = choice;
  };
  dark.addEventListener("change", apply);
  apply();
  globalThis.kubesteadTheme = {
    get choice() {
      return choice;
    },
    next() {
      choice = { auto: "light", light: "dark", dark: "auto" }[choice];
      try {
        if (choice === "auto") localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, choice);
      } catch {
        // it holds for this page then
      }
      apply();
      return choice;
    },
  };
})();
