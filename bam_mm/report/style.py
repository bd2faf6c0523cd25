"""What makes the page readable: plain CSS, and a little JavaScript that sorts tables."""

CSS = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--wash:#f3f5f7;
--line:#d5dae0;--link:#0b5cad;--best:#0a6b3d;--bad:#a3230b;
--s0:#0072b2;--s1:#c2510a;--s2:#00795a;--s3:#b0508a;--s4:#6b5b00;--s5:#5b4bb5}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3abb5;--paper:#14171b;
--wash:#1e2329;--line:#39414a;--link:#7db8f2;--best:#63d19b;--bad:#ff9b85;
--s0:#56b4e9;--s1:#ff9d57;--s2:#3ecfa5;--s3:#ea9aca;--s4:#e6d04d;--s5:#b3a6ff}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);
background:var(--paper)}
main,header,footer,nav{max-width:76rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.2rem}
h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0 .4rem}
h2{font-size:1.25rem;margin:2.2rem 0 .4rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.4rem 0 .3rem}
p{max-width:46rem;margin:.4rem 0}
a{color:var(--link)}
.soft,figcaption,caption,footer{color:var(--soft);font-size:.9rem}
.note{border-left:4px solid var(--bad);background:var(--wash);padding:.5rem .8rem}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.6rem 0}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--paper)}
.scroll{overflow-x:auto;margin:.6rem 0;border:1px solid var(--line);border-radius:.4rem}
.scroll:focus-visible,button:focus-visible,a:focus-visible,summary:focus-visible{
outline:3px solid var(--link);outline-offset:1px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.5rem .7rem;caption-side:top;position:sticky;left:0;
max-width:calc(100vw - 3rem)}
th,td{padding:.4rem .7rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap;
vertical-align:top}
thead th{background:var(--wash);vertical-align:bottom;padding:.2rem .1rem;white-space:normal;
min-width:4.4rem}
th:first-child,td:first-child,.text{text-align:left}
td.long{white-space:normal;min-width:14rem}
tbody th{font-weight:600;position:sticky;left:0;background:var(--paper);min-width:7.5rem;
max-width:14rem;white-space:normal;overflow-wrap:anywhere}
thead th:first-child{position:sticky;left:0;z-index:1}
tbody tr:hover td,tbody tr:hover th{background:var(--wash)}
td strong{color:var(--best)}
.bad{color:var(--bad)}
th button{all:unset;cursor:pointer;padding:.25rem .4rem;font-weight:600;display:inline-block;
text-align:inherit;border-radius:.3rem}
th button::after{content:"";display:inline-block;width:.9em;text-align:center}
th[aria-sort=ascending] button::after{content:"\\2191"}
th[aria-sort=descending] button::after{content:"\\2193"}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19rem,100%),1fr));gap:1rem}
figure{margin:.6rem 0}
.chart svg:not(.key){width:100%;height:auto;display:block}
.chart text{fill:var(--soft);font-size:11px}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.line{fill:none;stroke-width:2}
.s0{--c:var(--s0)}.s1{--c:var(--s1);stroke-dasharray:7 3}.s2{--c:var(--s2);stroke-dasharray:2 3}
.s3{--c:var(--s3);stroke-dasharray:9 3 2 3}.s4{--c:var(--s4);stroke-dasharray:4 2}
.s5{--c:var(--s5);stroke-dasharray:12 4}
path.line{stroke:var(--c)}circle{fill:var(--c);stroke:none}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;margin:.2rem 0;padding:0;
font-size:.85rem;overflow-wrap:anywhere}
.key{width:22px;height:8px;margin-right:.35rem}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));
gap:.2rem 1rem}
.pictures img{width:100%;height:auto;border-radius:.3rem;background:var(--wash)}
code{font-size:.88em;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}
dd{margin:0;overflow-wrap:anywhere}
summary{cursor:pointer;padding:.2rem 0}
@media(max-width:30rem){body{font-size:15px}tbody th{max-width:8.5rem}th,td{padding:.35rem .5rem}
dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
@media print{.scroll{overflow:visible}nav{display:none}}
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var heads = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  var status = document.getElementById("status");
  heads.forEach(function (head, column) {
    var button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", function () {
      var now = head.getAttribute("aria-sort");
      var first = head.dataset.first || "descending";
      var other = first === "descending" ? "ascending" : "descending";
      var next = now === first ? other : first;
      heads.forEach(function (h) { h.setAttribute("aria-sort", "none"); });
      head.setAttribute("aria-sort", next);
      var sign = next === "ascending" ? 1 : -1;
      var rows = Array.from(body.rows).map(function (row, place) {
        var cell = row.cells[column], raw = cell.dataset.value;
        return { row: row, place: place, value: raw === undefined ? cell.textContent.trim() : raw };
      });
      rows.sort(function (a, b) {
        var empty = (a.value === "") - (b.value === "");
        if (a.value === "" || b.value === "") return empty || a.place - b.place;
        var x = Number(a.value), y = Number(b.value);
        var order = isNaN(x) || isNaN(y) ? a.value.localeCompare(b.value) : x - y;
        return sign * order || a.place - b.place;
      });
      rows.forEach(function (entry) { body.appendChild(entry.row); });
      status.textContent = "sorted by " + button.textContent.trim() + ", " + next;
    });
  });
});
"""
