"use strict";
// The table of a page: sorts, filters, and draws only the rows that are in sight.
// Texts are set as text, never as HTML.
(() => {
  const data = document.getElementById("rows");
  if (!data) return;
  const find = (id) => document.getElementById(id);
  const viewport = find("viewport"), table = find("table"), body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const titles = headers.map((cell) => cell.textContent.trim());
  const kinds = headers.map((cell) => cell.dataset.kind);
  const rows = JSON.parse(data.textContent);
  data.remove();

  const OVERSCAN = 10, PRINTED = 1000;
  const isText = (kind) => ["text", "name", "place", "status"].includes(kind);
  const number = (value) => value.toLocaleString("en-US");

  // In a column of texts, 0 stands for the text of the row above.
  kinds.forEach((kind, column) => {
    if (isText(kind)) rows.forEach((row, i) => { if (row[column] === 0) row[column] = rows[i - 1][column]; });
  });

  // The same words as the terminal and the other reports use.
  const ageText = (ms) => {
    for (const [unit, size, least] of [["day", 86400000, 2], ["hour", 3600000, 1], ["minute", 60000, 1]]) {
      const count = Math.floor(ms / size);
      if (count >= least) return `${count} ${unit}${count === 1 ? "" : "s"}`;
    }
    return "under a minute";
  };
  const sizeText = (bytes) => {
    if (bytes < 1000) return `${bytes} B`;
    let value = bytes / 1000, unit = 0;
    for (; value >= 1000 && unit < 3; unit++) value /= 1000;
    return `${value.toFixed(1)} ${["kB", "MB", "GB", "TB"][unit]}`;
  };
  const shown = {
    age: ageText,
    size: sizeText,
    number: String,
    seconds: (value) => `${value.toFixed(3)} s`,
    moment: (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " "),
    status: (value) => value.replace("_", " "),
  };
  const cellText = (value, kind) => {
    if (value === null) return kind === "number" || kind === "seconds" || kind === "text" ? "" : "?";
    return kind in shown ? shown[kind](value) : value;
  };
  // In a narrow cell, of a file and line only what tells it from others.
  const shortText = (value, kind) => cellText(kind === "place" && value ? value.split("/").pop() : value, kind);

  // Sorting: every column gets one number per row, made once; what is not known comes last.
  const ranks = [];
  const rankOf = (column) => {
    if (ranks[column]) return ranks[column];
    if (!isText(kinds[column])) return (ranks[column] = rows.map((row) => row[column]));
    const collator = new Intl.Collator("en", { numeric: true });
    const distinct = [...new Set(rows.map((row) => row[column]))].filter((value) => value !== null);
    const places = new Map(distinct.sort(collator.compare).map((value, place) => [value, place]));
    places.set(null, null);
    return (ranks[column] = rows.map((row) => places.get(row[column])));
  };
  let order = rows.map((_, i) => i), view = order, chosen = -1;
  const sortBy = (column, direction) => {
    order = rows.map((_, i) => i);
    if (!direction) return;
    const keys = rankOf(column).map((key) => (key === null ? Infinity : key * direction));
    order.sort((a, b) => keys[a] - keys[b] || a - b);
  };

  // Filtering: every word must be somewhere in the row, and every menu must agree.
  let texts = null;
  const textOf = (row) => row.map((value, i) => (isText(kinds[i]) ? cellText(value, kinds[i]) : "")).join("\n");
  const menus = [...document.querySelectorAll("select[data-column]")];
  const refresh = () => {
    const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = menus.filter((menu) => menu.value !== "").map((menu) => [+menu.dataset.column, menu.value]);
    if (words.length && !texts) texts = rows.map((row) => textOf(row).toLowerCase());
    view = !words.length && !wanted.length ? order : order.filter((i) =>
      words.every((word) => texts[i].includes(word)) && wanted.every(([column, value]) => rows[i][column] === value));
    find("count").textContent = `${number(view.length)} of ${number(rows.length)} rows`;
    table.setAttribute("aria-rowcount", view.length + 1);
    choose(-1);
    viewport.scrollTop = 0;
    draw();
  };

  // Drawing: a spacer above and one below stand for the rows that are out of sight.
  let height = 32;
  const spacer = (count) => {
    const row = document.createElement("tr"), cell = row.insertCell();
    row.className = "space";
    row.setAttribute("aria-hidden", "true");
    cell.colSpan = titles.length;
    cell.style.height = `${count * height}px`;
    return row;
  };
  const drawRow = (position) => {
    const row = document.createElement("tr");
    row.setAttribute("aria-rowindex", position + 2);
    row.setAttribute("aria-selected", position === chosen);
    rows[view[position]].forEach((value, column) => {
      const cell = row.insertCell(), kind = kinds[column];
      cell.textContent = shortText(value, kind);
      cell.dataset.kind = kind;
      if (isText(kind)) cell.title = cellText(value, kind);
      if (kind === "name" || kind === "place") cell.className = "name";
      if (value === null) cell.className = "none";
      if (kind === "status") cell.dataset.status = value;
    });
    return row;
  };
  const drawRange = (first, last) => {
    const drawn = [];
    for (let position = first; position < last; position++) drawn.push(drawRow(position));
    const above = first > 0 ? [spacer(first)] : [], below = last < view.length ? [spacer(view.length - last)] : [];
    body.replaceChildren(...above, ...drawn, ...below);
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(viewport.scrollTop / height) - OVERSCAN);
    const count = Math.ceil(viewport.clientHeight / height) + 2 * OVERSCAN;
    drawRange(Math.min(first, Math.max(0, view.length - count)), Math.min(view.length, first + count));
  };
  const measure = () => {
    const row = body.querySelector("[aria-rowindex]");
    if (row) height = row.getBoundingClientRect().height || height;
    draw();
  };

  // The chosen row is shown in full below the table.
  const choose = (position) => {
    chosen = position;
    const facts = position < 0 ? [] : rows[view[position]].flatMap((value, column) => {
      const title = document.createElement("dt"), text = document.createElement("dd");
      title.textContent = titles[column];
      text.textContent = cellText(value, kinds[column]) || "–";
      return [title, text];
    });
    find("chosen").replaceChildren(...facts);
  };
  const reveal = () => {
    const top = chosen * height, room = viewport.clientHeight - table.tHead.offsetHeight - height;
    if (top < viewport.scrollTop) viewport.scrollTop = top;
    else if (top > viewport.scrollTop + room) viewport.scrollTop = top - room;
    draw();
  };
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };
  viewport.addEventListener("keydown", (event) => {
    if (event.target !== viewport || !(event.key in moves) || !view.length) return;
    event.preventDefault();
    choose(Math.min(view.length - 1, Math.max(0, chosen + moves[event.key])));
    reveal();
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("[aria-rowindex]");
    if (!row) return;
    choose(row.getAttribute("aria-rowindex") - 2);
    draw();
  });

  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const next = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    const direction = next === undefined ? "ascending" : next;
    if (direction) header.setAttribute("aria-sort", direction);
    sortBy(column, { ascending: 1, descending: -1 }[direction] || 0);
    refresh();
  }));
  menus.forEach((menu) => {
    const column = +menu.dataset.column;
    const values = [...new Set(rows.map((row) => row[column]))];
    values.sort(new Intl.Collator("en", { numeric: true }).compare);
    values.forEach((value) => menu.add(new Option(cellText(value, kinds[column]), value)));
    menu.addEventListener("change", refresh);
  });
  find("filter").addEventListener("input", refresh);
  let waiting = false;
  viewport.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  window.addEventListener("resize", measure);

  // On paper: the first rows of what is in view, whole.
  window.addEventListener("beforeprint", () => {
    const count = Math.min(view.length, PRINTED);
    find("printed").textContent = count < view.length
      ? `Printed: the first ${number(count)} of ${number(view.length)} rows. Filter the table to print others.` : "";
    const above = view;
    view = view.slice(0, count);
    drawRange(0, count);
    view = above;
  });
  window.addEventListener("afterprint", draw);

  find("explorer").hidden = false;
  viewport.classList.toggle("short", rows.length <= 15);
  refresh();
  measure();
})();
