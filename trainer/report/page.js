// The page: its sections, from the document that stands in the element `data`.

const report = JSON.parse(document.getElementById("data").textContent);
const runs = report.runs;
const several = runs.length > 1;
runs.forEach((run, i) => { run.color = `var(--c${i % 6})`; });

const dot = color => element("span", {class: "dot", style: {background: color}});
const named = run => element("span", {}, dot(run.color), ` ${run.label}`);

// Rows of [name, value, what is said below it].
function tiles(rows) {
  const shown = rows.filter(([, value]) => value !== "–");
  const columns = shown.length <= 6 ? shown.length : Math.ceil(shown.length / 2);
  const list = element("dl", {class: "tiles"}, ...shown.map(([name, value, below]) =>
    element("div", {class: "tile"}, element("dt", {}, name), element("dd", {}, value), below ? element("dd", {}, below) : null)));
  list.style.setProperty("--columns", columns);
  return list;
}

const lastStart = run => run.starts[run.starts.length - 1] ?? {};
const phaseShare = (run, name) => {
  const i = run.phases.names.indexOf(name);
  return i < 0 ? undefined : run.phases.totals[i] / (sum(run.phases.totals) || 1);
};
const ending = run => ({finished: "finished", stopped: "stopped on request"})[run.summary?.end] ?? "running, or ended without a word";
const valueOf = (run, key) => report.config.find(row => row.key === key)?.values[runs.indexOf(run)];

function ranksOf(run) {
  const ranks = lastStart(run).world_size ?? run.summary?.world_size;
  const device = lastStart(run).device ?? run.summary?.device;
  return [isNumber(ranks) ? `${ranks} ${ranks === 1 ? "rank" : "ranks"}` : null, device ? `on ${device}` : null].filter(Boolean).join(" ");
}

// [title, of a run: its text, of a run: what is compared, whether more is better]
const keyFigures = [
  ["Best validation accuracy", run => format.percent(run.figures.best?.valid_accuracy), run => run.figures.best?.valid_accuracy, true],
  ["Loss then", run => format.number(run.figures.best?.valid_loss), run => run.figures.best?.valid_loss, false],
  ["Step of the best", run => format.count(run.figures.best?.step)],
  ["Last training loss", run => format.number(run.figures.loss), run => run.figures.loss, false],
  ["Last training accuracy", run => format.percent(run.figures.accuracy), run => run.figures.accuracy, true],
  ["Steps", run => format.count(run.figures.steps)],
  ["Training time", run => format.duration(run.figures.training_seconds), run => run.figures.training_seconds, false],
  ["Utterances a second", run => format.number(run.figures.utterances_per_second), run => run.figures.utterances_per_second, true],
  ["Waiting for data", run => format.percent(phaseShare(run, "data_wait")), run => phaseShare(run, "data_wait"), false],
  ["Exposed communication", run => format.percent(phaseShare(run, "exposed_communication")), run => phaseShare(run, "exposed_communication"), false],
  ["Model FLOPs utilisation", run => format.percent(run.figures.model_flops_utilization), run => run.figures.model_flops_utilization, true],
];

function overview(host) {
  for (const run of runs) {
    const notes = [...run.problems];
    if (run.logged === 0) notes.unshift("No step is logged yet: there are no curves to draw.");
    for (const note of notes) host.append(element("p", {class: "note"}, several ? `${run.label}: ${note}` : note));
  }
  if (!several) {
    const run = runs[0], text = Object.fromEntries(keyFigures.map(([title, show]) => [title, show(run)]));
    const best = run.figures.best;
    host.append(tiles([
      ["Best validation accuracy", text["Best validation accuracy"], best && `step ${format.count(best.step)}, loss ${format.number(best.valid_loss)}`],
      ["Last training loss", text["Last training loss"], `accuracy ${text["Last training accuracy"]}`],
      ["Steps", text.Steps, `of ${valueOf(run, "schedule.total_steps") ?? "?"}, ${ending(run)}`],
      ["Training time", text["Training time"], ranksOf(run)],
      ["Utterances a second", text["Utterances a second"], "median"],
      ["Waiting for data", text["Waiting for data"], "of the time"],
      ["Exposed communication", text["Exposed communication"], "of the time"],
      ["Model FLOPs utilisation", text["Model FLOPs utilisation"], "median"],
    ]));
    return;
  }
  const shown = keyFigures.filter(([, show]) => runs.some(run => show(run) !== "–"));
  const best = shown.map(([, , value, more]) => {
    const values = value ? runs.map(value).filter(isNumber) : [];
    return values.length > 1 ? (more ? Math.max : Math.min)(...values) : undefined;
  });
  const rows = shown.map(([title, show, value], f) => [title, ...runs.map(run => (
    {content: show(run), className: value && best[f] !== undefined && value(run) === best[f] ? "best" : null}))]);
  const words = text => ({content: text, className: "words"});
  rows.push(["Ended", ...runs.map(run => words(ending(run)))], ["Ran as", ...runs.map(run => words(ranksOf(run) || "–"))]);
  host.append(element("div", {class: "card"}, table([{title: ""}, ...runs.map(run => ({title: named(run), number: true}))], rows)));
}

