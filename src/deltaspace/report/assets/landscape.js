// The landscape: draws the masks, shares and shades that Python computed, and works out none of them.

const dashes = [[], [8, 4], [10, 3, 2, 3], [2, 3], [12, 2], [6, 2, 2, 2, 2, 2]];
const edge = { left: 78, right: 14, top: 14, bottom: 46 };
const bar = { gap: 14, width: 14, room: 100 };

const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** A mask of cells from one bit a cell, the lowest first. */
function maskOf(text, cells) {
  const bytes = bytesOf(text);
  return Array.from({ length: cells }, (_, cell) => Boolean((bytes[cell >> 3] >> (cell & 7)) & 1));
}

const roundedOff = (value) => String(Number(value.toPrecision(3)));

/** Three numbers of an axis, its ends and their middle, with as many decimals as tell them apart. */
function ticksOf([low, high]) {
  const decimals = Math.min(Math.max(0, 2 - Math.floor(Math.log10(high - low || 1))), 10);
  return [0, 0.5, 1].map((share) => ({ share, value: low + share * (high - low), text: String(Number((low + share * (high - low)).toFixed(decimals))) }));
}

/** As many dots as the screen has where the canvas lies, so that lines and letters are as sharp and as large there as others. */
function fit(canvas, flat) {
  const width = canvas.clientWidth || 640, height = Math.round(flat ? 0.66 * width : width), ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  return { width, height };
}

/** Where the cells of a landscape are on the canvas; their coordinates are in their middle. */
function layoutOf(land, size, limits, right) {
  const flat = land.ticks.length === 1;
  const width = land.ticks[0].length, height = flat ? 1 : land.ticks[1].length;
  const stepOf = (ticks) => (ticks[ticks.length - 1] - ticks[0]) / (ticks.length - 1);
  const spanOf = (ticks) => [ticks[0] - stepOf(ticks) / 2, ticks[ticks.length - 1] + stepOf(ticks) / 2];
  const margin = 0.05 * (limits[1] - limits[0] || 1);
  const [first, last] = spanOf(land.ticks[0]);
  const [low, high] = flat ? [limits[0] - margin, limits[1] + margin] : spanOf(land.ticks[1]);
  const inner = { width: size.width - edge.left - right, height: size.height - edge.top - edge.bottom };
  const across = (x) => edge.left + ((x - first) / (last - first)) * inner.width;
  const upwards = (y) => size.height - edge.bottom - ((y - low) / (high - low)) * inner.height;

  function box(cell) {
    const [column, row] = [cell % width, Math.floor(cell / width)];
    const dx = stepOf(land.ticks[0]) / 2;
    const start = across(land.ticks[0][column] - dx), end = across(land.ticks[0][column] + dx);
    if (flat) return [start, edge.top, end - start, inner.height];
    const dy = stepOf(land.ticks[1]) / 2;
    const top = upwards(land.ticks[1][row] + dy), bottom = upwards(land.ticks[1][row] - dy);
    return [start, top, end - start, bottom - top];
  }

  return { flat, width, height, cells: width * height, size, right, inner, across, upwards, box };
}

/** What stands for a value: lighter is better, whichever way the quantity goes. */
const shadeOf = (share, metric) => data.shades[Math.round((metric === "score" ? share : 1 - share) * (data.shades.length - 1))];

