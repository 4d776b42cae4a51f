"use strict";
// Elements, numbers and scales: what all the other scripts use. Text only ever goes into text nodes.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(child => child != null));
  return node;
}

function svgElement(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(node.style, value);
    else if (value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A table in a box of its own that scrolls sideways where it is too wide. Columns: {title, number}; a cell is text, a
// node, or {content, className}.
function table(columns, rows, rowClass = () => null) {
  const cell = (value, column) => {
    const {content, className} = value && value.content !== undefined ? value : {content: value};
    const classes = [column.number ? "number" : "text", className].filter(Boolean).join(" ");
    return element("td", {class: classes}, content ?? "–");
  };
  const head = element("tr", {}, ...columns.map(c => element("th", {scope: "col", class: c.number ? "number" : null}, c.title)));
  const body = rows.map((row, i) =>
    element("tr", {class: rowClass(row, i)}, ...row.map((value, c) => cell(value, columns[c]))));
  return element("div", {class: "scroll", tabindex: 0},
                 element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

const isNumber = value => typeof value === "number" && Number.isFinite(value);

const format = {
  number(value) {
    if (!isNumber(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
    if (size >= 1000) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toPrecision(4)));
  },
  count: value => isNumber(value) ? value.toLocaleString("en-US") : "–",
  percent(value) {
    if (!isNumber(value)) return "–";
    const percent = 100 * value;
    const digits = Math.abs(percent) >= 99.95 || percent === 0 ? 0 : Math.abs(percent) < 1 ? 2 : 1;
    return `${percent.toFixed(digits)} %`;
  },
  // A step's parts: microseconds to seconds.
  seconds(value) {
    if (!isNumber(value)) return "–";
    const size = Math.abs(value);
    if (size === 0) return "0 ms";
    if (size < 1e-3) return `${Number((1e6 * value).toPrecision(3))} µs`;
    if (size < 1) return `${Number((1e3 * value).toPrecision(3))} ms`;
    return `${Number(value.toPrecision(3))} s`;
  },
  duration(value) {
    if (!isNumber(value)) return "–";
    if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
    const minutes = Math.floor(value / 60);
    if (minutes < 60) return `${minutes} min ${Math.round(value % 60)} s`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return `${hours} h ${minutes % 60} min`;
    return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  },
  bytes(value) {
    if (!isNumber(value)) return "–";
    let unit = 0;
    for (; Math.abs(value) >= 1024 && unit < 5; ++unit) value /= 1024;
    return `${Number(value.toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
  },
  bandwidth: value => isNumber(value) ? `${format.bytes(value)}/s` : "–",
  rank: value => isNumber(value) ? String(value) : "–",
  time: seconds => isNumber(seconds) ? new Date(1000 * seconds).toLocaleString() : "–",
};

// What ticks are round numbers of.
format.bytes.unitOf = high => 1024 ** Math.min(Math.max(Math.floor(Math.log2(high) / 10), 0), 5);
format.bandwidth.unitOf = format.bytes.unitOf;
format.rank.unitOf = high => Math.ceil(high / 8);

// Round numbers in [low, high], some `count` of them.
function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const factors = Math.log10(high / low) > 2.5 ? [1] : Math.log10(high / low) > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power) {
    for (const factor of factors) {
      const tick = Number(`${factor}e${power}`);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  const every = Math.ceil(ticks.length / 7);
  return ticks.length >= 2 ? ticks.filter((_, i) => i % every === 0) : linearTicks(low, high, 4);
}

// The value at `x` on the straight lines through (xs, ys); the ends' values beyond them.
function interpolate(xs, ys, x) {
  const at = lowerBound(xs, x);
  if (at === 0) return ys[0];
  if (at === xs.length) return ys[at - 1];
  return ys[at - 1] + (ys[at] - ys[at - 1]) * (x - xs[at - 1]) / (xs[at] - xs[at - 1]);
}

// How many of the ascending `xs` are below `x`.
function lowerBound(xs, x) {
  let low = 0, high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