const isDifference = row => row.key !== "run.dir" && (several
  ? row.values.some(value => value !== row.values[0])
  : row.values[0] !== row.default);
const cellText = value => value === null ? "–" : value === "" ? "(empty)" : value;
const configColumns = () => [{title: "key"}, ...(several ? runs.map(run => ({title: named(run)})) : [{title: "this run"}]), {title: "default"}];
const configRow = row => [element("code", {}, row.key), ...row.values.map(value => element("code", {}, cellText(value))),
                          element("span", {class: "soft"}, cellText(row.default))];

function differences(host) {
  const rows = report.config.filter(isDifference);
  const card = element("div", {class: "card", id: "differences"},
    element("h3", {}, several ? "What the configurations differ in" : "Changed from the defaults"));
  if (!report.config.length) card.append(element("p", {class: "soft"}, "There is no readable config.yaml."));
  else if (!rows.length) card.append(element("p", {class: "soft"}, several ? "Nothing but run.dir." : "Nothing."));
  else card.append(table(configColumns(), rows.map(configRow)));
  host.append(card);
}

function wholeConfig(host) {
  if (!report.config.length) return;
  const place = element("div");
  const show = word => place.replaceChildren(table(configColumns(),
    report.config.filter(row => row.key.includes(word)).map(row => Object.assign(configRow(row), {changed: isDifference(row)})),
    row => row.changed ? "changed" : null));
  const filter = element("input", {type: "search", placeholder: "Filter keys", "aria-label": "Filter keys", oninput: () => show(filter.value.trim())});
  show("");
  host.append(element("details", {class: "card"}, element("summary", {}, `All ${report.config.length} keys`),
                      element("div", {class: "toolbar"}, filter), place));
}

const share = {format: format.percent, zero: true, log: false};
// Each series: [column, its name, dashed].
const curveSpecs = [
  {id: "loss", title: "Loss", large: true, format: format.number, series: [["loss", "train"], ["valid_loss", "valid", true]]},
  {id: "accuracy", title: "Accuracy", large: true, format: format.percent, log: false, series: [["accuracy", "train"], ["valid_accuracy", "valid", true]]},
  {id: "learning_rate", title: "Learning rate", format: format.number, zero: true, series: [["learning_rate", "rate"]]},
  {id: "gradient_norm", title: "Gradient norm", format: format.number, zero: true, series: [["gradient_norm", "before clipping"]]},
  {id: "update_ratio", title: "Update norm over weight norm", format: format.number, zero: true, series: [["update_ratio", "ratio"]]},
  {id: "throughput", title: "Utterances a second", format: format.number, zero: true, series: [["utterances_per_second", "utterances/s"]]},
  {id: "data_wait", title: "Waiting for data", ...share, series: [["data_wait_share", "share of the step"]]},
  {id: "exposed_communication", title: "Exposed communication", ...share, series: [["exposed_communication_share", "share of the step"]]},
  {id: "bandwidth", title: "Bus bandwidth of all-reduces", format: format.bandwidth, zero: true, series: [["bus_bandwidth_bytes_per_second", "bandwidth"]]},
  {id: "memory", title: "Memory, of the rank that holds most", format: format.bytes, zero: true, series: [["host_memory_bytes", "host"], ["device_memory_bytes", "device", true]]},
  {id: "lag", title: "Lag of the slowest rank", ...share, series: [["slowest_rank_lag", "its work above the median"]]},
  {id: "slowest_rank", title: "Slowest rank", format: format.rank, log: false, dots: true, zero: true, series: [["slowest_rank", "rank"]]},
  {id: "flops", title: "Model FLOPs utilisation", ...share, series: [["model_flops_utilization", "of the devices' peak"]]},
];

