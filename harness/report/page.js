"use strict";
// A click on a heading sorts the table by it, a second click reverses the order. Rows without a value stay at the end.
const value = (row, column) => {
  const cell = row.cells[column];
  const key = cell.dataset.key ?? cell.textContent;
  return key === "" || key === "-" ? null : Number.isNaN(Number(key)) ? key : Number(key);
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows];
    const numbers = rows.every((row) => typeof (value(row, head.cellIndex) ?? 0) === "number");
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numbers;
    rows.sort((first, second) => {
      const [a, b] = [value(first, head.cellIndex), value(second, head.cellIndex)];
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? compare(b, a) : compare(a, b);
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  });
}
// Open all details for printing.
const shut = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    shut.push(details);
  }
});
addEventListener("afterprint", () => {
  while (shut.length) shut.pop().open = false;
});
