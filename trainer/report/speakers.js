// Who is taken for whom: the confusion matrix and the hardest speakers of one run's best checkpoint.

function evaluationTiles(evaluation) {
  const figures = evaluation.figures ?? {};
  const interval = Array.isArray(figures.accuracy_interval) && figures.accuracy_interval.every(isNumber)
    ? `95 %: ${figures.accuracy_interval.map(format.percent).join(" to ")}` : "";
  const frames = figures.frames > 0 ? `, first ${format.count(figures.frames)} frames` : "";
  return tiles([
    ["Accuracy", format.percent(figures.accuracy), interval],
    ["Among the five likeliest", format.percent(figures.top5_accuracy)],
    ["Loss", format.number(figures.loss)],
    ["Utterances", format.count(figures.utterances), `split ${figures.split ?? "not known"}${frames}`],
    ["Speakers", format.count(evaluation.speakers)],
    ["Checkpoint", isNumber(figures.step) ? `step ${format.count(figures.step)}` : "–"],
  ]);
}

class ConfusionMatrix {
  constructor(host, matrix) {
    this.matrix = matrix;
    this.totals = matrix.rows.map(() => 0);
    for (const [row, , count] of matrix.cells) this.totals[row] += count;
    this.readout = element("p", {class: "readout", "aria-live": "polite"});
    this.holder = element("div");
    const card = element("div", {class: "card", "data-chart": "confusion"}, element("h3", {}, "Confusion matrix"),
      element("p", {class: "soft"}, "A row a speaker, a column an answer; the stronger the colour, the larger the share of the speaker's utterances."),
      this.holder, this.readout,
      element("div", {class: "matrix-key"}, ...[["c0", "right"], ["c1", "wrong"]].map(([color, text]) =>
        element("span", {}, element("span", {class: "dot", style: {background: `var(--${color})`}}), ` ${text}`))));
    host.append(card);
    charts.push(this);
  }

  draw() {
    const {rows, columns, cells} = this.matrix;
    const width = Math.max(this.holder.clientWidth, 200);
    const longest = Math.max(...columns.map(name => name.length), ...rows.map(name => name.length));
    const names = longest <= 16 && (width - 7 * longest) / columns.length >= 11;
    const margin = names ? 12 + 6.2 * longest : 8;
    const size = Math.min((width - margin - 4) / columns.length, 34);
    const height = margin + size * rows.length + 4;
    const svg = svgElement("svg", {class: "matrix plot", viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
                                   "aria-label": `Confusion matrix of ${rows.length} speakers; arrow keys read it out`});
    svg.append(svgElement("rect", {class: "frame", x: margin, y: margin, width: size * columns.length, height: size * rows.length}));
    for (const [row, column, count] of cells) {
      // The root and the floor, so that a single mistake can be seen.
      svg.append(svgElement("rect", {
        class: rows[row] === columns[column] ? "right" : "wrong", x: margin + column * size, y: margin + row * size,
        width: size * 0.96, height: size * 0.96, opacity: (0.2 + 0.8 * Math.sqrt(count / this.totals[row])).toFixed(3)}));
    }
    if (names) {
      const label = Math.min(size * 0.9, 11);
      rows.forEach((name, i) => svg.append(svgElement("text", {x: margin - 5, y: margin + (i + 0.5) * size + label / 3, "text-anchor": "end",
                                                               style: {fontSize: `${label}px`}}, name)));
      columns.forEach((name, i) => {
        const x = margin + (i + 0.5) * size + label / 3, y = margin - 5;
        svg.append(svgElement("text", {x, y, transform: `rotate(-90 ${x} ${y})`, style: {fontSize: `${label}px`}}, name));
      });
    }
    this.marker = svgElement("rect", {class: "marked", width: size, height: size, visibility: "hidden"});
    svg.append(this.marker);
    this.geometry = {margin, size, width};
    svg.addEventListener("pointermove", event => {
      const bounds = svg.getBoundingClientRect(), zoom = width / bounds.width;
      this.mark(Math.floor(((event.clientY - bounds.top) * zoom - margin) / size), Math.floor(((event.clientX - bounds.left) * zoom - margin) / size));
    });
    svg.addEventListener("pointerleave", () => this.mark(-1, -1));
    svg.addEventListener("keydown", event => {
      const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
      if (!move) return;
      event.preventDefault();
      const [row, column] = this.at ?? [0, 0];
      this.mark(Math.min(Math.max(row + move[0], 0), rows.length - 1), Math.min(Math.max(column + move[1], 0), columns.length - 1));
    });
    this.holder.replaceChildren(svg);
    this.mark(-1, -1);
  }

