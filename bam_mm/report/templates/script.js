// Sorts a table by the column whose head is clicked. The first click sorts in the order of the
// head's data-first, further clicks alternate. Empty cells stay at the end, and ties keep their order.

document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const status = document.getElementById("status");

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const first = head.dataset.first;
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);

      const rows = Array.from(body.rows);
      rows.sort((a, b) => compare(value(a, column), value(b, column), order));
      rows.forEach((row) => body.appendChild(row));
      status.textContent = `sorted by ${button.textContent.trim()}, ${order}`;
    });
  });
});

function value(row, column) {
  return row.cells[column].dataset.value;
}

function compare(a, b, order) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a);
  const y = Number(b);
  const difference = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
  return order === "ascending" ? difference : -difference;
}
