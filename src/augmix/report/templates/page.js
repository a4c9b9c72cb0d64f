"use strict";
(() => {
  const root = document.documentElement;
  const each = (selector, action) => document.querySelectorAll(selector).forEach(action);

  // Theme: the address (#theme=dark) first, then the last choice, then the system's.
  const remember = (theme) => { try { localStorage.setItem("augmix-theme", theme); } catch { /* storage is barred for this file */ } };
  const recall = () => { try { return localStorage.getItem("augmix-theme"); } catch { return null; } };
  const asked = /[#&]theme=(light|dark)/.exec(location.hash);
  const chosen = asked ? asked[1] : recall();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  document.getElementById("theme").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    remember(root.dataset.theme);
  });

  // Sorting: by the number behind a cell, or by its text; what was not measured and means stay last.
  const keyOf = (cell) => cell.classList.contains("number")
    ? (cell.dataset.value === undefined ? null : Number(cell.dataset.value))
    : cell.textContent.trim();
  const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  const sort = (button) => {
    const header = button.closest("th");
    const body = button.closest("table").tBodies[0];
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const rows = [...body.rows].map((row) => [keyOf(row.cells[header.cellIndex]), row]);
    const isLast = (row) => row.classList.contains("total");
    rows.sort(([a, one], [b, other]) => isLast(one) - isLast(other)
      || (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...rows.map(([, row]) => row));
  };
  each(".sort", (button) => button.addEventListener("click", () => sort(button)));

  // Examples: one image at a time.
  each(".picker button", (button) => button.addEventListener("click", () => {
    each(".picker button", (other) => other.setAttribute("aria-pressed", String(other === button)));
    each("[data-gallery]", (gallery) => { gallery.hidden = gallery.dataset.gallery !== button.dataset.image; });
  }));

  // Differences: from one row at a time.
  const reference = document.getElementById("reference");
  const choose = () => each("[data-reference]", (one) => { one.hidden = one.dataset.reference !== reference.value; });
  if (reference) { reference.addEventListener("change", choose); choose(); }

  // Where the reader is.
  const links = new Map([...document.querySelectorAll(".bar nav a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) =>
    links.get(entry.target.id).classList.toggle("here", entry.isIntersecting)), { rootMargin: "-20% 0px -75% 0px" });
  links.forEach((_, id) => watch.observe(document.getElementById(id)));
})();
