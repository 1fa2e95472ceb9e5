"use strict";

// What the page can do besides being read: sorting, filtering, reading out, zooming, copying.

const make = (name, words, given = {}) => {
  const made = Object.assign(document.createElement(name), given);
  made.append(...(words ? [words] : []));
  return made;
};

const labelled = (words, control) => {
  const label = make("label", words);
  label.append(control);
  return label;
};

const focusable = (element, label) => {
  element.tabIndex = 0;
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
};

const shape = (name, given) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  return made;
};

// Tables

const wordsOf = (element) => element.textContent.trim();

const layerOf = (name) => (name.match(/^.*?\d+/) ?? [name.split(".")[0]])[0];

const orderOf = (cell) => {
  const words = wordsOf(cell);
  if (words === "") return [2, 0, ""];
  const number = Number(words.replace("inf", "Infinity"));
  if (words === "nan") return [0, Infinity, words];
  return Number.isNaN(number) ? [1, 0, words] : [0, number, words];
};

const natural = new Intl.Collator("en", { numeric: true });

const compare = (a, b) =>
  a[0] - b[0] || (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0) || natural.compare(a[2], b[2]);

function sortable(table, section) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("num");
      const now = head.getAttribute("aria-sort");
      const descending = now ? now === "ascending" : numbers && column > 0;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [orderOf(row.cells[column]), row]);
      section.querySelector(".order")?.remove();
      const sign = descending ? -1 : 1;
      // What is unknown stays last, whichever way.
      keyed.sort(([a], [b]) => (a[0] === 2 || b[0] === 2 ? a[0] - b[0] : sign * compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

function filterable(table, section) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 5) return;
  const heads = [...table.tHead.rows[0].cells];
  const named = heads.find((head) => head.classList.contains("name")) ?? heads[0];
  // Words, and what names the row: among the digits of numbers nobody looks for anything.
  const all = rows.map((row) =>
    [...row.cells]
      .filter((cell, column) => column === 0 || !cell.classList.contains("num"))
      .map(wordsOf)
      .join("\n")
      .toLowerCase(),
  );
  const layers = rows.map((row) => layerOf(wordsOf(row.cells[named.cellIndex])));
  const groups = [...new Set(layers)].sort(natural.compare);
  const text = make("input", "", { type: "search" });
  const choice = make("select");
  choice.append(new Option("all", ""), ...groups.map((group) => new Option(group, group)));
  const count = make("output");
  const show = () => {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, place) => {
      const group = choice.value === "" || layers[place] === choice.value;
      row.hidden = !(group && all[place].includes(wanted));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = shown < rows.length ? `${shown} of ${rows.length} rows` : "";
  };
  text.addEventListener("input", show);
  choice.addEventListener("change", show);
  const tools = make("div", "", { className: "tools" });
  tools.append(labelled("find ", text));
  if (groups.length > 1 && groups.length < rows.length)
    tools.append(labelled(named.cellIndex ? `group of ${wordsOf(named)} ` : "group ", choice));
  tools.append(count);
  section.querySelector(".wide").before(tools);
}

for (const section of document.querySelectorAll(".table")) {
  const table = section.querySelector("table");
  sortable(table, section);
  filterable(table, section);
  const wide = section.querySelector(".wide");
  focusable(wide, section.querySelector("h2").textContent);
}

// Pictures: a cursor that the pointer and the keys move, and zoom

// What goes along where another picture of the same steps, or an event of theirs, is pointed at.
const followers = new Set();

const MOST_ZOOM = 32;
// Rows grow less: they have their names beside them.
const MOST_TALL = 4;
// That are seen at once, however close.
const LEAST_PLACES = 6;

const within = (value, count) => Math.min(count - 1, Math.max(0, value));

const button = (words, label, act) => {
  const made = make("button", words, { type: "button", ariaLabel: label });
  made.addEventListener("click", act);
  return made;
};

// Gives what makes the rows of a grid so many times as tall, their names with them.
function growing(figure, drawn, told) {
  const { top, height } = told;
  const grid = drawn.querySelector("svg");
  const side = figure.querySelector(".drawn > svg");
  const foot = drawn.getAttribute("height") - top - height;
  const below = [...drawn.children].filter((one) => one.getAttribute("class") === "tick");
  return (times) => {
    told.height = height * times;
    grid.setAttribute("height", told.height);
    const whole = top + told.height + foot;
    for (const one of [drawn, side]) one.setAttribute("height", whole);
    for (const word of below) word.setAttribute("y", whole - 6);
    const row = told.height / told.down.length;
    [...side.children].forEach((name, at) => name.setAttribute("y", top + row * (at + 0.5) + 4));
    figure.querySelector(".drawn").classList.toggle("close", times > 1);
  };
}

