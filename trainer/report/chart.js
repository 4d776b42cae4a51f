// Line charts over steps or time. All share one state: the x axis, smoothing, the logarithm, hidden runs, and the place
// that is pointed at, at which every chart reads out its values.

const state = {axis: "steps", smoothing: 0, log: false, hidden: new Set(), pointed: null};
const charts = [];  // whatever has draw() and readOut()

const redrawAll = () => charts.forEach(chart => chart.draw());
const readOutAll = () => charts.forEach(chart => chart.readOut());

// Steps to what the x axis shows, for one run, whose time is piecewise linear between its points.
function xOf(run, step) {
  if (state.axis === "steps") return step;
  const elapsed = run.curves.elapsed_seconds;
  const steps = elapsed.x ?? run.steps;
  return step <= steps[0] ? elapsed.y[0] * step / Math.max(steps[0], 1) : interpolate(steps, elapsed.y, step);
}

function formatX(x) {
  return state.axis === "steps" ? `step ${format.count(Math.round(x))}` : format.duration(x);
}

function timeTicks(low, high, count) {
  const unit = high >= 3 * 86400 ? 86400 : high >= 2 * 3600 ? 3600 : high >= 150 ? 60 : 1;
  const name = {86400: "d", 3600: "h", 60: "min", 1: "s"}[unit];
  return linearTicks(low / unit, high / unit, count).map(tick => [tick * unit, `${tick} ${name}`]);
}

function stepTicks(low, high, count) {
  const ticks = linearTicks(low, high, count).filter(Number.isInteger);
  const short = tick => tick >= 10000 && ticks.every(t => t % 1000 === 0) ? `${tick / 1000}k` : format.count(tick);
  return ticks.map(tick => [tick, short(tick)]);
}

// An exponential moving average without the pull of its start, as weighted by the number of points.
function smoothed(values, weight) {
  let sum = 0, weights = 0;
  return values.map(value => {
    sum = weight * sum + (1 - weight) * value;
    weights = weight * weights + (1 - weight);
    return sum / weights;
  });
}

// The plot's frame: grid, axes, restarts, the pointed-at line. Charts give it what to draw inside.
class Plot {
  constructor(host, label, height = 210) {
    this.height = height;
    this.svg = svgElement("svg", {class: "plot", tabindex: 0, role: "img", "aria-label": label});
    host.append(this.svg);
    this.svg.addEventListener("pointermove", event => this.point(event.clientX));
    this.svg.addEventListener("pointerdown", event => this.point(event.clientX));
    this.svg.addEventListener("pointerleave", () => { state.pointed = null; readOutAll(); });
    this.svg.addEventListener("keydown", event => this.key(event));
  }

  // Begins anew. y: {low, high, log, format}; x: {low, high}.
  begin(x, y) {
    this.svg.replaceChildren();
    this.width = Math.max(this.svg.parentElement.clientWidth || 600, 200);
    const unit = y.format.unitOf?.(y.high) ?? 1;
    const ticks = y.log ? logTicks(y.low, y.high) : linearTicks(y.low / unit, y.high / unit, 4).map(tick => tick * unit)
      .filter(tick => y.format !== format.rank || Number.isInteger(tick));
    const labels = ticks.map(tick => y.format(tick).replace(/\.0+(?=[ e]|$)/, ""));
    const left = Math.min(12 + 6.6 * Math.max(...labels.map(label => label.length), 3), 90);
    this.box = {left, right: this.width - 14, top: 8, bottom: this.height - 24};
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.x = x;
    const scale = y.log ? Math.log : value => value;
    const low = scale(y.low), span = scale(y.high) - low;
    this.toX = value => left + (value - x.low) / (x.high - x.low) * (this.box.right - left);
    this.toY = value => this.box.bottom - (scale(value) - low) / span * (this.box.bottom - this.box.top);
    ticks.forEach((tick, i) => {
      const at = this.toY(tick);
      this.add("line", {class: "gridline", x1: left, x2: this.box.right, y1: at, y2: at});
      this.add("text", {x: left - 6, y: at + 3.5, "text-anchor": "end"}, labels[i]);
    });
    this.add("line", {class: "axis", x1: left, x2: this.box.right, y1: this.box.bottom, y2: this.box.bottom});
    const count = Math.floor(this.width / 85);
    for (const [tick, label] of (state.axis === "steps" ? stepTicks : timeTicks)(x.low, x.high, count)) {
      const at = this.toX(tick);
      const end = at + 4 * label.length > this.width;
      this.add("text", {x: end ? this.width : at, y: this.height - 7, "text-anchor": end ? "end" : "middle"}, label);
    }
    this.cursor = this.add("line", {class: "cursor", y1: this.box.top, y2: this.box.bottom, visibility: "hidden"});
  }

  restart(x, color, text) {
    const at = this.toX(x);
    this.add("line", {class: "restart", x1: at, x2: at, y1: this.box.top, y2: this.box.bottom, style: {stroke: color}},
             svgElement("title", {}, text));
  }

  add(tag, attributes, ...children) {
    const node = svgElement(tag, attributes, ...children);
    this.svg.append(node);
    return node;
  }

  readOut() {
    const x = state.pointed;
    const inside = x !== null && x >= this.x.low && x <= this.x.high;
    this.cursor.setAttribute("visibility", inside ? "visible" : "hidden");
    if (!inside) return;
    this.cursor.setAttribute("x1", this.toX(x));
    this.cursor.setAttribute("x2", this.toX(x));
  }

