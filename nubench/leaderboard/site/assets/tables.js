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
    // The first click puts the best on top, or the first letter; the next turns the order.
    const isNumber = head.dataset.kind === "number";
    const before = head.getAttribute("aria-sort");
    const order = !before ? head.dataset.first : before === "ascending" ? "descending" : "ascending";
    const direction = order === "ascending" ? 1 : -1;
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
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

  // Says by a class on which side a table, or a chart, goes on beyond its box.
  function watchFrame(frame) {
    const box = frame.querySelector(".scroll");
    const update = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      frame.classList.toggle("overflows", hidden > 1);
      frame.classList.toggle("more-left", box.scrollLeft > 1);
      frame.classList.toggle("more-right", box.scrollLeft < hidden - 1);
    };
    box.addEventListener("scroll", update, { passive: true });
    const observer = new ResizeObserver(update);
    observer.observe(box);
    for (const child of box.children) observer.observe(child);
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll(".frame").forEach(watchFrame);
  document.querySelectorAll(".filter").forEach(makeFilter);
})();
