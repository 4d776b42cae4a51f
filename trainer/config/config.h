// The configuration of a run: a plain struct, filled from YAML and from key=value overrides.
//
//   auto file = FindConfigFile("simple.yaml", ExecutablePath());
//   auto config = LoadConfig(*file, {"optimizer.lr=5e-4", "data.path=shards/"});
//   if (absl::Status ready = CheckDataPath(*config, *file); !ready.ok()) ...
//
// A key is added in two places: a member of a struct below, and a row of the table in fields.cpp. Loading,
// overriding, checking, printing and the README's table all follow from the row.
//
// Errors are kInvalidArgument (kNotFound for a file that is not there) and one line each:
// "simple.yaml:12: model.headz: unknown key; did you mean model.heads?"
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainer::config {

// What each key means, and what it may be, is said once: in the table in fields.cpp (`trainer
// --print-config`).
struct Config {
  struct Run {
    std::string dir;  // never empty once loaded: runs/<stem of the file>
    int64_t seed = 1;
    std::string resume = "auto";  // auto | never
    bool operator==(const Run&) const = default;
  } run;

  struct Data {
    std::string path;  // may be empty once loaded: see CheckDataPath
    std::string train_split = "train";
    std::string valid_split = "valid";
    int64_t crop_frames = 128;
    int64_t min_crop_frames = 0;     // 0 = crop_frames, always
    std::string normalize = "none";  // none | mean | mean_variance
    int64_t prefetch_batches = 4;
    std::string stage_to;  // "" = read data.path itself
    bool operator==(const Data&) const = default;
  } data;

  struct Model {
    std::string type = "transformer";  // transformer | conformer
    // Transformer
    int64_t d_model = 80;
    int64_t layers = 1;
    int64_t heads = 2;  // of the Conformer too
    int64_t feed_forward = 256;
    double dropout = 0.1;
    std::string activation = "relu";  // relu | gelu
    // Conformer
    int64_t dim = 80;
    int64_t depth = 3;
    int64_t dim_head = 20;
    int64_t ff_mult = 4;
    int64_t conv_expansion_factor = 2;
    int64_t conv_kernel_size = 15;
    int64_t max_distance = 512;
    double attn_dropout = 0.1;
    double ff_dropout = 0.1;
    double conv_dropout = 0.1;
    bool causal = false;
    std::string conv_norm = "batch";  // batch | sync_batch | layer
    std::string compat = "none";      // none | reference
    int64_t subsampling = 1;          // 1 | 2 | 4
    double stochastic_depth = 0;
    bool mfa = false;
    // What follows either encoder
    std::string pooling = "mean";          // mean | statistics | self_attentive | attentive_statistics
    int64_t embedding = 0;                 // 0 = none
    std::string embedding_norm = "batch";  // none | batch | sync_batch | layer
    double embedding_dropout = 0;
    std::string head = "mlp";  // mlp | linear | cosine
    std::string init_from;     // "" = the seed's initial weights
    bool operator==(const Model&) const = default;
  } model;

  struct Loss {
    std::string type = "cross_entropy";  // cross_entropy | am_softmax | aam_softmax
    double scale = 30;
    double margin = 0.2;
    int64_t margin_warmup_steps = 0;
    int64_t sub_centres = 1;
    double label_smoothing = 0;
    bool operator==(const Loss&) const = default;
  } loss;

  struct Augment {
    double gain_db = 0;
    double noise_probability = 0;
    double babble_probability = 0;
    int64_t babble_voices = 4;
    std::array<double, 2> snr_db{0, 20};
    int64_t time_masks = 0;
    int64_t time_mask_frames = 10;
    int64_t frequency_masks = 0;
    int64_t frequency_mask_mels = 8;
    bool operator==(const Augment&) const = default;
  } augment;

  struct Optimizer {
    double lr = 1e-3;
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;
    double weight_decay = 0.01;
    double clip_norm = 0;  // 0 = off
    bool operator==(const Optimizer&) const = default;
  } optimizer;

  struct Schedule {
    int64_t warmup_steps = 1000;
    int64_t total_steps = 70000;
    double cycles = 0.5;
    bool operator==(const Schedule&) const = default;
  } schedule;

  struct Train {
    int64_t global_batch = 32;
    int64_t accumulate = 1;
    int64_t log_every = 100;
    int64_t validate_every = 2000;
    std::string device = "auto";     // auto | cpu | cuda
    int64_t threads = 0;             // 0 = this machine's cores over its ranks
    std::string bind = "auto";       // auto | none
    std::string precision = "fp32";  // fp32 | bf16 | auto
    std::string kernels = "fused";   // fused | plain
    double bucket_mib = 4;
    double first_bucket_mib = 0.25;
    double ema_decay = 0;  // 0 = off
    bool operator==(const Train&) const = default;
  } train;

  struct Checkpoint {
    int64_t every = 2000;
    int64_t keep = 3;
    bool async = true;
    bool operator==(const Checkpoint&) const = default;
  } checkpoint;

  struct Watchdog {
    double timeout_seconds = 300;  // 0 = off
    double first_step_seconds = 900;
    double validation_seconds = 1800;
    bool operator==(const Watchdog&) const = default;
  } watchdog;

  struct Metrics {
    bool tensorboard = true;
    std::string progress = "auto";  // auto | always | never
    double peak_tflops = 0;         // 0 = known by the device's name, or not at all
    struct Prometheus {
      std::string address = "127.0.0.1:9400";  // "" = none
      std::string auth_file;
      std::string pushgateway;
      std::string push_auth_file;
      double push_seconds = 15;
      std::string textfile;
      bool operator==(const Prometheus&) const = default;
    } prometheus;
    bool operator==(const Metrics&) const = default;
  } metrics;

  bool operator==(const Config&) const = default;
};

// Reads `file`, then applies `overrides` ("dotted.key=value", lists as "optimizer.betas=[0.9,0.98]"; of two
// overrides of one key the later one counts), checks every value and what must hold between them, and fills
// in run.dir.
absl::StatusOr<Config> LoadConfig(const std::string& file, const std::vector<std::string>& overrides);

// The same from YAML (or JSON) text. `name` stands for the file in errors and gives run.dir its default.
absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& name,
                                   const std::vector<std::string>& overrides = {});