/** Draws on a canvas what a view chooses: { land, region, layout, metric, delta (an index, or -1 for all), trajectories, cursor }. */
function painter(canvas) {
  const context = canvas.getContext("2d");

  function fillCell(layout, cell, color) {
    const [x, y, width, height] = layout.box(cell);
    context.fillStyle = color;
    context.fillRect(x, y, width + 0.6, height + 0.6);
  }

  function drawBorder(layout, mask, color, dash) {
    // The sides between a cell inside and its neighbor outside.
    const { width } = layout;
    const side = (fromX, fromY, toX, toY) => { context.moveTo(fromX, fromY); context.lineTo(toX, toY); };
    context.strokeStyle = color; context.lineWidth = 3; context.setLineDash(dash);
    context.beginPath();
    mask.forEach((inside, cell) => {
      if (!inside) return;
      const [x, y, w, h] = layout.box(cell), column = cell % width;
      if (column > 0 && !mask[cell - 1]) side(x, y, x, y + h);
      if (column < width - 1 && !mask[cell + 1]) side(x + w, y, x + w, y + h);
      if (cell >= width && !mask[cell - width]) side(x, y + h, x + w, y + h);
      if (cell + width < mask.length && !mask[cell + width]) side(x, y, x + w, y);
    });
    context.stroke(); context.setLineDash([]);
  }

  /** A text with a white rim beside a point, moved down until it covers none of those written before. */
  function write(layout, text, x, y, written) {
    context.font = "bold 14px system-ui, sans-serif"; context.textAlign = "left";
    const width = context.measureText(text).width;
    const left = Math.max(Math.min(x + 12, layout.size.width - layout.right - 4 - width), edge.left + 4);
    let top = Math.max(y - 8, edge.top + 14);
    const covers = (other) => Math.abs(other.top - top) < 17 && left < other.left + other.width && other.left < left + width;
    while (written.some(covers)) top += 17;
    written.push({ left, top, width });
    context.lineWidth = 4; context.strokeStyle = "#ffffff"; context.strokeText(text, left, top);
    context.fillStyle = "#000000"; context.fillText(text, left, top);
  }

  function drawTrajectory(layout, points, color) {
    for (const [style, thickness] of [["#ffffff", 5], [color, 2.5]]) {
      context.strokeStyle = style; context.lineWidth = thickness; context.beginPath();
      points.forEach(([x, y], step) => {
        const at = [layout.across(x), layout.upwards(y)];
        if (step) context.lineTo(...at); else context.moveTo(...at);
      });
      context.stroke();
    }
  }

  function drawDot(x, y, color) {
    context.beginPath(); context.arc(x, y, 6, 0, 7); context.fillStyle = color; context.fill();
    context.lineWidth = 2; context.strokeStyle = "#ffffff"; context.stroke();
  }

  function drawCross(x, y) {
    for (const [color, thickness] of [["#ffffff", 6], ["#000000", 2.5]]) {
      context.strokeStyle = color; context.lineWidth = thickness; context.beginPath();
      for (const side of [-1, 1]) { context.moveTo(x - 5, y - 5 * side); context.lineTo(x + 5, y + 5 * side); }
      context.stroke();
    }
  }

  /** Marks first and their names after, which cover none of them. */
  function drawMarks(layout, deltas, points) {
    const at = ([x, y]) => [layout.across(x), layout.upwards(y)];
    const marks = [
      ...points.map((point) => ({ name: point.name, at: at(point.at), draw: drawCross })),
      ...deltas.filter((delta) => delta.mark).map((delta) => ({ name: delta.name, at: at(delta.mark.at), draw: drawDot, color: delta.color })),
    ];
    for (const mark of marks) mark.draw(...mark.at, mark.color);
    const written = marks.map((mark) => ({ left: mark.at[0] - 8, top: mark.at[1] + 5, width: 16 }));
    for (const mark of marks) write(layout, mark.name, ...mark.at, written);
  }

  function drawPlane({ land, region, layout, metric, delta, trajectories }) {
    for (let cell = 0; cell < layout.cells; cell += 1) {
      if (delta >= 0) fillCell(layout, cell, data.shades[land.deltas[delta].shades[metric][cell]]);
      else fillCell(layout, cell, land.inside_colors[region.inside.filter((mask) => mask[cell]).length]);
    }
    region.inside.forEach((mask, i) => {
      if (delta < 0) drawBorder(layout, mask, land.deltas[i].color, dashes[i % dashes.length]);
      else if (delta === i) drawBorder(layout, mask, "#ffffff", []);
    });
    const shownDeltas = delta < 0 ? land.deltas : [land.deltas[delta]];
    for (const { trajectory, color } of shownDeltas) if (trajectories && trajectory.length) drawTrajectory(layout, trajectory, color);
    drawMarks(layout, shownDeltas, land.points);
  }

  function drawLines({ land, region, layout, metric, delta }) {
    region.common.forEach((inside, cell) => { if (inside) fillCell(layout, cell, "#e4e8ea"); });
    land.deltas.forEach((drawn, i) => {
      if (delta >= 0 && delta !== i) return;
      context.strokeStyle = drawn.color; context.lineWidth = 3; context.setLineDash(dashes[i % dashes.length]);
      context.beginPath();
      drawn[metric].forEach((value, cell) => {
        const at = [layout.across(land.ticks[0][cell]), layout.upwards(value)];
        if (cell) context.lineTo(...at); else context.moveTo(...at);
      });
      context.stroke(); context.setLineDash([]);
    });
    const written = [];
    const marked = land.deltas.filter((drawn) => drawn.mark && drawn.mark.on_slice).map((drawn) => ({ name: drawn.name, at: drawn.mark.at }));
    for (const point of [...land.points, ...marked]) write(layout, point.name, layout.across(point.at[0]) - 9, edge.top + 24, written);
  }

  /** What the shades of one delta stand for. */
  function drawBar({ land, layout, metric }) {
    const left = layout.size.width - layout.right + bar.gap, height = layout.inner.height, rows = Math.ceil(height);
    for (let row = 0; row < rows; row += 1) {
      context.fillStyle = shadeOf(1 - row / (rows - 1), metric);
      context.fillRect(left, edge.top + row, bar.width, 1.5);
    }
    context.strokeRect(left, edge.top, bar.width, height);
    context.fillStyle = "#1a1a1a"; context.textAlign = "left";
    for (const { share, text } of ticksOf(land.shade_limits[metric])) {
      context.fillText(text, left + bar.width + 5, edge.top + (1 - share) * height + 5 * (share < 1 ? 1 : 2));
    }
    writeUpwards(metric === "score" ? land.metric : "loss", layout.size.width - 6, edge.top + height / 2);
  }

  function writeUpwards(text, x, y) {
    context.save();
    context.translate(x, y); context.rotate(-Math.PI / 2); context.textAlign = "center";
    context.fillText(text, 0, 0);
    context.restore();
  }

  function drawAxes({ land, layout, limits, metric }) {
    context.fillStyle = "#1a1a1a"; context.strokeStyle = "#1a1a1a"; context.lineWidth = 1; context.font = "14px system-ui, sans-serif";
    context.strokeRect(edge.left, edge.top, layout.inner.width, layout.inner.height);
    const endsOf = (ticks) => [ticks[0], ticks[ticks.length - 1]];
    context.textAlign = "right";
    for (const { value, text } of ticksOf(layout.flat ? limits : endsOf(land.ticks[1]))) context.fillText(text, edge.left - 6, layout.upwards(value) + 5);
    context.textAlign = "center";
    for (const { value, text } of ticksOf(endsOf(land.ticks[0]))) context.fillText(text, layout.across(value), layout.size.height - 28);
    context.fillText(land.labels[0], edge.left + layout.inner.width / 2, layout.size.height - 8);
    writeUpwards(layout.flat ? (metric === "score" ? land.metric : "loss") : land.labels[1], 16, edge.top + layout.inner.height / 2);
  }

  return (view) => {
    const { layout, cursor } = view;
    context.fillStyle = "#ffffff"; context.fillRect(0, 0, layout.size.width, layout.size.height);
    context.save();
    context.beginPath(); context.rect(edge.left, edge.top, layout.inner.width, layout.inner.height); context.clip();
    if (layout.flat) drawLines(view); else drawPlane(view);
    if (cursor !== null) { context.strokeStyle = "#000000"; context.lineWidth = 2.5; context.strokeRect(...layout.box(cursor)); }
    context.restore();
    drawAxes(view);
    if (!layout.flat && view.delta >= 0) drawBar(view);
  };
}

