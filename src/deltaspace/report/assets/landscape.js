// The landscape: draws the masks, shares and shades that Python computed, and works out none of them.

const dashes = [[], [8, 4], [10, 3, 2, 3], [2, 3], [12, 2], [6, 2, 2, 2, 2, 2]];
const edge = { left: 58, right: 14, top: 14, bottom: 46 };

const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** A mask of cells from one bit a cell, the lowest first. */
function maskOf(text, cells) {
  const bytes = bytesOf(text);
  return Array.from({ length: cells }, (_, cell) => Boolean((bytes[cell >> 3] >> (cell & 7)) & 1));
}

const roundedOff = (value) => String(Number(value.toPrecision(3)));

/** Where the cells of a landscape are on the canvas; their coordinates are in their middle. */
function layoutOf(land, canvas, limits) {
  const flat = land.ticks.length === 1;
  const width = land.ticks[0].length, height = flat ? 1 : land.ticks[1].length;
  const stepOf = (ticks) => (ticks[ticks.length - 1] - ticks[0]) / (ticks.length - 1);
  const spanOf = (ticks) => [ticks[0] - stepOf(ticks) / 2, ticks[ticks.length - 1] + stepOf(ticks) / 2];
  const margin = 0.05 * (limits[1] - limits[0] || 1);
  const [left, right] = spanOf(land.ticks[0]);
  const [low, high] = flat ? [limits[0] - margin, limits[1] + margin] : spanOf(land.ticks[1]);
  const inner = { width: canvas.width - edge.left - edge.right, height: canvas.height - edge.top - edge.bottom };
  const across = (x) => edge.left + ((x - left) / (right - left)) * inner.width;
  const upwards = (y) => canvas.height - edge.bottom - ((y - low) / (high - low)) * inner.height;

  function box(cell) {
    const [column, row] = [cell % width, Math.floor(cell / width)];
    const dx = stepOf(land.ticks[0]) / 2;
    const start = across(land.ticks[0][column] - dx), end = across(land.ticks[0][column] + dx);
    if (flat) return [start, edge.top, end - start, inner.height];
    const dy = stepOf(land.ticks[1]) / 2;
    const top = upwards(land.ticks[1][row] + dy), bottom = upwards(land.ticks[1][row] - dy);
    return [start, top, end - start, bottom - top];
  }

  return { flat, width, height, cells: width * height, inner, across, upwards, box };
}

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
  function write(text, x, y, written) {
    context.font = "bold 14px system-ui, sans-serif"; context.textAlign = "left";
    const width = context.measureText(text).width;
    const left = Math.min(x + 9, canvas.width - edge.right - width);
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

  function drawMark(layout, delta, written) {
    const [x, y] = [layout.across(delta.mark.at[0]), layout.upwards(delta.mark.at[1])];
    context.beginPath(); context.arc(x, y, 6, 0, 7); context.fillStyle = delta.color; context.fill();
    context.lineWidth = 2; context.strokeStyle = "#ffffff"; context.stroke();
    write(delta.name, x, y, written);
  }

  function drawPlane({ land, region, layout, metric, delta, trajectories }) {
    for (let cell = 0; cell < layout.cells; cell += 1) {
      if (delta >= 0) fillCell(layout, cell, data.shades[land.deltas[delta].shades[metric][cell]]);
      else if (region.common[cell]) fillCell(layout, cell, "#8fa3ad");
      else fillCell(layout, cell, land.grays[region.inside.filter((mask) => mask[cell]).length]);
    }
    region.inside.forEach((mask, i) => {
      if (delta < 0) drawBorder(layout, mask, land.deltas[i].color, dashes[i % dashes.length]);
      else if (delta === i) drawBorder(layout, mask, "#ffffff", []);
    });
    const written = [];
    for (const drawn of delta < 0 ? land.deltas : [land.deltas[delta]]) {
      if (trajectories && drawn.trajectory.length) drawTrajectory(layout, drawn.trajectory, drawn.color);
      if (drawn.mark) drawMark(layout, drawn, written);
    }
    for (const point of land.points) write(`× ${point.name}`, layout.across(point.at[0]) - 14, layout.upwards(point.at[1]) + 13, written);
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
    for (const point of [...land.points, ...marked]) write(point.name, layout.across(point.at[0]) - 9, edge.top + 24, written);
  }

  function drawAxes({ land, layout, limits }) {
    context.fillStyle = "#1a1a1a"; context.strokeStyle = "#1a1a1a"; context.lineWidth = 1; context.font = "14px system-ui, sans-serif";
    context.strokeRect(edge.left, edge.top, layout.inner.width, layout.inner.height);
    const endsOf = (ticks) => [ticks[0], ticks[ticks.length - 1]];
    const [left, right] = endsOf(land.ticks[0]), [low, high] = layout.flat ? limits : endsOf(land.ticks[1]);
    for (const share of [0, 0.5, 1]) {
      const x = left + share * (right - left), y = low + share * (high - low);
      context.textAlign = "center"; context.fillText(roundedOff(x), layout.across(x), canvas.height - 28);
      context.textAlign = "right"; context.fillText(roundedOff(y), edge.left - 6, layout.upwards(y) + 5);
    }
    context.textAlign = "center";
    context.fillText(land.labels[0], (edge.left + canvas.width - edge.right) / 2, canvas.height - 8);
  }

  return (view) => {
    const { layout, cursor } = view;
    context.fillStyle = "#ffffff"; context.fillRect(0, 0, canvas.width, canvas.height);
    context.save();
    context.beginPath(); context.rect(edge.left, edge.top, layout.inner.width, layout.inner.height); context.clip();
    if (layout.flat) drawLines(view); else drawPlane(view);
    if (cursor !== null) { context.strokeStyle = "#000000"; context.lineWidth = 2.5; context.strokeRect(...layout.box(cursor)); }
    context.restore();
    drawAxes(view);
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
  byId("legend").replaceChildren(...land.deltas.map((delta, i) => {
    const span = make("span");
    span.innerHTML = `<svg width="34" height="12" aria-hidden="true"><line x1="2" y1="6" x2="32" y2="6" stroke="${delta.color}" stroke-width="3" stroke-dasharray="${dashes[i % dashes.length].join(" ")}"/></svg> `;
    span.append(delta.name);
    return span;
  }));
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
    const limits = land.limits[metric.value], layout = layoutOf(land, canvas, limits);
    view = {
      land, limits, layout, cursor,
      metric: metric.value,
      delta: land.deltas.findIndex((delta) => delta.name === chosen.value),
      trajectories: trajectories.checked,
      region: regionAt(land, Number(threshold.value), layout.cells),
    };
    paint(view); tellRegion(view.region, Number(threshold.value)); tellCell(view);
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
    canvas.height = land.ticks.length === 1 ? 420 : 640;
    tellLandscape(land, land.deltas[0].score.length);
    update();
  }

  canvas.addEventListener("pointermove", (event) => {
    const bounds = canvas.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * canvas.width, y = ((event.clientY - bounds.top) / bounds.height) * canvas.height;
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
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  choose();
}
if (data.landscapes.length) landscape();