  mark(row, column) {
    const {rows, columns, cells} = this.matrix;
    const inside = row >= 0 && column >= 0 && row < rows.length && column < columns.length;
    this.at = inside ? [row, column] : null;
    this.marker.setAttribute("visibility", inside ? "visible" : "hidden");
    if (!inside) {
      const wrong = cells.filter(([r, c]) => rows[r] !== columns[c]);
      this.readout.textContent = `${format.count(wrong.reduce((all, cell) => all + cell[2], 0))} of ` +
        `${format.count(this.totals.reduce((a, b) => a + b, 0))} utterances went to another speaker, in ${format.count(wrong.length)} ${wrong.length === 1 ? "pair" : "pairs"}.`;
      return;
    }
    const {margin, size} = this.geometry;
    this.marker.setAttribute("x", margin + column * size);
    this.marker.setAttribute("y", margin + row * size);
    const cell = cells.find(([r, c]) => r === row && c === column);
    const count = cell ? cell[2] : 0;
    this.readout.textContent = rows[row] === columns[column]
      ? `${rows[row]}: ${count} of ${this.totals[row]} right (${format.percent(count / this.totals[row])})`
      : `${rows[row]} taken for ${columns[column]}: ${count} of ${this.totals[row]} (${format.percent(count / this.totals[row])})`;
  }

  readOut() {}
}

function pairsTable(host, pairs) {
  const rows = pairs.slice(0, 25).map(([speaker, utterances, , other, count]) =>
    [speaker, other, `${count} of ${utterances}`, format.percent(count / utterances)]);
  host.append(element("div", {class: "card", "data-chart": "pairs"}, element("h3", {}, "Most confused pairs"),
    element("p", {class: "soft"}, "Each speaker's most frequent wrong answer; there are too many speakers to draw a matrix."),
    rows.length ? table([{title: "speaker"}, {title: "taken for"}, {title: "utterances", number: true}, {title: "share", number: true}], rows)
                : element("p", {}, "No utterance went to another speaker.")));
}

function hardestTable(host, evaluation) {
  const short = 15;
  const card = element("div", {class: "card", "data-chart": "hardest"}, element("h3", {}, "Hardest speakers"),
                       element("p", {class: "soft"}, "By accuracy, the lowest first."));
  const show = count => {
    const rows = evaluation.hardest.slice(0, count).map(([speaker, utterances, correct, other, confusions]) => {
      const share = correct / utterances;
      const meter = element("span", {class: "meter"}, element("i", {style: {width: `${100 * share}%`}}));
      return [speaker, element("span", {class: "metered"}, meter, element("span", {}, format.percent(share))), `${correct} of ${utterances}`,
              confusions > 0 ? `${other} (${confusions})` : "–"];
    });
    return table([{title: "speaker"}, {title: "accuracy", number: true}, {title: "right", number: true}, {title: "most often taken for"}], rows);
  };
  let shown = show(short);
  card.append(shown);
  if (evaluation.hardest.length > short) {
    const more = element("button", {type: "button", onclick: () => {
      const all = show(evaluation.hardest.length);
      shown.replaceWith(all);
      shown = all;
      more.remove();
    }}, evaluation.hardest.length < evaluation.speakers ? `Show ${evaluation.hardest.length}` : `Show all ${evaluation.speakers}`);
    card.append(more);
  }
  host.append(card);
}

function speakersSection(host, runs) {
  const show = run => {
    for (let i = charts.length; i-- > 0;) if (charts[i] instanceof ConfusionMatrix) charts.splice(i, 1);
    place.replaceChildren();
    if (run.evaluation_note) place.append(element("p", {class: "note"}, run.evaluation_note));
    const evaluation = run.evaluation;
    if (!evaluation) return;
    const two = element("div", {class: "two", style: {marginTop: "1rem"}});
    place.append(evaluationTiles(evaluation), two);
    if (evaluation.matrix) new ConfusionMatrix(two, evaluation.matrix).draw();
    else pairsTable(two, evaluation.pairs);
    hardestTable(two, evaluation);
  };
  const place = runChoice(host, runs, "Speakers of", show);
  show(runs[0]);
}