/** The region at a threshold, its masks unpacked. */
function regionAt(land, threshold, cells) {
  const packed = land.regions.find((region) => region.threshold === threshold);
  return { shares: packed.shares, common: maskOf(packed.common, cells), inside: packed.inside.map((mask) => maskOf(mask, cells)) };
}

const SHARES = { common: "all of them", largest: "its largest connected part", union: "all of them, of the union" };

function tellRegion(region, threshold) {
  const digits = (value) => value.toFixed(1);
  const interval = ([, low, high]) => `${digits(low)}–${digits(high)}`;
  const { common } = region.shares;
  byId("threshold-text").textContent = `${threshold} %`;
  byId("region").textContent = `Every delta reaches ${threshold} % of its own best or more in ${digits(common[0])} % of the slice (95 % interval ${interval(common)}).`;
  const lines = Object.entries(region.shares).map(([key, share]) => {
    const cells = [SHARES[key] ?? key, digits(share[0]), interval(share)];
    return make("tr", { "data-region": key, "data-share": share[0] }, ...cells.map((text, i) => make("td", { class: i ? "number" : "" }, text)));
  });
  const headings = ["region", "% of the slice", "interval"].map((text, i) => make("th", { scope: "col", class: i ? "number" : "" }, text));
  const table = make("table", { "aria-label": `Regions at ${threshold} %` }, make("thead", {}, make("tr", {}, ...headings)), make("tbody", {}, ...lines));
  byId("shares").replaceChildren(table);
}

function tellCell({ land, region, layout, cursor }) {
  if (cursor === null) return;
  const x = roundedOff(land.ticks[0][cursor % layout.width]);
  const y = layout.flat ? "" : `, ${roundedOff(land.ticks[1][Math.floor(cursor / layout.width)])}`;
  const values = land.deltas.map((delta) => {
    const filled = delta.filled.includes(cursor) ? " (filled in)" : "";
    return `${delta.name} ${shown(delta.score[cursor], true)}, loss ${delta.loss[cursor].toFixed(3)}${filled}`;
  });
  byId("cell").textContent = `Cell ${x}${y}: ${values.join("; ")}${region.common[cursor] ? "; in the common region" : ""}.`;
}

function tellLandscape(land, cells) {
  const sampled = land.sampled < 1 ? `${Math.round(100 * land.sampled)} % of them sampled and the others, between equal ones, filled in.` : "all sampled.";
  byId("about").textContent = `${land.task}, ${land.metric}, ${land.examples}, ${cells} cells, ${sampled}`;
  byId("cell").textContent = "Point at a cell, or move with the arrow keys.";
}

