"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

// ---- Tables ----------------------------------------------------------------------------------------------------------

const shown = (value, number, whole = Number.isInteger(value)) => {
  if (value === null || value === undefined) return "–";
  return number && !whole ? value.toFixed(1) : String(value);
};

const formats = {
  CSV: (columns, rows) => {
    const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    return [columns.map((c) => cell(c.label)), ...rows.map((r) => columns.map((c) => cell(exact(r[c.key]))))].map((r) => r.join(",")).join("\n");
  },
  Markdown: (columns, rows) => {
    const line = (cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
    const rule = line(columns.map((c) => (c.number ? "---:" : "---")));
    return [line(columns.map((c) => c.label)), rule, ...rows.map((r) => line(columns.map((c) => exact(r[c.key]))))].join("\n");
  },
  LaTeX: (columns, rows) => {
    const escaped = (text) => text.replace(/\\/g, "\\textbackslash{}").replace(/([&%$#_])/g, "\\$1").replace(/→/g, "$\\to$");
    const line = (cells) => cells.map(escaped).join(" & ") + " \\\\";
    const body = rows.map((r) => line(columns.map((c) => exact(r[c.key]))));
    const kinds = columns.map((c) => (c.number ? "r" : "l")).join("");
    return [`\\begin{tabular}{${kinds}}`, "\\hline", line(columns.map((c) => c.label)), "\\hline", ...body, "\\hline", "\\end{tabular}"].join("\n");
  },
};
const exact = (value) => (value === null || value === undefined ? "" : String(value));

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from a file may not be let into the clipboard that way.
    const area = make("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  byId("copied").textContent = `${what} copied`;
}

function addTable(table) {
  const { columns } = table;
  let rows = [...(table.rows ?? data.rows)];
  // A column of numbers has a decimal in every line, or in none.
  for (const column of columns) column.whole = rows.every((row) => !column.number || Number.isInteger(row[column.key] ?? 0));
  const body = make("tbody");
  const fill = () => {
    const lines = rows.map((row) => {
      const cells = columns.map((column) => {
        const text = shown(row[column.key], column.number, column.whole);
        const cell = make("td", { class: column.number ? "number" : text.length > 40 ? "long" : "" }, text);
        if (column.number) cell.title = exact(row[column.key]);
        return cell;
      });
      return make("tr", {}, ...cells);
    });
    body.replaceChildren(...lines);
  };
  const heads = columns.map((column) => {
    const button = make("button", { type: "button" }, column.label);
    const head = make("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row[column.key] ?? null;
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null); // what is missing stays last
        const order = column.number ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      });
      fill();
    });
    return head;
  });
  const buttons = Object.keys(formats).map((name) => {
    const button = make("button", { type: "button", "aria-label": `Copy ${table.title} as ${name}` }, name);
    button.addEventListener("click", () => copy(formats[name](columns, rows), `${table.title} as ${name}`));
    return button;
  });
  const title = make("h3", { id: `${table.id}-title` }, `${table.title} (${rows.length})`);
  const grid = make("table", { "aria-labelledby": title.id }, make("thead", {}, make("tr", {}, ...heads)), body);
  const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": title.id }, grid);
  const bar = make("div", { class: "bar" }, title, make("span", {}, "copy as"), ...buttons);
  byId("all-tables").append(make("div", { class: "table", id: `table-${table.id}` }, bar, scroll));
  if (rows.length > 200) {
    // A long table is filled when it comes near the window.
    scroll.style.height = "28rem";
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      observer.disconnect();
      fill();
    }, { rootMargin: "400px" }).observe(scroll);
  } else fill();
}
for (const table of data.tables) addTable(table);

// ---- Landscape -------------------------------------------------------------------------------------------------------

const colors = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const dashes = [[], [8, 4], [10, 3, 2, 3], [2, 3], [12, 2], [6, 2, 2, 2, 2, 2]];
// Viridis, at even steps.
const shades = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

function shade(share) {
  const place = Math.min(Math.max(share, 0), 1) * (shades.length - 1);
  const low = Math.min(Math.floor(place), shades.length - 2);
  const mixed = shades[low].map((part, i) => Math.round(part + (place - low) * (shades[low + 1][i] - part)));
  return `rgb(${mixed.join(",")})`;
}

/** Each delta's region, the common one and its largest part, as the library works them out. */
function regionOf(land, threshold) {
  const inside = land.deltas.map((delta) => {
    const best = Math.max(...delta.score);
    return delta.score.map((score) => best > 0 && score >= (threshold / 100) * best);
  });
  const cells = land.deltas[0].score.length;
  const common = Array.from({ length: cells }, (_, cell) => inside.every((own) => own[cell]));
  const union = Array.from({ length: cells }, (_, cell) => inside.some((own) => own[cell]));
  const count = (own) => own.filter(Boolean).length;
  const shares = Object.fromEntries(land.deltas.map((delta, i) => [delta.name, (100 * count(inside[i])) / cells]));
  shares.common = (100 * count(common)) / cells;
  shares.largest = (100 * largest(common, land.ticks[0].length)) / cells;
  shares.union = (100 * count(common)) / Math.max(count(union), 1);
  return { inside, common, shares };
}

