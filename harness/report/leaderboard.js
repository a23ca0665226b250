// Filters: a table is shown if it has the chosen edition, benchmark and protocol, a row if its method has the typed letters.
const filters = document.querySelector(".filters");
const choose = () => {
  const chosen = {};
  for (const field of filters.querySelectorAll("[data-filter]")) chosen[field.dataset.filter] = field.value;
  const letters = chosen.method.trim().toLowerCase();
  let any = false;
  for (const section of document.querySelectorAll("main > section")) {
    const fits = ["edition", "benchmark", "protocol"].every((name) => !chosen[name] || section.dataset[name] === chosen[name]);
    let rows = 0;
    for (const row of section.querySelectorAll("table.cards > tbody > tr")) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(letters);
      rows += row.hidden ? 0 : 1;
    }
    section.hidden = !(fits && rows);
    any ||= !section.hidden;
  }
  document.querySelector(".nothing").hidden = any || document.querySelector("main > section") === null;
};
filters.addEventListener("input", choose);
filters.hidden = false;
choose();
