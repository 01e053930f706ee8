// Tables: sorted by a heading, copied with every digit.

// What means something else in the format that a text is copied into.
const inMarkdown = (text) => text.replace(/[\\`*[\]<>|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\$&").replace(/\s*[\r\n]+\s*/g, " ");
const latex = {
  "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}",
  ">": "\\textgreater{}", "|": "\\textbar{}", "[": "{[}", "]": "{]}", "→": "$\\to$", "–": "--",
};
const inLatex = (text) => text.replace(/[\\{}^~<>|[\]→–]|[&%$#_]/g, (sign) => latex[sign] ?? `\\${sign}`).replace(/\s*[\r\n]+\s*/g, " ");
// A spreadsheet takes a text that begins so for a formula, and runs it.
const inCsv = (text, number) => {
  const safe = !number && /^[=+@\-\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const formats = {
  CSV: (columns, rows) => {
    const lines = rows.map((r) => columns.map((c) => inCsv(exact(r[c.key]), c.number)));
    return [columns.map((c) => inCsv(c.label, false)), ...lines].map((r) => r.join(",")).join("\n");
  },
  Markdown: (columns, rows) => {
    const line = (cells) => `| ${cells.map(inMarkdown).join(" | ")} |`;
    const rule = `| ${columns.map((c) => (c.number ? "---:" : "---")).join(" | ")} |`;
    return [line(columns.map((c) => c.label)), rule, ...rows.map((r) => line(columns.map((c) => exact(r[c.key]))))].join("\n");
  },
  LaTeX: (columns, rows) => {
    const line = (cells) => cells.map(inLatex).join(" & ") + " \\\\";
    const body = rows.map((r) => line(columns.map((c) => exact(r[c.key]))));
    const kinds = columns.map((c) => (c.number ? "r" : "l")).join("");
    return [`\\begin{tabular}{${kinds}}`, "\\hline", line(columns.map((c) => c.label)), "\\hline", ...body, "\\hline", "\\end{tabular}"].join("\n");
  },
};

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
  clearTimeout(copy.cleared);
  copy.cleared = setTimeout(() => { byId("copied").textContent = ""; }, 5000);
}

function addTable(table) {
  const { columns } = table;
  let rows = [...(table.rows ?? data.rows)];
  for (const column of columns) if (column.number) column.decimals = decimalsOf(rows.map((row) => row[column.key] ?? 0));
  const body = make("tbody");
  const fill = () => {
    const lines = rows.map((row) => {
      const cells = columns.map((column) => {
        const text = shown(row[column.key], column.number, column.decimals);
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
  const hint = make("span", { class: "hint" });
  const bar = make("div", { class: "bar" }, title, make("span", { class: "copy" }, "copy as", ...buttons), hint);
  byId(`all-${table.section}`).append(make("div", { class: "table", id: `table-${table.id}` }, bar, scroll));
  new ResizeObserver(() => {
    const more = [scroll.scrollWidth > scroll.clientWidth && "columns", scroll.scrollHeight > scroll.clientHeight && "rows"].filter(Boolean);
    hint.textContent = more.length ? `scroll for more ${more.join(" and ")}` : "";
  }).observe(grid);
  if (rows.length > 200) {
    // A long table is filled when it comes near the window, or is printed.
    scroll.style.height = "28rem";
    const observer = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) fillOnce(); }, { rootMargin: "400px" });
    const fillOnce = () => {
      observer.disconnect();
      removeEventListener("beforeprint", fillOnce);
      fill();
    };
    observer.observe(scroll);
    addEventListener("beforeprint", fillOnce);
  } else fill();
}
for (const table of data.tables) addTable(table);
