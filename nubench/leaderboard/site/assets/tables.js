// Tables that are sorted by their heads and filtered by a field. Without this file they are plain tables.
"use strict";

(() => {
  // A cell without a value stands last in either direction.
  function compare(one, other, isNumber, direction) {
    if (one === other) return 0;
    if (one === "") return 1;
    if (other === "") return -1;
    return direction * (isNumber ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true }));
  }

  function sortBy(table, head, place) {
    // The first click asks for the largest number, or for the first letter.
    const isNumber = head.dataset.kind === "number";
    const before = head.getAttribute("aria-sort");
    const direction = before ? (before === "ascending" ? -1 : 1) : isNumber ? -1 : 1;
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const value = row => row.cells[place].dataset.sort ?? row.cells[place].textContent.trim();
    const rows = [...body.rows].sort((one, other) => compare(value(one), value(other), isNumber, direction));
    body.append(...rows);
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, head, place));
      head.append(button);
    });
  }

  function makeFilter(field) {
    const section = field.closest("section");
    const tables = [...section.querySelectorAll("table.sortable")];
    const input = field.querySelector("input");
    const count = field.querySelector("output");
    const update = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0, all = 0;
      for (const row of tables.flatMap(table => [...table.tBodies[0].rows])) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        shown += row.hidden ? 0 : 1;
        all += 1;
      }
      count.textContent = words.length ? `${shown} of ${all} rows` : "";
    };
    field.hidden = false;
    input.addEventListener("input", update);
    update();
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll(".filter").forEach(makeFilter);
})();
