"use strict";
(() => {
  const data = JSON.parse(document.getElementById("rows").textContent);
  const columns = JSON.parse(document.getElementById("columns").textContent);
  const view = document.getElementById("view");
  if (!data.length) { document.getElementById("table").hidden = true; return; }
  const head = document.getElementById("head");
  const body = document.getElementById("body");
  const filter = document.getElementById("filter");
  const choice = document.getElementById("choice");
  const count = document.getElementById("count");
  const rowHeight = 28;
  const spare = 12;
  const texts = data.map((row) => row.join("\n").toLowerCase());
  let shown = data.map((_, index) => index);
  let sorted = { column: -1, down: false };

  const format = (value, kind) => {
    if (value === null) return kind === "text" ? "" : "?";
    if (kind === "bytes") return (value / 1e6).toLocaleString("en", { maximumFractionDigits: 1 }) + " MB";
    if (kind === "time") return new Date(value).toISOString().slice(0, 16).replace("T", " ");
    if (kind === "number") return value.toLocaleString("en");
    return value;
  };

  const chosen = columns.findIndex((column) => column.choice);
  if (chosen >= 0) {
    [...new Set(data.map((row) => row[chosen]))].sort().forEach((value) => {
      const option = document.createElement("option");
      option.textContent = value;
      choice.append(option);
    });
  } else {
    choice.hidden = true;
  }

  const draw = () => {
    const first = Math.max(0, Math.floor(view.scrollTop / rowHeight) - spare);
    const last = Math.min(shown.length, first + Math.ceil(view.clientHeight / rowHeight) + 2 * spare);
    const rows = [];
    const pad = (height) => {
      const row = document.createElement("tr");
      row.setAttribute("aria-hidden", "true");
      row.append(document.createElement("td"));
      row.firstChild.colSpan = columns.length;
      row.firstChild.style.height = height + "px";
      row.firstChild.className = "pad";
      return row;
    };
    if (first > 0) rows.push(pad(first * rowHeight));
    for (let place = first; place < last; place += 1) {
      const row = document.createElement("tr");
      data[shown[place]].forEach((value, column) => {
        const cell = document.createElement("td");
        cell.textContent = format(value, columns[column].kind);
        cell.className = columns[column].kind;
        cell.title = cell.textContent;
        row.append(cell);
      });
      rows.push(row);
    }
    if (last < shown.length) rows.push(pad((shown.length - last) * rowHeight));
    body.replaceChildren(...rows);
    const all = data.length.toLocaleString("en");
    count.textContent = shown.length.toLocaleString("en") + " of " + all + " rows";
  };

  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return -1;
    if (b === null) return 1;
    return typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const update = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = choice.selectedIndex > 0 ? choice.value : null;
    shown = [];
    data.forEach((row, index) => {
      if (wanted !== null && row[chosen] !== wanted) return;
      if (words.every((word) => texts[index].includes(word))) shown.push(index);
    });
    if (sorted.column >= 0) {
      const { column, down } = sorted;
      shown.sort((a, b) => (down ? -1 : 1) * compare(data[a][column], data[b][column]) || a - b);
    }
    view.scrollTop = 0;
    draw();
  };

  columns.forEach((column, index) => {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    cell.scope = "col";
    cell.className = column.kind;
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      sorted = { column: index, down: sorted.column === index && !sorted.down };
      [...head.children].forEach((other, place) => {
        other.ariaSort = place === index ? (sorted.down ? "descending" : "ascending") : "none";
      });
      update();
    });
    cell.append(button);
    head.append(cell);
  });
  filter.addEventListener("input", update);
  choice.addEventListener("change", update);
  view.addEventListener("scroll", () => window.requestAnimationFrame(draw));
  window.addEventListener("resize", draw);
  update();
})();
