// The theme switch, and browsing the errors. Text reaches the page through textContent only: it can never become markup.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const button = byId("theme");
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  const source = byId("errors-data");
  if (!source) return;
  const { texts, errors } = JSON.parse(source.textContent);
  const PAGE = 50;
  const list = byId("errors-list"), form = byId("filters"), pager = byId("pager"), count = byId("errors-count");
  const byClass = byId("by-class"), byType = byId("by-type"), byText = byId("by-text");
  const searchable = texts.map((words) => words.join(" ").toLowerCase());
  let found = errors, page = 0;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (value) => value.toLocaleString("en");
  const typesOf = (error) => [error.g && error.g[2], error.p && error.p[2]].filter(Boolean);

  const fill = (select, values) => {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    for (const value of [...counts.keys()].sort()) {
      const option = element("option", "", `${value} (${number(counts.get(value))})`);
      option.value = value;
      select.append(option);
    }
  };

  const inside = (span, place) => span !== null && span[0] <= place && place < span[1];

  const sentence = (error) => {
    const words = texts[error.t];
    const line = element("p", "text");
    line.dir = "auto";
    if (error.a) line.append(element("span", "cut", `… ${number(error.a)} words … `));
    for (let start = 0; start < words.length;) {
      const gold = inside(error.g, start), predicted = inside(error.p, start);
      let end = start + 1;
      while (end < words.length && inside(error.g, end) === gold && inside(error.p, end) === predicted) end += 1;
      const text = words.slice(start, end).join(" ");
      if (!gold && !predicted) {
        line.append(text);
      } else {
        const mark = element("mark", gold && predicted ? "both" : gold ? "gold" : "predicted", text);
        const same = error.g && error.p && gold && predicted && error.g[1] === end && error.p[1] === end && error.g[2] === error.p[2];
        if (same) {
          mark.append(element("small", "", `both ${error.g[2]}`));
        } else {
          if (gold && error.g[1] === end) mark.append(element("small", "", `gold ${error.g[2]}`));
          if (predicted && error.p[1] === end) mark.append(element("small", "", `predicted ${error.p[2]}`));
        }
        line.append(mark);
      }
      if (end < words.length) line.append(" ");
      start = end;
    }
    if (error.z) line.append(element("span", "cut", ` … ${number(error.z)} words …`));
    return line;
  };

  const item = (error) => {
    const entry = element("li");
    const what = element("p", "what");
    what.append(element("strong", "", error.c[0].toUpperCase() + error.c.slice(1)));
    if (error.g) what.append(`, gold ${error.g[2]}`);
    if (error.p) what.append(`, predicted ${error.p[2]}`);
    if (error.p && error.p[3] !== null) what.append(`, confidence ${error.p[3].toFixed(2)}`);
    what.append(` · sentence ${number(error.s)}`);
    entry.append(what, sentence(error));
    return entry;
  };

  const show = () => {
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(item));
    list.start = page * PAGE + 1;
    count.textContent = found.length === 0
      ? "No error matches."
      : `${number(found.length)} of ${number(errors.length)} errors` + (pages > 1 ? `, ${PAGE} on a page` : "");
    pager.hidden = pages === 1;
    byId("page-place").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page === pages - 1;
  };

  const filter = () => {
    const text = byText.value.trim().toLowerCase();
    found = errors.filter((error) =>
      (!byClass.value || error.c === byClass.value) &&
      (!byType.value || typesOf(error).includes(byType.value)) &&
      (!text || searchable[error.t].includes(text)));
    page = 0;
    show();
  };

  const turn = (step) => {
    page += step;
    show();
    count.scrollIntoView({ block: "nearest" });
    const wanted = byId(step > 0 ? "next" : "previous");
    (wanted.disabled ? byId(step > 0 ? "previous" : "next") : wanted).focus({ preventScroll: true });
  };

  fill(byClass, errors.map((error) => error.c));
  fill(byType, errors.flatMap((error) => [...new Set(typesOf(error))]));
  let waiting = 0;
  byText.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  byClass.addEventListener("change", filter);
  byType.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  form.hidden = false;
  show();
})();
