// Where the time goes: a bar and a column of a table for each whole run, and one run's phases over its steps.

const phaseNames = {
  data_wait: "data wait", host_to_device: "copy to device", forward: "forward", backward: "backward",
  exposed_communication: "exposed communication", optimizer: "optimizer", checkpoint: "checkpoint",
  validation: "validation", other: "rest of the step",
};
const phaseColor = name => `var(--${name})`;
const phaseKey = name => element("span", {class: "key box", style: {background: phaseColor(name)}});
const sum = values => values.reduce((a, b) => a + b, 0);

function phaseBar(run) {
  const {names, totals} = run.phases;
  const whole = sum(totals) || 1;
  const dark = new Set(["host_to_device", "forward", "validation", "other", "exposed_communication"]);
  const parts = names.map((name, i) => {
    const share = totals[i] / whole;
    return element("i", {class: dark.has(name) ? "dark-text" : null, style: {width: `${100 * share}%`, background: phaseColor(name)},
                         title: `${phaseNames[name]}: ${format.percent(share)}, ${format.duration(totals[i])}`},
                   share >= 0.08 ? `${Math.round(100 * share)} %` : "");
  });
  return element("div", {class: "bar-row"}, element("span", {}, run.label), element("div", {class: "bar"}, ...parts),
                 element("span", {class: "soft"}, format.duration(whole)));
}

function phaseTable(runs) {
  const names = Object.keys(phaseNames).filter(name => runs.some(run => run.phases.names.includes(name)));
  const rows = names.map(name => [element("span", {class: "keyed"}, phaseKey(name), phaseNames[name]),
    ...runs.flatMap(run => {
      const i = run.phases.names.indexOf(name);
      if (i < 0) return ["–", "–"];
      return [format.percent(run.phases.totals[i] / (sum(run.phases.totals) || 1)), format.duration(run.phases.totals[i])];
    })]);
  const columns = [{title: "phase"}, ...runs.flatMap(run => [
    {title: runs.length > 1 ? run.label : "share", number: true}, {title: runs.length > 1 ? "" : "time", number: true}])];
  return table(columns, rows);
}

// Seconds a step, phase upon phase, of the run that is chosen.
class PhaseChart {
  constructor(host, run) {
    this.run = run;
    this.at = element("span", {class: "at"});
    this.legend = element("div", {class: "legend", "aria-live": "polite"});
    const card = element("div", {class: "card", "data-chart": "phases"},
                         element("div", {class: "chart-head"}, element("h3", {}, "Time a step, by phase"), this.at), this.legend);
    host.append(card);
    this.plot = new Plot(card, "Time a step, by phase", 240);
    charts.push(this);
  }

  choose(run) {
    this.run = run;
    this.draw();
  }

  draw() {
    const {names, steps, values} = this.run.phases;
    const ends = steps.map(step => xOf(this.run, step));
    const high = values.reduce((most, parts) => Math.max(most, sum(parts)), 0) || 1;
    this.ends = ends;
    this.plot.begin({low: 0, high: ends[ends.length - 1]}, {low: 0, high: 1.05 * high, log: false, format: format.seconds});
    const {toX, toY} = this.plot;
    const below = values.map(() => 0);
    names.forEach((name, n) => {
      // Each stretch is a step as wide as the stretch: left and right end, above; then back, below.
      const corners = (level, i) => [[i ? ends[i - 1] : 0, level], [ends[i], level]];
      const lower = below.flatMap((level, i) => corners(level, i)).reverse();
      values.forEach((parts, i) => { below[i] += parts[n]; });
      const upper = below.flatMap((level, i) => corners(level, i));
      const points = [...upper, ...lower].map(([x, y]) => `${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`);
      this.plot.add("path", {class: "area", d: `M${points.join("L")}Z`, style: {fill: phaseColor(name)}});
    });
    this.plot.svg.append(this.plot.cursor);
    this.readOut();
  }

  readOut() {
    this.plot.readOut();
    const {names, values, totals, steps} = this.run.phases;
    let parts;
    if (state.pointed === null) {
      parts = totals.map(total => total / (steps[steps.length - 1] || 1));
      this.at.textContent = "mean";
    } else {
      parts = values[Math.min(lowerBound(this.ends, state.pointed), values.length - 1)];
      this.at.textContent = formatX(state.pointed);
    }
    const whole = sum(parts) || 1;
    this.legend.replaceChildren(...names.map((name, i) => element("span", {}, phaseKey(name), `${phaseNames[name]} `,
      element("b", {}, format.seconds(parts[i])), ` ${format.percent(parts[i] / whole)}`)));
  }
}

// A choice among several runs; calls `use` with the chosen one, at once with the first. Nothing to choose, no control.
function runChoice(host, runs, label, use) {
  if (runs.length > 1) {
    const select = element("select", {"aria-label": label, onchange: () => use(runs[select.selectedIndex])},
                           ...runs.map(run => element("option", {}, run.label)));
    host.append(element("div", {class: "toolbar choice"}, element("label", {}, `${label} `, select)));
  }
  const place = element("div");
  host.append(place);
  return place;
}

function phasesSection(host, runs) {
  const timed = runs.filter(run => run.phases.names.length);
  if (!timed.length) {
    host.append(element("p", {class: "soft"}, "No times are logged yet."));
    return;
  }
  const bars = element("div", {class: "card"}, ...timed.map(phaseBar), phaseTable(timed));
  host.append(bars);
  let chart;
  const place = runChoice(host, timed, "Over the steps of", run => chart.choose(run));
  place.classList.add("apart");
  chart = new PhaseChart(place, timed[0]);
}

function stragglersSection(host, runs) {
  const several = runs.filter(run => run.stragglers.length);
  if (!several.length) return;
  const rows = several.flatMap(run => run.stragglers.map(row =>
    [...(runs.length > 1 ? [run.label] : []), `${row.rank}`, row.host, format.percent(row.share), format.percent(row.lag)]));
  host.append(element("div", {class: "card", style: {marginTop: "1rem"}}, element("h3", {}, "Slowest ranks"),
    element("p", {class: "soft"}, "How often a rank's own work took longest, and by how much it then exceeded the ranks' median."),
    table([...(runs.length > 1 ? [{title: "run"}] : []), {title: "rank", number: true}, {title: "host"}, {title: "slowest in", number: true},
           {title: "above the median", number: true}], rows)));
}