function curves(host) {
  if (runs.every(run => run.logged === 0)) {
    host.append(element("p", {class: "soft"}, "No step is logged yet."));
    return;
  }
  const pressed = (group, value, text, use) => {
    const button = element("button", {type: "button", "aria-pressed": String(state[group] === value), onclick: () => {
      state[group] = value;
      state.pointed = null;
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", other === button);
      redrawAll();
    }}, text);
    return button;
  };
  const log = element("input", {type: "checkbox", id: "log", onchange: () => { state.log = log.checked; redrawAll(); }});
  const smoothing = element("input", {type: "range", id: "smoothing", min: 0, max: 0.99, step: 0.01, value: 0,
    oninput: () => { state.smoothing = Number(smoothing.value); redrawAll(); }});
  host.append(element("div", {class: "toolbar"},
    element("span", {class: "group", role: "group", "aria-label": "Horizontal axis"}, pressed("axis", "steps", "Steps"), pressed("axis", "time", "Time")),
    element("label", {for: "smoothing"}, "Smoothing ", smoothing),
    element("label", {for: "log"}, log, " Logarithmic")));
  const large = element("div", {class: "grid large"}), small = element("div", {class: "grid"});
  host.append(large, small);
  for (const spec of curveSpecs) {
    const series = runs.flatMap(run => spec.series.filter(([column]) => run.curves[column]).map(([column, name, dashed]) => ({
      run, curve: run.curves[column], dashed, color: several ? run.color : `var(--c${dashed ? 1 : 0})`,
      name: several ? (spec.series.length > 1 ? `${run.label}, ${name}` : run.label) : name})));
    if (series.length) new LineChart(spec.large ? large : small, spec, series);
  }
}

function environment(host) {
  const list = (value, between = ", ") => Array.isArray(value) ? value.join(between) : value;
  const hosts = start => list(Array.isArray(start.hosts) ? [...new Set(start.hosts)] : start.hosts);
  const facts = [
    ["Run folder", run => run.folder], ["Program", run => lastStart(run).version],
    ["Ranks", run => lastStart(run).world_size ?? run.summary?.world_size], ["Hosts", run => hosts(lastStart(run))],
    ["Device", run => lastStart(run).device ?? run.summary?.device], ["GPU", run => lastStart(run).gpu || null],
    ["Communication", run => lastStart(run).communicator],
    ["Threads a rank", run => lastStart(run).threads], ["LibTorch", run => lastStart(run).torch],
    ["Compiler", run => lastStart(run).compiler], ["Command", run => list(lastStart(run).command, " ")],
  ];
  const text = value => value == null ? "–" : element("code", {}, typeof value === "object" ? JSON.stringify(value) : String(value));
  const rows = facts.map(([title, get]) => [title, ...runs.map(get)]).filter(row => row.slice(1).some(value => value != null));
  host.append(element("div", {class: "card"},
    table([{title: ""}, ...runs.map(run => ({title: several ? named(run) : "this run"}))], rows.map(([title, ...values]) => [title, ...values.map(text)]))));
  const starts = runs.flatMap(run => run.starts.map((start, i) => [
    ...(several ? [run.label] : []), `${i + 1}`, format.time(start.unix_seconds), format.count(start.from_step), format.count(start.world_size),
    text(hosts(start)), text(start.version)]));
  if (!starts.length) return;
  host.append(element("div", {class: "card"}, element("h3", {}, "Starts"),
    table([...(several ? [{title: "run"}] : []), {title: "start", number: true}, {title: "time"}, {title: "from step", number: true},
           {title: "ranks", number: true}, {title: "hosts"}, {title: "program"}], starts)));
}

function chips() {
  if (!several) return;
  document.getElementById("runs").append(...runs.map(run => {
    const chip = element("button", {type: "button", class: "chip", "aria-pressed": "true", title: `Show or hide ${run.folder}`, onclick: () => {
      if (!state.hidden.delete(run)) state.hidden.add(run);
      chip.setAttribute("aria-pressed", !state.hidden.has(run));
      redrawAll();
    }}, dot(run.color), element("span", {}, run.label));
    return chip;
  }));
}

function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

function build() {
  const main = document.getElementById("report"), contents = document.getElementById("contents");
  const section = (id, title, ...fill) => {
    const host = element("section", {id, "aria-labelledby": `${id}-title`}, element("h2", {id: `${id}-title`}, title));
    main.append(host);
    contents.append(element("a", {href: `#${id}`}, title));
    for (const one of fill) one(host, runs);
  };
  document.getElementById("subtitle").textContent = several
    ? `${runs.length} runs compared`
    : [valueOf(runs[0], "model.type"), ranksOf(runs[0]), runs[0].folder].filter(Boolean).join(" · ");
  chips();
  theme();
  if (several) section("overview", "Overview", differences, overview);
  else section("overview", "Overview", overview);
  section("curves", "Curves", curves);
  section("time", "Where the time goes", phasesSection, stragglersSection);
  section("speakers", "Speakers", speakersSection);
  if (several) section("config", "Configuration", wholeConfig);
  else section("config", "Configuration", differences, wholeConfig);
  section("environment", "Environment", environment);
  document.getElementById("footer").textContent =
    `Made by ${report.version}, ${format.time(report.created_unix_seconds)}. Training time counts steps, validations and checkpoints, not the pauses between starts.`;
  redrawAll();
  let width = main.clientWidth;
  new ResizeObserver(() => {
    if (main.clientWidth === width) return;
    width = main.clientWidth;
    redrawAll();
  }).observe(main);
}

build();
