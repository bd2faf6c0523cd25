// Sorts a table by the column whose head is clicked. The first click sorts in the order of the
// head's data-first, further clicks alternate. Empty cells stay at the end, and ties keep their order.

const message = document.getElementById("status");

document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];

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
      message.textContent = `sorted by ${button.textContent.trim()}, ${order}`;
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

// Shows the rows of the next table whose texts hold every word of the filter; numbers do not count.

document.querySelectorAll(".filter").forEach((filter) => {
  const input = filter.querySelector("input");
  const rows = Array.from(filter.nextElementSibling.querySelectorAll("tbody tr"));
  const texts = rows.map((row) =>
    Array.from(row.querySelectorAll("th, .text"), (cell) => cell.textContent.toLowerCase()).join(" "),
  );
  filter.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    rows.forEach((row, n) => (row.hidden = !words.every((word) => texts[n].includes(word))));
    const shown = rows.filter((row) => !row.hidden).length;
    filter.querySelector("output").textContent = `${shown} of ${rows.length}`;
  });
});

// Copies a text of the page. Where the clipboard is closed to pages, the text is shown and selected.

document.querySelectorAll(".copy").forEach((button) => {
  const source = document.getElementById(button.dataset.source);
  const label = button.textContent;
  button.parentElement.hidden = false;
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      source.closest("details").open = true;
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Selected: copy it with your keyboard";
    message.textContent = button.textContent;
    setTimeout(() => (button.textContent = label), 2000);
  });
});
