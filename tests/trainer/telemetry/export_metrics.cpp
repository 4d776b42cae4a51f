// Drives the exporter for prometheus_exporter.py: an exporter whose options come from the command line, and
// which does what standard input says. A line each:
//   update STEP LOSS     a log line of two ranks; without GPU where the option gpu is 0
//   nonfinite            the totals that a diverged step leaves behind
//   finish STATE         running, finished, stopped or failed
// Each is answered by "done SECONDS". Warnings are lines "warning: ...". An error is "error: ..." on standard
// error, and exit code 2.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <string>

#include "trainer/telemetry/prometheus_exporter.h"

namespace trainer::telemetry {
namespace {

// Every figure is a number of its own, so that one in another's place is noticed.
IntervalFigures Figures(int64_t step, double loss, bool gpu) {
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  IntervalFigures figures;
  figures.step = step;
  figures.total_steps = 1000;
  figures.epoch = 3;
  figures.unix_seconds = 1.7e9 + 0.25;
  figures.loss = loss;
  figures.accuracy = 0.5;
  figures.gradient_norm = 1.5;
  figures.learning_rate = 0.002;
  figures.weight_norm = 20.5;
  figures.update_norm = 0.0125;
  figures.step_seconds = 0.04;
  figures.utterances_per_second = 800;
  figures.frames_per_second = 102400;
  figures.audio_hours_per_second = 0.28;
  figures.reduced_bytes = 318904;
  figures.bus_bandwidth_bytes_per_second = 1.25e8;
  figures.flops_per_step = 6e9;
  if (gpu) figures.model_flops_utilization = 0.4;
  figures.seconds_left = 33;
  RanksFigures ranks;
  ranks.step = step - 10;
  for (int i = 0; i < 2; ++i) {
    RankFigures rank;
    for (size_t phase = 0; phase < kPhases; ++phase) {
      figures.phase_seconds[phase] = 0.001 * static_cast<double>(phase + 1);
      rank.phase_seconds[phase] = 0.001 * static_cast<double>((phase + 1) * static_cast<size_t>(i + 1));
      figures.totals.phase_seconds[phase] = 10 * static_cast<double>(phase + 1);
    }
    rank.step_seconds = 0.04;
    rank.host_memory_bytes = 1e9 + i;
    rank.device_memory_bytes = gpu ? 2e9 + i : unknown;
    rank.gpu_utilization = gpu ? 0.9 : unknown;
    rank.gpu_temperature_celsius = gpu ? 60 + i : unknown;
    rank.gpu_clock_hertz = gpu ? 1.98e9 : unknown;
    rank.gpu_power_watts = gpu ? 400 + i : unknown;
    rank.gpu_throttled = gpu ? i : unknown;
    ranks.ranks.push_back(rank);
    ranks.hosts.push_back(i == 0 ? "node-a" : "node\"b\"\xff");
  }
  figures.ranks = ranks;
  if (step % 20 == 0) {  // not every log line follows a validation
    figures.valid_loss = 0.75;
    figures.valid_accuracy = 0.625;
  }
  figures.totals.steps = step;
  figures.totals.utterances = 32 * step;
  figures.totals.frames = 4096.0 * static_cast<double>(step);
  figures.totals.reduced_bytes = 318904.0 * static_cast<double>(step);
  figures.totals.resumes = 1;
  figures.totals.restarts = 2;
  figures.totals.signals = 4;
  figures.totals.checkpoints = 5;
  figures.totals.checkpoint_stall_seconds = 0.25;
  figures.totals.checkpoint_write_seconds = 1.5;
  figures.totals.skipped_utterances = 6;
  figures.totals.last_step_unix_seconds = 1.7e9 + 0.5;
  figures.totals.last_checkpoint_unix_seconds = 1.7e9;
  return figures;
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int Main(int argc, char** argv) {
  std::map<std::string, std::string> given;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    given[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
  }
  PrometheusOptions options;
  options.address = given["address"];
  options.auth_file = given["auth_file"];
  options.pushgateway = given["pushgateway"];
  options.push_auth_file = given["push_auth_file"];
  if (given.contains("push_seconds")) options.push_seconds = std::stod(given["push_seconds"]);
  options.textfile = given["textfile"];
  auto exporter = PrometheusExporter::Start(
      options, given["run"], {{"version", "0.1.0"}, {"config", "tiny.yaml"}}, given["run_dir"],
      [](const std::string& line) { std::printf("warning: %s\n", line.c_str()), std::fflush(stdout); });
  if (!exporter.ok()) {
    std::fprintf(stderr, "error: %s\n", std::string(exporter.status().message()).c_str());
    return 2;
  }
  const auto answer = [](double start) {
    std::printf("done %.3f\n", Now() - start);
    std::fflush(stdout);
  };
  answer(Now());
  const bool gpu = given["gpu"] != "0";
  IntervalFigures last = Figures(0, 0, gpu);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, word;
    words >> verb >> word;
    const double start = Now();
    if (verb == "update") {
      std::string loss;
      words >> loss;
      last = Figures(std::stoll(word), std::stod(loss), gpu);
      (*exporter)->Update(last);
    } else if (verb == "nonfinite") {
      ++last.totals.nonfinite_steps;
      (*exporter)->Update(last.totals);
    } else if (verb == "finish") {
      const std::map<std::string, RunState> states = {{"running", RunState::kRunning},
                                                      {"finished", RunState::kFinished},
                                                      {"stopped", RunState::kStopped},
                                                      {"failed", RunState::kFailed}};
      (*exporter)->Finish(states.at(word));
    }
    answer(start);
  }
  return 0;
}

}  // namespace
}  // namespace trainer::telemetry

int main(int argc, char** argv) { return trainer::telemetry::Main(argc, argv); }