// The inverse of ToJson. `name` as for ParseConfig, e.g. the path of the state.json that `json` came from.
absl::StatusOr<Config> FromJson(const nlohmann::json& json, const std::string& name);

// An error that says how to set data.path, where it is not set. Separate from loading, because
// `--print-config` and the commands that take --data have no need of it.
absl::Status CheckDataPath(const Config& config, const std::string& file);

// All that starting a run begins with: FindConfigFile for the name that --config gives, LoadConfig,
// CheckDataPath.
absl::StatusOr<Config> LoadRunConfig(const std::string& name, const std::vector<std::string>& overrides);

// Settings that are legal but seldom meant (one line each), e.g. a warm-up longer than the run.
std::vector<std::string> Warnings(const Config& config);

// Every key with its value, commented, as YAML; ParseConfig(ToYaml(c), ...) == c, bit for bit.
std::string ToYaml(const Config& config);

// {"run": {"dir": ...}, ...}; numbers keep every bit.
nlohmann::json ToJson(const Config& config);

// A Markdown table of all keys: key, default, allowed values, meaning.
std::string MarkdownTable();

// The file that --config names: `name` itself where it exists; a bare name (no '/') is then looked for in
// `configs/` beside `executable` (the build tree) and in ../share/trainer/configs from its folder (an
// installed tree). kNotFound lists the folders looked in and the files that are there.
absl::StatusOr<std::string> FindConfigFile(const std::string& name, const std::string& executable);

// The path of the running program (/proc/self/exe); empty where it cannot be read.
std::string ExecutablePath();

}  // namespace trainer::config