// Makes a picture larger than its window, about a place that is given as a part of its width.
function zoomable(scroll, drawn, across, place, grow) {
  const most = Math.max(1, Math.min(MOST_ZOOM, across / LEAST_PLACES));
  let zoom = 1;
  const centre = () => {
    scroll.scrollLeft = drawn.getBoundingClientRect().width * place() - scroll.clientWidth / 2;
  };
  const enlarge = (times) => {
    zoom = Math.min(most, Math.max(1, zoom * times));
    drawn.setAttribute("width", `${100 * zoom}%`);
    grow(Math.min(zoom, MOST_TALL));
    centre();
    closer.disabled = zoom === most;
    wider.disabled = zoom === 1;
    whole.disabled = zoom === 1;
  };
  const closer = button("+", "zoom in", () => enlarge(2));
  const wider = button("−", "zoom out", () => enlarge(0.5));
  const whole = button("all", "show all", () => enlarge(1 / MOST_ZOOM));
  enlarge(1);
  return {
    enlarge,
    follow() {
      const at = drawn.getBoundingClientRect().width * place() - scroll.scrollLeft;
      if (at < 0 || at > scroll.clientWidth) centre();
    },
    buttons: most > 1 ? [closer, wider, whole] : [],
  };
}

function readable(figure, told) {
  const scroll = figure.querySelector(".scroll");
  const drawn = scroll.querySelector("svg");
  const across = told.across.length;
  const down = told.down ? told.down.length : 1;
  const output = make("output");
  const cursor = shape("rect", { class: "cursor", visibility: "hidden" });
  let at = 0;
  let row = 0;
  const place = () => (at + 0.5) / across;
  const grow = told.rows ? growing(figure, drawn, told) : () => {};
  const zoom = zoomable(scroll, drawn, across, place, grow);
  drawn.append(cursor);

  const draw = () => {
    cursor.setAttribute("x", `${(100 * at) / across}%`);
    cursor.setAttribute("width", `${100 / across}%`);
    cursor.setAttribute("y", told.top + (row * told.height) / down);
    cursor.setAttribute("height", told.height / down);
    cursor.setAttribute("visibility", "visible");
    const words = [told.across[at]];
    if (told.rows) words.unshift(told.down[row], told.levels[told.rows[row][at]]);
    output.textContent = words.join(" · ");
  };

  const go = (share, name) => {
    at = within(Math.floor(share * across), across);
    if (told.down?.includes(name)) row = told.down.indexOf(name);
    draw();
    zoom.follow();
  };

  const show = () => {
    draw();
    if (!told.steps) return;
    for (const other of followers) if (other !== go) other(place());
  };

  const point = (event) => {
    const box = drawn.getBoundingClientRect();
    at = within(Math.floor(((event.clientX - box.left) / box.width) * across), across);
    row = within(Math.floor(((event.clientY - box.top - told.top) / told.height) * down), down);
    show();
  };
  scroll.addEventListener("pointermove", point);
  scroll.addEventListener("pointerdown", point);

  const keys = {
    ArrowLeft: () => (at = within(at - 1, across)),
    ArrowRight: () => (at = within(at + 1, across)),
    ArrowUp: () => (row = within(row - 1, down)),
    ArrowDown: () => (row = within(row + 1, down)),
    Home: () => (at = 0),
    End: () => (at = across - 1),
    "+": () => zoom.enlarge(2),
    "=": () => zoom.enlarge(2),
    "-": () => zoom.enlarge(0.5),
    0: () => zoom.enlarge(1 / MOST_ZOOM),
  };
  scroll.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
    show();
    zoom.follow();
    cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  const hint = "point, tap, or go with the arrow keys; + and − zoom, 0 shows all";
  const tools = make("div", "", { className: "tools" });
  tools.append(...zoom.buttons, make("span", hint, { className: "left" }));
  figure.querySelector(".drawn").after(output, tools);

  if (told.steps) followers.add(go);
  focusable(scroll, `${figure.querySelector("h2").textContent}: read out with the arrow keys`);
}

for (const figure of document.querySelectorAll("figure")) {
  const data = figure.querySelector("script");
  if (data) readable(figure, JSON.parse(data.textContent));
}

for (const event of document.querySelectorAll(".events [data-at]")) {
  const title = event.querySelector("strong");
  const show = () => {
    for (const go of followers) go(Number(event.dataset.at), event.dataset.row);
    document.querySelector("figure.norms")?.scrollIntoView({ block: "nearest" });
  };
  title.replaceChildren(button(wordsOf(title), `${wordsOf(title)}: show in the pictures`, show));
}

// The command that made the page

const command = document.querySelector(".command");
if (command && navigator.clipboard) {
  const copy = button("copy", "copy the command", async () => {
    await navigator.clipboard.writeText(command.textContent);
    copy.textContent = "copied";
    copy.ariaLabel = "copied";
  });
  command.after(copy);
}