/** What lines and fills mean in what is drawn now. */
function tellLegend({ land, layout, delta }, threshold) {
  const entry = (drawing, text) => {
    const span = make("span");
    span.innerHTML = `<svg width="34" height="14" aria-hidden="true">${drawing}</svg> `;
    span.append(text);
    return span;
  };
  const fill = (color) => `<rect x="2" y="1" width="30" height="12" fill="${color}" stroke="#767676"/>`;
  const line = (color, dash) => `<line x1="2" y1="7" x2="32" y2="7" stroke="${color}" stroke-width="3" stroke-dasharray="${dash.join(" ")}"/>`;
  const lines = land.deltas.map((drawn, i) => entry(line(drawn.color, dashes[i % dashes.length]), drawn.name)).filter((_, i) => delta < 0 || !layout.flat || delta === i);
  const count = land.deltas.length;
  let entries = lines;
  if (layout.flat) entries.push(entry(fill("#e4e8ea"), `all at ${threshold} % or more`));
  else if (delta >= 0) entries = [entry(`<rect width="34" height="14" fill="#767676"/>${line("#ffffff", [])}`, `border at ${threshold} % of its best`)];
  else {
    entries.push(...Array.from({ length: count }, (_, inside) => entry(fill(land.inside_colors[inside]), inside ? `inside of ${inside} of ${count}` : "inside of none")));
    entries.push(entry(fill(land.inside_colors[count]), "inside of all: the common region"));
  }
  byId("legend").replaceChildren(...entries);
}

function landscape() {
  const canvas = byId("canvas"), paint = painter(canvas);
  const [slice, chosen, metric, threshold, trajectories] = ["slice", "delta", "metric", "threshold", "trajectories"].map(byId);
  for (const land of data.landscapes) {
    for (const delta of land.deltas) for (const [name, text] of Object.entries(delta.shades)) delta.shades[name] = bytesOf(text);
  }
  const stops = data.landscapes[0].regions.map((region) => region.threshold);
  [threshold.min, threshold.max, threshold.value] = [stops[0], stops[stops.length - 1], data.threshold];
  data.landscapes.forEach((land, i) => slice.append(make("option", { value: i }, land.name)));
  let land = data.landscapes[0], cursor = null, view = null;

  function update() {
    const limits = land.limits[metric.value], flat = land.ticks.length === 1;
    const delta = land.deltas.findIndex((drawn) => drawn.name === chosen.value);
    const layout = layoutOf(land, fit(canvas, flat), limits, flat || delta < 0 ? edge.right : bar.room);
    view = {
      land, limits, layout, cursor, delta,
      metric: metric.value,
      trajectories: trajectories.checked,
      region: regionAt(land, Number(threshold.value), layout.cells),
    };
    paint(view); tellRegion(view.region, Number(threshold.value)); tellCell(view); tellLegend(view, Number(threshold.value));
  }

  function moveTo(cell) {
    cursor = view.cursor = cell;
    paint(view); tellCell(view);
  }

  function choose() {
    land = data.landscapes[Number(slice.value)];
    cursor = null;
    const before = chosen.value;
    chosen.replaceChildren(make("option", { value: "" }, "all, with the common region"), ...land.deltas.map((delta) => make("option", { value: delta.name }, delta.name)));
    if (land.deltas.some((delta) => delta.name === before)) chosen.value = before;
    tellLandscape(land, land.deltas[0].score.length);
    update();
  }

  canvas.addEventListener("pointermove", (event) => {
    const bounds = canvas.getBoundingClientRect();
    const { size } = view.layout;
    const x = ((event.clientX - bounds.left) / bounds.width) * size.width, y = ((event.clientY - bounds.top) / bounds.height) * size.height;
    for (let cell = 0; cell < view.layout.cells; cell += 1) {
      const [left, top, width, height] = view.layout.box(cell);
      if (x >= left && x < left + width && y >= top && y < top + height) {
        if (cell !== cursor) moveTo(cell);
        return;
      }
    }
  });
  canvas.addEventListener("keydown", (event) => {
    const { width, height } = view.layout;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Home") moveTo(land.best);
    else if (step) {
      const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
      const from = cursor ?? Math.floor(height / 2) * width + Math.floor(width / 2);
      moveTo(within(Math.floor(from / width) + step[1], height) * width + within((from % width) + step[0], width));
    } else return;
    event.preventDefault();
  });
  slice.addEventListener("change", choose);
  for (const control of [chosen, metric, trajectories]) control.addEventListener("change", update);
  threshold.addEventListener("input", update);
  new ResizeObserver(() => { if (canvas.clientWidth && canvas.clientWidth !== view.layout.size.width) update(); }).observe(canvas);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  choose();
}
if (data.landscapes.length) landscape();
