// The theme switch, values on plots, and browsing the errors. Text reaches the page through textContent only: it can never become markup.
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

  // Values under the pointer: an invisible dot with a title on each point of a plot, placed in percent of the picture.
  for (const dot of document.querySelectorAll(".dot")) {
    dot.style.left = `${dot.dataset.x}%`;
    dot.style.top = `${dot.dataset.y}%`;
  }

  const source = byId("errors-data");
  if (!source) return;
  const texts = JSON.parse(source.textContent);
  const PAGE = 50;
  const list = byId("errors-list"), form = byId("filters"), pager = byId("pager"), count = byId("errors-count");
  const byClass = byId("by-class"), byType = byId("by-type"), byText = byId("by-text"), order = byId("order");
  const searchable = texts.map((text) => text.w.join(" ").toLowerCase());
  const errors = texts.flatMap((text) => text.e);
  let found = [], page = 0;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const number = (value) => value.toLocaleString("en");
  const confidence = (error) => error.p ? error.p[3] : null;
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

  // The errors' span that holds a word, as gold ("g") or predicted ("p"); spans of one kind never overlap.
  const spanAt = (shown, kind, place) =>
    (shown.find((error) => error[kind] && error[kind][0] <= place && place < error[kind][1]) || {})[kind];

  const sentence = (text, shown) => {
    const words = text.w;
    const line = element("p", "text");
    line.dir = "auto";
    if (text.a) line.append(element("span", "cut", `… ${number(text.a)} words … `));
    for (let start = 0; start < words.length;) {
      const gold = spanAt(shown, "g", start), predicted = spanAt(shown, "p", start);
      let end = start + 1;
      while (end < words.length && spanAt(shown, "g", end) === gold && spanAt(shown, "p", end) === predicted) end += 1;
      const joined = words.slice(start, end).join(" ");
      if (!gold && !predicted) {
        line.append(joined);
      } else {
        const mark = element("mark", gold && predicted ? "both" : gold ? "gold" : "predicted", joined);
        if (gold && gold[1] === end) mark.append(element("small", "", `gold ${gold[2]}`));
        if (predicted && predicted[1] === end) mark.append(element("small", "", `predicted ${predicted[2]}`));
        line.append(mark);
      }
      if (end < words.length) line.append(" ");
      start = end;
    }
    if (text.z) line.append(element("span", "cut", ` … ${number(text.z)} words …`));
    return line;
  };

  const item = ({ text, shown }) => {
    const entry = element("li");
    for (const error of shown) {
      const what = element("p", "what");
      what.append(element("strong", "", error.c[0].toUpperCase() + error.c.slice(1)));
      if (error.g) what.append(`, gold ${error.g[2]}`);
      if (error.p) what.append(`, predicted ${error.p[2]}`);
      if (confidence(error) !== null) what.append(`, confidence ${confidence(error).toFixed(2)}`);
      entry.append(what);
    }
    entry.append(sentence(text, shown), element("p", "place", text.f || `sentence ${number(text.s)}`));
    return entry;
  };

  const show = () => {
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(item));
    list.start = page * PAGE + 1;
    const matching = found.reduce((total, { shown }) => total + shown.length, 0);
    count.textContent = found.length === 0
      ? "No error matches."
      : `${number(matching)} of ${number(errors.length)} errors in ${number(found.length)} sentence${found.length === 1 ? "" : "s"}`
        + (pages > 1 ? `, ${PAGE} on a page` : "");
    pager.hidden = pages === 1;
    byId("page-place").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page === pages - 1;
  };

  const filter = () => {
    const text = byText.value.trim().toLowerCase();
    found = texts
      .map((each, index) => ({
        text: each,
        shown: text && !searchable[index].includes(text) ? [] : each.e.filter((error) =>
          (!byClass.value || error.c === byClass.value) && (!byType.value || typesOf(error).includes(byType.value))),
      }))
      .filter(({ shown }) => shown.length);
    if (order.value) {
      const sign = order.value === "sure" ? -1 : 1;
      // The errors without a prediction, and so without a confidence, come last.
      const key = ({ shown }) => Math.min(...shown.map(confidence).map((value) => value === null ? Infinity : sign * value));
      found.sort((a, b) => key(a) - key(b) || a.text.s - b.text.s);
    }
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
  for (const select of [byClass, byType, order]) select.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  form.hidden = false;
  filter();
})();