  point(clientX) {
    const bounds = this.svg.getBoundingClientRect();
    const at = (clientX - bounds.left) * this.width / bounds.width;
    const share = (at - this.box.left) / (this.box.right - this.box.left);
    this.pointAt(this.x.low + share * (this.x.high - this.x.low));
  }

  pointAt(x) {
    state.pointed = Math.min(Math.max(x, this.x.low), this.x.high);
    readOutAll();
  }

  key(event) {
    const step = (this.x.high - this.x.low) / (event.shiftKey ? 10 : 100);
    const from = state.pointed ?? this.x.high;
    const to = {ArrowLeft: from - step, ArrowRight: from + step, Home: this.x.low, End: this.x.high}[event.key];
    if (event.key === "Escape") { state.pointed = null; readOutAll(); }
    if (to === undefined) return;
    event.preventDefault();
    this.pointAt(to);
  }
}

// spec: {title, format, zero: the axis begins at 0, log: false where a logarithm makes no sense, dots: no lines};
// series: [{run, name, curve, color, dashed}], each curve as in the document.
class LineChart {
  constructor(host, spec, series) {
    this.spec = spec;
    this.series = series.map(one => ({...one, steps: one.curve.x ?? one.run.steps}));
    this.at = element("span", {class: "at"});
    this.legend = element("div", {class: "legend", "aria-live": "polite"});
    const card = element("div", {class: "card", "data-chart": spec.id},
                         element("div", {class: "chart-head"}, element("h3", {}, spec.title), this.at), this.legend);
    host.append(card);
    this.plot = new Plot(card, spec.title, spec.large ? 250 : 190);
    charts.push(this);
  }

  shown() {
    return this.series.filter(one => !state.hidden.has(one.run));
  }

  draw() {
    const shown = this.shown();
    for (const one of shown) {
      const {curve, run} = one;
      one.xs = one.steps.map(step => xOf(run, step));
      const smooth = state.smoothing > 0 && !this.spec.dots;
      one.lineXs = smooth && curve.mean_x ? curve.mean_x.map(step => xOf(run, step)) : one.xs;
      one.lineYs = smooth ? smoothed(curve.mean_y ?? curve.y, state.smoothing) : curve.y;
    }
    const values = shown.flatMap(one => one.curve.y), xs = shown.flatMap(one => one.xs);
    const highX = xs.reduce((a, b) => Math.max(a, b), 0) || 1;
    let low = values.reduce((a, b) => Math.min(a, b), Infinity);
    let high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!values.length) [low, high] = [0, 1];
    const log = state.log && this.spec.log !== false && low > 0;
    if (log) {
      const room = Math.max((high / low) ** 0.04, 1.02);
      [low, high] = [low / room, high * room];
    } else {
      if (this.spec.zero) low = Math.min(low, 0);
      const room = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1;
      high += room;
      if (!(this.spec.zero && low === 0)) low -= room;
    }
    this.plot.begin({low: 0, high: highX}, {low, high, log, format: this.spec.format});
    const restarts = new Map();
    for (const {run, color} of shown) restarts.set(run, color);
    for (const [run] of restarts) {
      for (const start of run.starts) {
        if (isNumber(start.from_step) && start.from_step > 0 && xOf(run, start.from_step) <= highX) {
          this.plot.restart(xOf(run, start.from_step), run.color, `${run.label}: restarted from step ${start.from_step}`);
        }
      }
    }
    for (const one of shown) this.drawSeries(one);
    this.readOut();
  }

  drawSeries(one) {
    const {toX, toY} = this.plot;
    const path = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${toX(x).toFixed(1)} ${toY(ys[i]).toFixed(1)}`).join("");
    const line = (xs, ys, faint) => this.plot.add("path", {
      class: faint ? "series faint" : "series", d: path(xs, ys), "stroke-dasharray": one.dashed && !faint ? "1.5 5" : null,
      style: {stroke: one.color}});
    if (!this.spec.dots) {
      if (state.smoothing > 0) line(one.xs, one.curve.y, true);
      line(one.lineXs, one.lineYs, false);
    }
    if (this.spec.dots || one.xs.length <= 40) {
      const radius = one.dashed || one.xs.length === 1 ? 3 : this.spec.dots ? 2 : 0;
      if (radius) one.lineXs.forEach((x, i) => this.plot.add("circle", {cx: toX(x), cy: toY(one.lineYs[i]), r: radius, style: {fill: one.color}}));
    }
  }

  // The values at the place pointed at, or the last ones.
  readOut() {
    this.plot.readOut();
    this.at.textContent = state.pointed === null ? "last" : formatX(state.pointed);
    this.legend.replaceChildren(...this.shown().map(one => {
      const x = state.pointed ?? Infinity;
      let i = lowerBound(one.lineXs, x);
      if (i === one.lineXs.length || (i > 0 && x - one.lineXs[i - 1] < one.lineXs[i] - x)) --i;
      const key = element("span", {class: one.dashed ? "key dashed" : "key", style: {borderColor: one.color}});
      return element("span", {}, key, `${one.name} `, element("b", {}, this.spec.format(one.lineYs[i])));
    }));
  }
}