function largest(region, width) {
  const seen = new Set();
  let most = 0;
  region.forEach((start, first) => {
    if (!start || seen.has(first)) return;
    const stack = [first];
    seen.add(first);
    let size = 0;
    while (stack.length) {
      const cell = stack.pop();
      size += 1;
      const column = cell % width;
      const around = [cell - width, cell + width, ...(column > 0 ? [cell - 1] : []), ...(column < width - 1 ? [cell + 1] : [])];
      for (const next of around) {
        if (region[next] && !seen.has(next)) { seen.add(next); stack.push(next); }
      }
    }
    most = Math.max(most, size);
  });
  return most;
}

function landscape() {
  const canvas = byId("canvas"), context = canvas.getContext("2d");
  const [slice, chosen, metric, threshold, ways] = ["slice", "delta", "metric", "threshold", "ways"].map(byId);
  const edge = { left: 58, right: 14, top: 14, bottom: 46 };
  let land = data.landscapes[0], cursor = null, region = null;
  data.landscapes.forEach((own, i) => slice.append(make("option", { value: i }, own.name)));

  const flat = () => land.ticks.length === 1;
  const width = () => land.ticks[0].length;
  const rows = () => (flat() ? 1 : land.ticks[1].length);
  const span = (ticks) => (ticks[ticks.length - 1] - ticks[0]) / (ticks.length - 1);
  // Cells have their coordinates in their middle.
  const spread = (ticks) => [ticks[0] - span(ticks) / 2, ticks[ticks.length - 1] + span(ticks) / 2];
  const across = (x) => { const [low, high] = spread(land.ticks[0]); return edge.left + ((x - low) / (high - low)) * (canvas.width - edge.left - edge.right); };
  const range = () => {
    const values = land.deltas.flatMap((delta) => delta[metric.value]).filter((value) => value !== null).sort((a, b) => a - b);
    // The few worst losses would leave no shade for the rest.
    return [values[0], metric.value === "loss" && !flat() ? values[Math.floor(0.95 * (values.length - 1))] : values[values.length - 1]];
  };
  const upwards = (y) => {
    const [low, high] = flat() ? padded(range()) : spread(land.ticks[1]);
    return canvas.height - edge.bottom - ((y - low) / (high - low)) * (canvas.height - edge.top - edge.bottom);
  };
  const padded = ([low, high]) => [low - 0.05 * (high - low || 1), high + 0.05 * (high - low || 1)];
  const shownDelta = () => land.deltas.findIndex((delta) => delta.name === chosen.value);

  function cellBox(cell) {
    const [x, y] = [cell % width(), Math.floor(cell / width())];
    const dx = span(land.ticks[0]) / 2;
    const left = across(land.ticks[0][x] - dx), right = across(land.ticks[0][x] + dx);
    if (flat()) return [left, edge.top, right - left, canvas.height - edge.top - edge.bottom];
    const dy = span(land.ticks[1]) / 2, top = upwards(land.ticks[1][y] + dy), bottom = upwards(land.ticks[1][y] - dy);
    return [left, top, right - left, bottom - top];
  }

  function border(inside, color, dash) {
    // Sides between a cell inside and one outside.
    context.strokeStyle = color; context.lineWidth = 3; context.setLineDash(dash);
    context.beginPath();
    inside.forEach((own, cell) => {
      if (!own) return;
      const [x, y, w, h] = cellBox(cell), column = cell % width();
      if (column > 0 && !inside[cell - 1]) { context.moveTo(x, y); context.lineTo(x, y + h); }
      if (column < width() - 1 && !inside[cell + 1]) { context.moveTo(x + w, y); context.lineTo(x + w, y + h); }
      if (cell >= width() && !inside[cell - width()]) { context.moveTo(x, y + h); context.lineTo(x + w, y + h); }
      if (cell + width() < inside.length && !inside[cell + width()]) { context.moveTo(x, y); context.lineTo(x + w, y); }
    });
    context.stroke(); context.setLineDash([]);
  }

  function label(text, x, y, taken) {
    context.font = "bold 14px system-ui, sans-serif"; context.textAlign = "left";
    const size = context.measureText(text).width;
    let left = Math.min(x + 9, canvas.width - edge.right - size), top = Math.max(y - 8, edge.top + 14);
    while (taken.some((own) => Math.abs(own[1] - top) < 17 && left < own[0] + own[2] && own[0] < left + size)) top += 17;
    taken.push([left, top, size]);
    context.lineWidth = 4; context.strokeStyle = "#ffffff"; context.strokeText(text, left, top);
    context.fillStyle = "#000000"; context.fillText(text, left, top);
  }

  function drawAxes() {
    context.fillStyle = "#1a1a1a"; context.strokeStyle = "#1a1a1a"; context.lineWidth = 1; context.font = "14px system-ui, sans-serif";
    context.strokeRect(edge.left, edge.top, canvas.width - edge.left - edge.right, canvas.height - edge.top - edge.bottom);
    const [x0, x1] = [land.ticks[0][0], land.ticks[0][width() - 1]];
    const [y0, y1] = flat() ? range() : [land.ticks[1][0], land.ticks[1][rows() - 1]];
    for (const share of [0, 0.5, 1]) {
      context.textAlign = "center"; context.fillText(written(x0 + share * (x1 - x0)), across(x0 + share * (x1 - x0)), canvas.height - 28);
      context.textAlign = "right"; context.fillText(written(y0 + share * (y1 - y0)), edge.left - 6, upwards(y0 + share * (y1 - y0)) + 5);
    }
    context.textAlign = "center";
    context.fillText(land.labels[0], (edge.left + canvas.width - edge.right) / 2, canvas.height - 8);
  }
  const written = (value) => String(Number(value.toPrecision(3)));

  function drawPlane() {
    const one = shownDelta(), [low, high] = range();
    const cells = land.deltas[0].score.length;
    for (let cell = 0; cell < cells; cell += 1) {
      const [x, y, w, h] = cellBox(cell);
      if (one >= 0) {
        const value = land.deltas[one][metric.value][cell], share = (value - low) / (high - low || 1);
        context.fillStyle = shade(metric.value === "loss" ? 1 - share : share);
      } else {
        const count = region.inside.filter((own) => own[cell]).length / land.deltas.length;
        const grey = Math.round(255 - 110 * count * count);
        context.fillStyle = region.common[cell] ? "#8fa3ad" : `rgb(${grey},${grey},${grey})`;
      }
      context.fillRect(x, y, w + 0.6, h + 0.6);
    }
    land.deltas.forEach((delta, i) => {
      if (one < 0) border(region.inside[i], colors[i % colors.length], dashes[i % dashes.length]);
      else if (one === i) border(region.inside[i], "#ffffff", []);
    });
    const taken = [];
    land.deltas.forEach((delta, i) => {
      if (one >= 0 && one !== i) return;
      const color = colors[i % colors.length];
      if (ways.checked && delta.path.length) {
        for (const [style, thickness] of [["#ffffff", 5], [color, 2.5]]) {
          context.strokeStyle = style; context.lineWidth = thickness; context.beginPath();
          delta.path.forEach(([x, y], step) => (step ? context.lineTo(across(x), upwards(y)) : context.moveTo(across(x), upwards(y))));
          context.stroke();
        }
      }
      if (delta.mark) {
        const [x, y] = [across(delta.mark.place[0]), upwards(delta.mark.place[1])];
        context.beginPath(); context.arc(x, y, 6, 0, 7); context.fillStyle = color; context.fill();
        context.lineWidth = 2; context.strokeStyle = "#ffffff"; context.stroke();
        label(delta.name, x, y, taken);
      }
    });
    for (const point of land.points) label(`× ${point.name}`, across(point.place[0]) - 14, upwards(point.place[1]) + 13, taken);
  }

  function drawLines() {
    region.common.forEach((own, cell) => {
      if (!own) return;
      const [x, y, w, h] = cellBox(cell);
      context.fillStyle = "#e4e8ea"; context.fillRect(x, y, w + 0.6, h);
    });
    const one = shownDelta();
    land.deltas.forEach((delta, i) => {
      if (one >= 0 && one !== i) return;
      context.strokeStyle = colors[i % colors.length]; context.lineWidth = 3; context.setLineDash(dashes[i % dashes.length]);
      context.beginPath();
      delta[metric.value].forEach((value, cell) => {
        const place = [across(land.ticks[0][cell]), upwards(value)];
        if (cell) context.lineTo(...place); else context.moveTo(...place);
      });
      context.stroke(); context.setLineDash([]);
    });
    const taken = [];
    for (const point of [...land.points, ...land.deltas.filter((delta) => delta.mark && delta.mark.distance < 1e-3).map((delta) => ({ name: delta.name, place: delta.mark.place }))])
      label(point.name, across(point.place[0]) - 9, edge.top + 24, taken);
  }

  function draw() {
    context.fillStyle = "#ffffff"; context.fillRect(0, 0, canvas.width, canvas.height);
    context.save();
    context.beginPath(); context.rect(edge.left, edge.top, canvas.width - edge.left - edge.right, canvas.height - edge.top - edge.bottom); context.clip();
    if (flat()) drawLines(); else drawPlane();
    if (cursor !== null) { context.strokeStyle = "#000000"; context.lineWidth = 2.5; context.strokeRect(...cellBox(cursor)); }
    context.restore();
    drawAxes();
  }

  function tell() {
    const q = Number(threshold.value), one = (value) => value.toFixed(1);
    byId("threshold-text").textContent = `${q} %`;
    const known = land.regions.find((own) => own.threshold === q).shares;
    const interval = (key) => `${one(known[key][0])}–${one(known[key][1])}`;
    byId("region").textContent = `Every delta reaches ${q} % of its own best or more in ${one(region.shares.common)} % of the slice (95 % interval ${interval("common")}).`;
    const names = { common: "all of them", largest: "its largest connected part", union: "all of them, of the union" };
    const lines = Object.entries(region.shares).map(([key, share]) => {
      const cells = [names[key] ?? key, one(share), interval(key)];
      return make("tr", { "data-region": key, "data-share": share }, ...cells.map((text, i) => make("td", { class: i ? "number" : "" }, text)));
    });
    const head = make("tr", {}, ...["region", "% of the slice", "interval"].map((text, i) => make("th", { scope: "col", class: i ? "number" : "" }, text)));
    byId("shares").replaceChildren(make("table", { "aria-label": `Regions at ${q} %` }, make("thead", {}, head), make("tbody", {}, ...lines)));
  }

  function tellCell() {
    if (cursor === null) return;
    const x = land.ticks[0][cursor % width()], y = flat() ? null : land.ticks[1][Math.floor(cursor / width())];
    const values = land.deltas.map((delta) => {
      const filled = delta.filled.includes(cursor) ? " (filled in)" : "";
      return `${delta.name} ${shown(delta.score[cursor], true)}, loss ${delta.loss[cursor].toFixed(3)}${filled}`;
    });
    byId("cell").textContent = `Cell ${written(x)}${y === null ? "" : `, ${written(y)}`}: ${values.join("; ")}${region.common[cursor] ? "; in the common region" : ""}.`;
  }

  function update() {
    region = regionOf(land, Number(threshold.value));
    draw(); tell(); tellCell();
  }

  function take() {
    land = data.landscapes[Number(slice.value)];
    cursor = null;
    const before = chosen.value;
    chosen.replaceChildren(make("option", { value: "" }, "all, with the common region"), ...land.deltas.map((delta) => make("option", { value: delta.name }, delta.name)));
    if (land.deltas.some((delta) => delta.name === before)) chosen.value = before;
    canvas.height = flat() ? 420 : 640;
    const sampled = land.deltas.reduce((sum, delta) => sum + delta.score.length - delta.filled.length, 0) / (land.deltas.length * land.deltas[0].score.length);
    byId("about").textContent = `${land.task}, ${land.metric}, ${land.examples}, ${land.deltas[0].score.length} cells` + (sampled < 1 ? `, ${Math.round(100 * sampled)} % of them sampled and the others, between equal ones, filled in.` : ", all sampled.");
    byId("cell").textContent = "Point at a cell, or move with the arrow keys.";
    byId("legend").replaceChildren(...land.deltas.map((delta, i) => {
      const span = make("span");
      span.innerHTML = `<svg width="34" height="12" aria-hidden="true"><line x1="2" y1="6" x2="32" y2="6" stroke="${colors[i % colors.length]}" stroke-width="3" stroke-dasharray="${dashes[i % dashes.length].join(" ")}"/></svg> `;
      span.append(delta.name);
      return span;
    }));
    update();
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * canvas.width, y = ((event.clientY - box.top) / box.height) * canvas.height;
    const cells = land.deltas[0].score.length;
    const found = Array.from({ length: cells }, (_, cell) => cell).find((cell) => {
      const [left, top, w, h] = cellBox(cell);
      return x >= left && x < left + w && y >= top && y < top + h;
    });
    if (found === undefined || found === cursor) return;
    cursor = found; draw(); tellCell();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Home") {
      const totals = land.deltas[0].score.map((_, cell) => land.deltas.reduce((sum, delta) => sum + delta.score[cell], 0));
      cursor = totals.indexOf(Math.max(...totals));
    } else if (step) {
      const from = cursor ?? Math.floor(rows() / 2) * width() + Math.floor(width() / 2);
      const x = Math.min(Math.max((from % width()) + step[0], 0), width() - 1), y = Math.min(Math.max(Math.floor(from / width()) + step[1], 0), rows() - 1);
      cursor = y * width() + x;
    } else return;
    event.preventDefault(); draw(); tellCell();
  });
  slice.addEventListener("change", take);
  for (const control of [chosen, metric, ways]) control.addEventListener("change", update);
  threshold.addEventListener("input", update);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  take();
}
if (data.landscapes.length) landscape();
