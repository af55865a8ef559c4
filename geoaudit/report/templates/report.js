(() => {
"use strict";
const make = (tag, props, ...inside) => {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...inside);
  return made;
};
const OUTCOMES = ["failed", "invalid", "inconclusive", "passed"];
const numeral = text => {
  const found = /-?\d[\d,]*\.?\d*(e-?\d+)?/.exec(text.replace(/\u2212/g, "-"));
  return found ? Number(found[0].replace(/,/g, "")) : NaN;
};

// The table of assertions: a button in every heading sorts, a field and a list choose what is shown.
for (const table of document.querySelectorAll("table.lines")) {
  const bodies = [...table.tBodies];
  if (4 > bodies.length) continue;
  const heads = [...table.tHead.rows[0].cells];
  const outcome = body => OUTCOMES.findIndex(word => body.classList.contains("is-" + word));
  const under = (body, name) => {
    if (name === "Outcome") return outcome(body);
    const cell = name === "Assertion" ? body.querySelector(".c-name") : body.querySelector(`[data-label="${name}"]`);
    const shown = name === "Value" ? cell?.querySelector(".number") : cell;  // "not measured: ..." is no number
    const text = shown ? shown.textContent.trim() : "";
    return name === "Value" || name === "n" ? numeral(text) : text.toLowerCase();
  };
  const compare = (a, b) => typeof a === "number"
    ? (Number.isNaN(a) - Number.isNaN(b)) || a - b
    : a.localeCompare(b, "en", { numeric: true });
  const sort = (head, name) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = bodies.map((body, index) => [under(body, name), index, body]);
    const missing = key => Number.isNaN(key) || key === "";
    keyed.sort((a, b) => (missing(a[0]) - missing(b[0])) ||
      (missing(a[0]) ? 0 : compare(a[0], b[0]) * (down ? -1 : 1)) || a[1] - b[1]);
    table.append(...keyed.map(one => one[2]));
  };
  for (const head of heads) {
    const name = head.textContent.trim();
    if (name === "Against the bound") continue;
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    button.addEventListener("click", () => sort(head, name));
    head.append(button);
  }
  if (heads[0].textContent.trim() === "Outcome") heads[0].setAttribute("aria-sort", "ascending");
  table.classList.add("sorts");

  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const list = make("select", {}, make("option", { value: "" }, "all outcomes"), ...OUTCOMES.map((word, index) =>
    make("option", { value: String(index) }, `${word} (${bodies.filter(body => outcome(body) === index).length})`)));
  const said = make("p", { className: "sub" });
  said.setAttribute("role", "status");
  const texts = bodies.map(body => body.textContent.toLowerCase());
  const show = () => {
    const wanted = field.value.trim().toLowerCase().split(/\s+/);
    let n = 0;
    bodies.forEach((body, index) => {
      body.hidden = !(list.value === "" || Number(list.value) === outcome(body)) ||
        wanted.some(word => !texts[index].includes(word));
      if (!body.hidden) n += 1;
    });
    said.textContent = n === bodies.length ? "" : `${n} of ${bodies.length} assertions shown; all of them are printed`;
  };
  field.addEventListener("input", show);
  list.addEventListener("input", show);
  table.before(make("div", { className: "chooser" },
    make("label", {}, "Show those with ", field), make("label", {}, "and outcome ", list), said));
  const go = () => {
    const aim = document.getElementById(location.hash.slice(1));
    const body = aim ? aim.closest("tbody") : null;
    if (!body || !body.hidden) return;
    field.value = list.value = "";
    show();
    body.scrollIntoView();
  };
  addEventListener("hashchange", go);
}

// A figure along an axis: the row of its table that is nearest to the pointer.
for (const svg of document.querySelectorAll("svg[data-at]")) {
  const at = svg.dataset.at.split(" ").map(Number), box = svg.closest(".drawn, figure");
  const table = box ? [...box.querySelectorAll("table")].find(one => one.tBodies[0].rows.length === at.length) : null;
  if (!table) continue;
  const names = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const height = svg.viewBox.baseVal.height, width = svg.viewBox.baseVal.width;
  const line = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  line.setAttribute("class", "pointer");
  const tip = make("p", { className: "tip", hidden: true });
  tip.setAttribute("aria-hidden", "true");
  const around = make("div", { className: "pointed" });
  svg.replaceWith(around);
  around.append(svg, tip);
  svg.addEventListener("pointermove", event => {
    const frame = svg.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width * width;
    const near = at.reduce((best, place, k) => Math.abs(place - x) >= Math.abs(at[best] - x) ? best : k, 0);
    line.setAttribute("d", `M${at[near]} 16V${height - 30}`);
    tip.replaceChildren(...[...table.tBodies[0].rows[near].cells].map((cell, k) =>
      cell.textContent ? make("span", {}, `${names[k]} ${cell.textContent}`) : ""));
    tip.hidden = false;
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    line.removeAttribute("d");
  });
}
})();
