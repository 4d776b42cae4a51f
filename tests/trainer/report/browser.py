"""The report of real runs and of written ones, looked at by a real browser."""

import html
import json
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "run"))
from run_trainer import RunTestCase, main, metrics, run, train, trainer

CHROMIUM = shutil.which("chromium")
BAD_INPUT = 2
HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>\"'&é"

# Of every chart: how many points its longest line has, and whether all lines lie inside the plot.
CHARTS = """[...document.querySelectorAll("[data-chart]")].map(card => {
  const svg = card.querySelector("svg.plot"), lines = [...card.querySelectorAll("path.series, path.area, circle")];
  if (!svg) return null;
  const box = svg.getBoundingClientRect();
  return {name: card.dataset.chart, width: box.width, height: box.height,
          lines: card.querySelectorAll("path.series").length,
          points: Math.max(0, ...lines.map(line => (line.getAttribute("d") ?? "M").split(/[ML]/).length - 1)),
          inside: lines.every(line => { const b = line.getBoundingClientRect();
            return b.left >= box.left - 1 && b.right <= box.right + 1 && b.top >= box.top - 1 && b.bottom <= box.bottom + 1; })};
}).filter(chart => chart)"""


def report(*arguments):
    return subprocess.run([trainer(), "report", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def written_run(folder, lines, config="model:\n  type: transformer\n", **more):
    """A run folder of other figures than a quick run would have."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    rows = [json.dumps({"step": i + 1, "loss": 3 / (1 + i / lines), "accuracy": i / lines, "learning_rate": 1e-3,
                        "gradient_norm": 50.0 if i == lines // 3 else 1 + i % 7 / 7, "step_seconds": 0.5,
                        "data_wait_seconds": 0.05, "exposed_communication_seconds": 0.1,
                        "utterances_per_second": 64.0}) for i in range(lines)]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    for name, text in more.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


class Browser(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from playwright.sync_api import sync_playwright
        cls.one, cls.two = cls.shared / "one", cls.shared / "two"
        train(cls(), 1, cls.data, cls.one)
        train(cls(), 1, cls.data, cls.two, optimizer__lr=0.004, model__layers=2)
        cls.bare = shutil.copytree(cls.one, cls.shared / "bare", symlinks=True)  # not evaluated
        for folder in (cls.one, cls.two):
            cls.ok(cls(), folder, "--device", "cpu")
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def copy(self, folder):
        shutil.copytree(folder, self.scratch / folder.name, symlinks=True)
        return self.scratch / folder.name

    def ok(self, *arguments):
        result = report(*arguments)
        self.assertEqual(result.returncode, 0, result)
        return result.stdout

    def open(self, file, width=1280, scheme="light"):
        """The page; whatever it logs, throws or fetches fails the test at its end."""
        page = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.addCleanup(page.close)
        noise, requests = [], []
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(pathlib.Path(file).as_uri())
        self.addCleanup(lambda: self.assertEqual(noise, []))
        self.addCleanup(lambda: self.assertEqual(requests, [pathlib.Path(file).as_uri()]))
        return page

    def assert_fits(self, page):
        width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        self.assertLessEqual(width, window)

    def test_one_run(self):
        folder = self.copy(self.bare)
        self.assertIn(str(folder / "report.html"), self.ok(folder, "--device", "cpu"))
        figures = json.loads((folder / "evaluation" / "evaluation.json").read_text())
        page = self.open(folder / "report.html")
        self.assertEqual(page.title(), "bare")
        charts = {chart["name"]: chart for chart in page.evaluate(CHARTS)}
        logged = len(metrics(folder))
        for name in ("loss", "accuracy", "learning_rate", "gradient_norm", "throughput", "data_wait",
                     "exposed_communication", "phases"):
            self.assertGreaterEqual(charts[name]["points"], logged, name)
        for chart in charts.values():
            self.assertTrue(chart["inside"], chart)
            self.assertGreater(chart["width"], 250, chart)
            self.assertGreater(chart["height"], 100, chart)
        self.assertEqual(charts["loss"]["lines"], 2)  # train and valid
        speakers = page.locator("#speakers")
        self.assertIn(f"{100 * figures['accuracy']:.1f}".removesuffix(".0"), speakers.inner_text())
        self.assertEqual(speakers.locator("[data-chart=hardest] tbody tr").count(), 6)
        right = speakers.locator("rect.right").count()
        self.assertTrue(1 <= right <= 6)
        changed = page.locator("#differences").inner_text()
        self.assertIn("train.global_batch", changed)
        self.assertNotIn("run.dir", changed)
        self.assert_fits(page)

    def test_an_evaluation_of_an_older_best_is_made_anew(self):
        folder = self.copy(self.one)
        file = folder / "evaluation" / "evaluation.json"
        fresh, written = json.loads(file.read_text()), file.stat().st_mtime_ns
        self.ok(folder, "--device", "cpu")
        self.assertEqual(file.stat().st_mtime_ns, written, "nothing had changed")
        for key, value in (("step", 1), ("model_checksum", "00")):
            file.write_text(json.dumps(fresh | {key: value}))
            said = self.ok(folder, "--no-evaluate")
            self.assertIn("This evaluation is old", said)
            self.assertIn("trainer evaluate", self.open(folder / "report.html").locator("#speakers .note").inner_text())
            self.ok(folder, "--device", "cpu")
            again = json.loads(file.read_text())
            self.assertEqual(again | {"checkpoint": fresh["checkpoint"]}, fresh)

    def test_without_the_data_the_report_says_what_to_run(self):
        folder = self.copy(self.bare)
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace(str(self.data), "/nowhere/data"))
        self.ok(folder)
        note = self.open(folder / "report.html").locator("#speakers .note").inner_text()
        self.assertIn("/nowhere/data", note)
        self.assertIn(f"trainer evaluate --checkpoint {folder}/checkpoints/best", note)
        self.assertEqual(self.open(folder / "report.html").locator(".matrix").count(), 0)

    def test_two_runs(self):
        out = self.scratch / "both.html"
        self.ok(self.copy(self.one), self.copy(self.two), "--out", out, "--device", "cpu")
        page = self.open(out)
        rows = [row.locator("td").all_inner_texts() for row in page.locator("#differences tbody tr").all()]
        self.assertEqual({row[0]: row[1:3] for row in rows},
                         {"model.layers": ["1", "2"], "optimizer.lr": ["0.002", "0.004"]})
        first = page.locator("#report section").first
        self.assertEqual(first.locator("#differences").count(), 1)  # on top
        loss = page.locator("[data-chart=loss]")
        self.assertEqual(loss.locator("path.series").count(), 4)
        colours = set(loss.locator("path.series").evaluate_all("all => all.map(p => getComputedStyle(p).stroke)"))
        self.assertEqual(len(colours), 2)
        page.locator(".chip").first.click()
        self.assertEqual(loss.locator("path.series").count(), 2)
        before = page.locator("#speakers").inner_text()
        page.get_by_label("Speakers of").select_option("two")
        self.assertNotEqual(page.locator("#speakers").inner_text(), before)
        self.assert_fits(page)

    def test_pointing_reads_out_the_values_there(self):
        folder = self.copy(self.one)
        self.ok(folder, "--no-evaluate")
        page = self.open(folder / "report.html")
        plot = page.locator("[data-chart=loss] svg")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        place = page.locator("[data-chart=loss] .at")
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50)
        step = int(place.inner_text().removeprefix("step "))
        row = metrics(folder)[step - 1]
        self.assertEqual(row["step"], step)
        for chart, key in (("loss", "loss"), ("gradient_norm", "gradient_norm")):  # all charts, at the same step
            said = page.locator(f"[data-chart={chart}] .legend b").first.inner_text()
            self.assertAlmostEqual(float(said), row[key], delta=6e-4 * abs(row[key]))
        page.mouse.move(5, 5)
        self.assertEqual(place.inner_text(), "last")
        plot.focus()
        page.keyboard.press("Home")
        self.assertEqual(place.inner_text(), "step 0")
        page.keyboard.press("ArrowRight")
        self.assertNotEqual(place.inner_text(), "step 0")

    def test_axis_smoothing_and_logarithm(self):
        folder = written_run(self.scratch / "run", 300, starts__jsonl='{"from_step":0}\n{"from_step":120,"world_size":2}\n')
        self.ok(folder)
        page = self.open(folder / "report.html")
        norm = page.locator("[data-chart=gradient_norm]")
        line = lambda: norm.locator("path.series").last.get_attribute("d")
        height = lambda: norm.locator("path.series").last.bounding_box()["height"]
        self.assertEqual(norm.locator(".restart").count(), 1)
        spiky, high = line(), height()
        page.locator("#smoothing").fill("0.95")
        self.assertEqual(norm.locator("path.faint").count(), 1)
        self.assertLess(height(), high / 2)
        page.locator("#smoothing").fill("0")
        self.assertEqual(line(), spiky)
        page.locator("#log").check()
        self.assertNotEqual(line(), spiky)
        page.locator("#log").uncheck()
        page.get_by_role("button", name="Time", exact=True).click()
        self.assertIn("min", norm.locator("svg").text_content())  # 150 s
        page.locator("[data-chart=loss] svg").hover()
        self.assertRegex(page.locator("[data-chart=loss] .at").inner_text(), r"^\d+ (s|min \d+ s)$")

    def test_every_width_and_scheme(self):
        out = self.scratch / "both.html"
        self.ok(self.copy(self.one), self.copy(self.two), "--out", out, "--device", "cpu")
        background = "getComputedStyle(document.body).backgroundColor"
        seen = {}
        for scheme in ("light", "dark"):
            for width in (360, 1280):
                page = self.open(out, width, scheme)
                self.assert_fits(page)
                self.assertTrue(all(chart["inside"] for chart in page.evaluate(CHARTS)))
                seen.setdefault(scheme, set()).add(page.evaluate(background))
            page.locator("#theme").click()
            seen.setdefault("toggled " + scheme, set()).add(page.evaluate(background))
        self.assertEqual(len(seen["light"]), 1)
        self.assertNotEqual(seen["light"], seen["dark"])
        self.assertEqual(seen["toggled light"], seen["dark"])
        self.assertEqual(seen["toggled dark"], seen["light"])
        narrowed = self.open(out, 1280)
        narrowed.set_viewport_size({"width": 360, "height": 800})
        narrowed.wait_for_function("document.querySelector('[data-chart=loss] svg').viewBox.baseVal.width < 360")
        self.assert_fits(narrowed)

    def test_hostile_text_is_shown_as_text(self):
        name = json.dumps(HOSTILE)
        folder = written_run(self.scratch / "<b>run", 20, f"model:\n  type: {name}\n" + "long: " + "x" * 500 + "\n",
                             starts__jsonl=json.dumps({"from_step": 5, "hosts": [HOSTILE], "command": {"a": [HOSTILE]},
                                                       "unix_seconds": "soon", "world_size": None}) + "\n")
        tables = folder / "evaluation"
        tables.mkdir()
        quoted = '"' + HOSTILE.replace('"', '""') + '"'
        (tables / "speakers.csv").write_text("speaker,utterances,correct,accuracy,confused_with,confusions\n"
                                             f"{quoted},2,1,0.5,b,1\nb,1,1,1,,0\n")
        (tables / "confusion.csv").write_text(f"speaker,{quoted},b\n{quoted},1,1\nb,0,1\n")
        (tables / "evaluation.json").write_text(json.dumps({"split": HOSTILE, "accuracy": "high", "step": [1]}))
        self.ok(folder)
        for width in (360, 1280):
            page = self.open(folder / "report.html", width)
            self.assertIsNone(page.evaluate("window.hit ?? null"))
            self.assertEqual(page.locator("img").count(), 0)
            for section in ("config", "speakers", "environment"):
                self.assertIn(HOSTILE, page.locator(f"#{section}").inner_text(), section)
            self.assertEqual(page.title(), "<b>run")
            self.assert_fits(page)
        self.assertIn(html.escape("<b>run"), (folder / "report.html").read_text())

    def test_a_very_long_run(self):
        folder = written_run(self.scratch / "long", 70000)
        self.ok(folder)
        self.assertLess((folder / "report.html").stat().st_size, 2e6)
        start = time.monotonic()
        page = self.open(folder / "report.html")
        charts = {chart["name"]: chart for chart in page.evaluate(CHARTS)}
        self.assertLess(time.monotonic() - start, 60)
        self.assertTrue(500 < charts["gradient_norm"]["points"] < 3000)
        tick = page.locator("[data-chart=gradient_norm] svg text").all_text_contents()
        self.assertIn("40", tick)  # the one spike of 50

    def test_no_step_yet_and_no_run(self):
        folder = self.scratch / "fresh"
        folder.mkdir()
        (folder / "config.yaml").write_text("run:\n  seed: 5\n")
        self.assertIn("no logged step yet", self.ok(folder))
        self.assertIn("No step is logged yet", self.open(folder / "report.html").locator("#overview").inner_text())
        (self.scratch / "empty").mkdir()
        for wrong, *words in ((self.scratch / "empty", "no run folder"), (self.scratch / "gone", "not there"),
                              (folder, folder, "given twice"), (folder, "--out", self.scratch / "no" / "x.html", "--out")):
            result = report(*([wrong, *words[:-1]]))
            self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (BAD_INPUT, "", 1), result)
            self.assertIn(words[-1], result.stderr)
        result = run(2, ["report", folder])
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertIn("without mpirun", result.err)


if __name__ == "__main__":
    if CHROMIUM is None:
        print("skipped: there is no chromium (apt: chromium)")
        sys.exit(77)
    main()
